package issuer

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// askEvery is how often, at most, the keys of one issuer are asked for because
	// one is lacking, askAgain the least time in between, and askBurst how often
	// that may be at once. Whoever can reach the front door can cause it.
	askEvery = 10 * time.Second
	askAgain = time.Second
	askBurst = 3
	// maxAsked bounds what is remembered of that; more issuers are asked for anyway.
	maxAsked = 10_000
	// maxWaiting bounds the issuers that wait to be asked for.
	maxWaiting = 256
)

// Name is an issuer of an account.
type Name struct {
	Account secret.AccountID
	Issuer  string
}

// Asks collects whose keys are lacking, so that each issuer is asked for once
// within a while. Ask is safe for concurrent use and does not block; one
// goroutine runs Run.
type Asks struct {
	now     func() time.Time
	waiting chan Name
	mu      sync.Mutex
	asked   map[Name]*asked
}

// asked is how often an issuer was asked for.
type asked struct {
	last  time.Time
	limit *rate.Limiter
}

// NewAsks returns an empty collection. A nil clock means time.Now.
func NewAsks(now func() time.Time) *Asks {
	if now == nil {
		now = time.Now
	}
	return &Asks{now: now, waiting: make(chan Name, maxWaiting), asked: map[Name]*asked{}}
}

// Ask asks for the keys of an issuer, unless that was done a moment ago or too
// many wait.
func (a *Asks) Ask(account secret.AccountID, issuer string) {
	name, now := Name{account, issuer}, a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	before, ok := a.asked[name]
	if !ok {
		if len(a.asked) >= maxAsked {
			clear(a.asked)
		}
		before = &asked{limit: rate.NewLimiter(rate.Every(askEvery), askBurst)}
		a.asked[name] = before
	}
	if now.Sub(before.last) < askAgain || !before.limit.AllowN(now, 1) {
		return
	}
	before.last = now
	select {
	case a.waiting <- name:
	default: // too many wait; it will be asked for again
	}
}

// Run calls answer for each issuer that is asked for, one at a time, until ctx
// ends.
func (a *Asks) Run(ctx context.Context, answer func(context.Context, Name)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case name := <-a.waiting:
			answer(ctx, name)
		}
	}
}
