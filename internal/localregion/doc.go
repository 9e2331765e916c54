// Package localregion runs a whole region on one machine: a process with the
// store and the control plane, or several that share that work, and data-plane hosts,
// each with a data directory and ports of its own on the loopback, and TLS between
// them all. The processes run inside this one or as its children; either way they are
// configured the same. Several regions can know each other as peers, each with an authority of its own.
//
// It is for development, demonstrations and tests: the region does not survive
// the loss of the machine, and its keys lie in a file.
package localregion
