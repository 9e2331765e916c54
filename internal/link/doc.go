// Package link makes the links between this region and its peers, other regions
// that share neither a store nor consensus with it.
//
// A link is HTTP/2 over mutual TLS in one direction: this side calls, the other
// side serves. Each end shows the certificate of a process, and is believed to be
// of a region only if the authorities of that very region signed it. Beyond that
// each request names the incarnation, the life of the region, that it comes from
// and the one that it is meant for. A life that was not the first to be met, and
// that no operator admitted, gets no answer but to Hello: a clone of a region
// cannot pose as its origin, nor one that was restored as what it was before.
//
// Peers are independent: each has its own connections, its own bound on requests
// in progress and its own prober, so that one that is slow, silent or hostile
// changes nothing for the others.
package link
