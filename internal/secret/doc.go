// Package secret holds the nouns of Lifeboat and the rules they obey, without
// any I/O: accounts, principals, credentials, policies, vaults, secrets and
// their versions, orders and lineages, and the typed errors every other
// package speaks in. It imports only the standard library.
//
// All mutations of a record are methods that either change the record and
// raise its order by one, or return an *Error and leave it untouched.
package secret
