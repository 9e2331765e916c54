// Package authn finds out who calls: it checks bearer tokens, client
// certificates, JSON Web Tokens of trusted issuers and tokens that were exchanged
// for one of these, and gives the dialects that sign requests the access key to
// check a signature with.
//
// It reads only the records that replicate to every host, so it needs neither
// the store nor another region.
//
// Freshness. Each request reads the credential's and the principal's record
// from the view it is given; the cache saves decoding them, never reading them:
// a cached entry counts only if the bytes in the view equal those it was decoded
// from. So a revocation acts on the first request whose view holds it, whatever
// the order of views, changes and requests, and no invalidation can be missed.
// For certificates, JWTs and exchanged tokens the same holds of every record that
// they were judged by: the reads are noted, and done again for each request.
// A host that is cut off hears of no revocation; Options.MaxAge bounds how long
// it goes on.
package authn
