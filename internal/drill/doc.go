// Package drill runs a game day: it loses the home region of a vault that it makes for
// that, has another region take it over, lets the lost one return, and measures what
// that costs. It watches from outside, as clients and operators do: every write that a
// region acknowledged is remembered, and looked for in the end.
//
// How the region is lost is a Loss: VaultCut cuts off the drill's vault alone, so that a
// drill can be run against regions that serve; who owns the processes may bring one that
// stops them.
package drill
