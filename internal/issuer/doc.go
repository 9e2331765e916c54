// Package issuer fetches the public keys of issuers of JSON Web Tokens, so that
// nobody who checks a token needs the network: a Keeper, in control processes,
// has them fetched on schedule and when one is lacking, and stored as records,
// which reach every host by the change feed. Hosts pass on what they lack with
// Asks.
package issuer
