// Package pki is what a region needs of X.509: an authority of its own for
// development and small clusters, TLS configurations for the public front door,
// for the processes of a region among themselves and for clients, and
// certificates that are read again when their files change.
//
// A process proves to its peers that it belongs to the region by a certificate
// with the one URI spiffe://<region>/process/<process id>, signed by the peer
// authority. Peers check that URI, not host names.
package pki
