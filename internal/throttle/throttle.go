// Package throttle refuses requests that come faster, or more at once, than one
// process should take: token buckets for each account and each vault, and a
// bound on the requests in progress. Each process counts for itself.
package throttle

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// busyRetryAfter is what a caller is told when too many requests are in
// progress; most take far less.
const busyRetryAfter = time.Second

// Rate is that of a token bucket.
type Rate struct {
	// PerSecond is 0 for no limit.
	PerSecond float64
	// Burst is how many requests may come at once; at least 1 with a rate.
	Burst int
}

// Options configure a limiter. The zero value limits nothing.
type Options struct {
	// MaxConcurrent bounds the requests in progress; 0 for no bound.
	MaxConcurrent int
	// MaxWatches bounds the watches in progress, which do not count among the
	// requests; 0 for no bound.
	MaxWatches int
	PerAccount Rate
	PerVault   Rate
	// Now defaults to time.Now.
	Now func() time.Time
}

// Limiter is safe for concurrent use. What is not limited costs a comparison.
type Limiter struct {
	requests Slots
	watches  Slots
	accounts *buckets // nil: no limit
	vaults   *buckets // nil: no limit
	now      func() time.Time

	refusedAccounts, refusedVaults atomic.Uint64
}

// Refused returns how many requests found the bucket of their account, or of
// their vault, empty.
func (l *Limiter) Refused() (accounts, vaults uint64) {
	return l.refusedAccounts.Load(), l.refusedVaults.Load()
}

// New returns a limiter. It returns secret.CodeInvalid for negative numbers or a
// rate without a burst.
func New(o Options) (*Limiter, error) {
	if o.MaxConcurrent < 0 {
		return nil, secret.Invalid("limits.max_concurrent_requests", "is negative")
	}
	if o.MaxWatches < 0 {
		return nil, secret.Invalid("limits.max_watches", "is negative")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Limiter{now: o.Now}
	l.requests.limit, l.watches.limit = int64(o.MaxConcurrent), int64(o.MaxWatches)
	var err error
	if l.accounts, err = newBuckets("limits.per_account", o.PerAccount); err != nil {
		return nil, err
	}
	if l.vaults, err = newBuckets("limits.per_vault", o.PerVault); err != nil {
		return nil, err
	}
	return l, nil
}

// Requests are the slots of requests that are no watches.
func (l *Limiter) Requests() *Slots { return &l.requests }

// Watches are the slots of watches.
func (l *Limiter) Watches() *Slots { return &l.watches }

// Allow takes a token of the account and one of the vault. If either has none
// it takes neither and returns secret.CodeThrottled; RetryAfter says when there
// will be one. An empty account or vault is not limited.
func (l *Limiter) Allow(account secret.AccountID, vault secret.VaultID) error {
	if l.accounts == nil && l.vaults == nil {
		return nil
	}
	now := l.now()
	ofAccount, wait := l.accounts.take(string(account), now)
	if wait > 0 {
		l.refusedAccounts.Add(1)
		return refuse("the account makes too many requests", wait)
	}
	if _, wait = l.vaults.take(string(vault), now); wait > 0 {
		if ofAccount != nil {
			ofAccount.CancelAt(now)
		}
		l.refusedVaults.Add(1)
		return refuse("the vault gets too many requests", wait)
	}
	return nil
}

// refusal is the cause of the errors of this package.
type refusal struct{ after time.Duration }

func (r *refusal) Error() string { return fmt.Sprintf("retry after %s", r.after) }

func (r *refusal) RetryAfter() time.Duration { return r.after }

func refuse(message string, after time.Duration) error {
	return secret.Wrap(secret.CodeThrottled, &refusal{after}, message).WithHint("slow down, then retry")
}

// newBuckets returns nil if there is no limit.
func newBuckets(field string, r Rate) (*buckets, error) {
	switch {
	case r.PerSecond == 0:
		return nil, nil
	case !(r.PerSecond > 0): // NaN too
		return nil, secret.Invalid(field+".requests_per_second", "must be at least 0")
	case r.Burst < 1:
		return nil, secret.Invalid(field+".burst", "must be at least 1 if there is a limit")
	}
	return makeBuckets(rate.Limit(r.PerSecond), r.Burst), nil
}
