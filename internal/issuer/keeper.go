package issuer

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// lookEvery is how often it is looked for issuers whose keys are due.
	lookEvery = 5 * time.Second
	// atOnce bounds the fetches at the same time, so that an issuer that does not
	// answer holds up few others.
	atOnce = 8
	// firstRetry and lastRetry bound the pause after a failure, which doubles.
	firstRetry = 5 * time.Second
	lastRetry  = 5 * time.Minute
)

// KeeperOptions of a Keeper. View and Refresh are required.
type KeeperOptions struct {
	// Region is the one whose issuers are kept: those of other regions come with
	// their keys.
	Region secret.RegionName
	// View gives a consistent snapshot of this process's copy of the shard.
	View func(fn func(record.View) error) error
	// Refresh fetches an issuer's keys and stores them.
	Refresh func(ctx context.Context, account secret.AccountID, issuer string) error
	Logger  *slog.Logger
	// Now defaults to time.Now.
	Now func() time.Time
	// Every is how often it is looked for what is due; default 5 s.
	Every time.Duration
}

// Keeper has keys fetched: those that are due, while RunSchedule runs, which one
// process of the region does at a time, and those that are asked for, while
// RunAsks runs, which every control process does. It is safe for concurrent use.
type Keeper struct {
	KeeperOptions
	*Asks
	mu       sync.Mutex
	attempts map[Name]attempt
}

// attempt is the last one in this process.
type attempt struct {
	at       time.Time
	failures int
	running  bool
}

// NewKeeper returns a Keeper.
func NewKeeper(o KeeperOptions) *Keeper {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every <= 0 {
		o.Every = lookEvery
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{KeeperOptions: o, Asks: NewAsks(o.Now), attempts: map[Name]attempt{}}
}

// Fetch implements service.IssuerKeySource together with Ask.
func (k *Keeper) Fetch(ctx context.Context, i *secret.Issuer) ([]byte, error) { return Fetch(ctx, i) }

// RunAsks fetches what is asked for until ctx ends.
func (k *Keeper) RunAsks(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	err := k.Run(ctx, func(ctx context.Context, name Name) {
		group.Go(func() error {
			k.refresh(ctx, name)
			return nil
		})
	})
	_ = group.Wait()
	return err
}

// RunSchedule fetches what is due until ctx ends.
func (k *Keeper) RunSchedule(ctx context.Context) error {
	tick := time.NewTicker(k.Every)
	defer tick.Stop()
	var group errgroup.Group
	group.SetLimit(atOnce)
	defer func() { _ = group.Wait() }()
	for {
		due, err := k.due()
		if err != nil {
			k.Logger.Debug("issuers cannot be read yet", "error", err)
		}
		for _, name := range due {
			// One that waits for a place is due again with the next look.
			group.TryGo(func() error {
				k.refresh(ctx, name)
				return nil
			})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// due lists the issuers whose keys are to be fetched now.
func (k *Keeper) due() (due []Name, err error) {
	now := k.Now()
	present := map[Name]bool{}
	err = k.View(func(view record.View) error {
		return view.Scan(record.IssuerPrefix, record.PrefixEnd(record.IssuerPrefix), func(stored record.Stored) bool {
			i, err := record.Issuers.Decode(stored.Value)
			if err != nil || i.Source == secret.KeysStatic || i.Ownership.Home != k.Region {
				return true // what cannot be decoded hosts report on their own
			}
			name := Name{i.Account, i.Name}
			present[name] = true
			keys, _, err := record.Load(view, record.IssuerKeySets, record.IssuerKeysKey(i.Account, i.Name))
			stale := err != nil || keys.Issuer != i.ID || len(keys.Set) == 0 || now.Sub(keys.FetchedAt) >= i.RefreshEvery
			if stale && k.mayTry(name, now) {
				due = append(due, name)
			}
			return true
		})
	})
	if err == nil {
		k.forget(present)
	}
	return due, err
}

// mayTry reports whether the pause after the last attempt is over.
func (k *Keeper) mayTry(name Name, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.attempts[name]
	pause := firstRetry << min(max(a.failures-1, 0), 10)
	return !a.running && now.Sub(a.at) >= min(pause, lastRetry)
}

func (k *Keeper) forget(present map[Name]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, a := range k.attempts {
		if !present[name] && !a.running {
			delete(k.attempts, name)
		}
	}
}

// refresh fetches keys unless that is under way.
func (k *Keeper) refresh(ctx context.Context, name Name) {
	k.mu.Lock()
	a := k.attempts[name]
	if a.running {
		k.mu.Unlock()
		return
	}
	k.attempts[name] = attempt{at: k.Now(), failures: a.failures, running: true}
	k.mu.Unlock()
	err := k.Refresh(ctx, name.Account, name.Issuer)
	a = attempt{at: k.Now()}
	if err != nil {
		k.Logger.Warn("keys of an issuer cannot be fetched", "account", name.Account, "issuer", name.Issuer, "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		a.failures = k.attempts[name].failures + 1
	}
	k.attempts[name] = a
}
