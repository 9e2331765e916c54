package authz

import (
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// Options of an Authorizer.
type Options struct {
	// CachedPolicies bounds how many parsed policies are kept, over all accounts;
	// 0 means DefaultCachedPolicies. A single account may exceed it.
	CachedPolicies int
}

// Authorizer decides by the policies that views hold. It is safe for concurrent
// use.
type Authorizer struct {
	actions  *actionTable
	accounts *accounts
}

// New returns an Authorizer.
func New(o Options) *Authorizer {
	table := newActionTable()
	return &Authorizer{actions: table, accounts: newAccounts(table, o.CachedPolicies)}
}

// Counts returns how many decisions found the account's policies parsed, and how
// often policies had to be read and parsed.
func (a *Authorizer) Counts() (hits, misses uint64) {
	return a.accounts.hits.Load(), a.accounts.misses.Load()
}

// Changed marks the policies that changes touch. The change feed's handler calls
// it for every batch, before or after the commit to the local store; each
// change, deletions included, has the revision that made it.
func (a *Authorizer) Changed(changes []record.Change) { a.accounts.changed(changes) }

// Reset forgets everything. It is called after a local store was replaced by
// one whose revisions do not continue the old ones, when no view of the old one
// is open any more.
func (a *Authorizer) Reset() { a.accounts.reset() }
