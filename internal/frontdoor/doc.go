// Package frontdoor is where requests enter: it gives each an ID, bounds it,
// sees to it that no answer leaves without its line in the audit log, passes
// mutations on to a control process where this one cannot commit them, and maps
// typed errors to every wire dialect in one table. The dialects themselves are
// the packages below it; they know the use cases, never each other.
package frontdoor
