// Package ownership explores how the home of a record moves, exhaustively: takeovers
// by one survivor and by two that are cut off from each other, the return of the lost
// region in every phase, planned moves beside all of it and back, and promotions, with
// mutations at every moment and shipments that are late, lost or repeated.
//
// As in package model, what it explores with are the rules that the regions
// themselves call, and each rule has a mutant without it, which must be found. Beside
// the search there is a model in Promela of the same protocol, which Spin checks for
// what a search of single states cannot show: that all regions agree in the end,
// whatever order things happen in.
package ownership
