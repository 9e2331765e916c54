package replica

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Bounds of what is taken from the feed at once.
const (
	inboxBatches  = 256
	inboxBytes    = 4 << 20
	commitChanges = 4096
	commitBytes   = 2 << 20
	// commitEvery is the least time between the starts of two commits. Each costs
	// fsyncs and the rewriting of pages however little it changes, so that under
	// load some ms of waiting, which a change on its own never meets, save most of
	// that. It grows by commitEach with each change of the last commit, up to
	// commitAtMost, so that more is waited for the more there is to gain.
	commitEvery  = 2 * time.Millisecond
	commitEach   = 100 * time.Microsecond
	commitAtMost = 30 * time.Millisecond
	// persistEvery bounds how old the stored progress of an idle feed gets.
	persistEvery = 30 * time.Second
	fetchTimeout = 10 * time.Second
)

// Run follows the source until ctx is done or the store is closed: it
// resynchronises where it must, reconnects with backoff, rebuilds a damaged
// file, mends damaged records and scrubs. It returns nil when ctx is done, and an
// error if Options.Admit refuses the shard. Only one Run may be active.
func (l *Local) Run(ctx context.Context) error {
	if !l.running.TryLock() {
		return secret.Errorf(secret.CodeWrongState, "the local store is already being run, or closed")
	}
	defer l.running.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.stopped, cancel)()

	var g errgroup.Group
	g.Go(func() error { l.scrubForever(ctx); return nil })
	g.Go(func() error {
		defer cancel()
		return l.followForever(ctx)
	})
	return g.Wait()
}

func (l *Local) followForever(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = l.opts.RetryMin, l.opts.RetryMax
	for ctx.Err() == nil {
		before := l.meta
		err := l.session(ctx)
		if ctx.Err() != nil {
			l.status.update(func(p *Position) { p.Connected = false })
			return nil //nolint:nilerr // the end was asked for
		}
		l.disconnected(err)
		if refused := refusal(err); refused != nil {
			return refused
		}
		if l.meta.Applied != before.Applied || l.meta.Generation != before.Generation {
			pause.Reset()
		}
		if err := l.recoverFrom(err); err != nil {
			l.log.Error("local store", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause.NextBackOff()):
		}
	}
	return nil
}

// recoverFrom does what the end of a session calls for.
func (l *Local) recoverFrom(err error) error {
	switch {
	case l.file.Load().isBad.Load() || errors.Is(err, errDamaged):
		return l.rebuild(err)
	case errors.Is(err, record.ErrCompacted), errors.Is(err, record.ErrAhead), errors.Is(err, errKeyDamaged):
		return l.needResync()
	}
	return nil
}

func (l *Local) disconnected(err error) {
	l.status.update(func(p *Position) {
		p.Connected, p.Err = false, err
	})
	l.log.Warn("not following the store", "applied", l.meta.Applied, "error", err)
}

// rebuild replaces a damaged file by an empty one.
func (l *Local) rebuild(cause error) error {
	f := l.file.Load()
	f.isBad.Store(true)
	if err := l.moveAside(cause); err != nil {
		return err
	}
	if err := f.close(); err != nil {
		l.log.Warn("cannot close the damaged local store", "error", err)
	}
	fresh, err := open(l.opts.Path, l.opts.NoSync)
	if err != nil {
		return err
	}
	return l.install(fresh)
}

// session follows the source until something ends it.
func (l *Local) session(ctx context.Context) error {
	if l.file.Load().isBad.Load() {
		return errDamaged
	}
	if err := l.admitSource(ctx); err != nil {
		return err
	}
	if err := l.meet(ctx); err != nil {
		return err
	}
	if l.meta.Resync && l.catchUp == nil {
		if err := l.resync(ctx); err != nil {
			return err
		}
	}
	return l.follow(ctx)
}

var errBehind = secret.Errorf(secret.CodeWrongState, "the store has lost revisions that this host has, but claims to be in the same life").
	WithHint("restore the region with the restore command, which begins a new life, or bring back the lost members")

var errNoRegion = secret.Errorf(secret.CodeWrongState, "the store has no region record; this host has a copy of an initialised region").
	WithHint("check that the host is configured with the right store")

// meet finds out whether the source is the store that this is a copy of. A store
// that went back without saying so in its region record is not followed: what
// the hosts hold may be the last copy of what it lost.
func (l *Local) meet(ctx context.Context) error {
	l.head = head{}
	asked := l.now()
	page, err := l.opts.Source.Page(ctx, record.RegionKey, record.RegionKey+"\x00", 1)
	if err != nil {
		return err
	}
	var id identity
	if len(page.Records) > 0 {
		if id, err = identityOf(page.Records[0].Value); err != nil {
			return err
		}
	}
	mine := l.meta.Identity
	switch {
	case mine.known() && !id.known():
		return errNoRegion
	case mine.known() && id != mine:
		return l.beginLife(id)
	case page.Revision >= l.meta.Applied:
		l.saw(asked, page.Revision)
		return nil
	case mine.known():
		return errBehind
	}
	return l.beginLife(id)
}

// follow applies what the feed delivers, and mends what needs it meanwhile.
func (l *Local) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	in := &inbox{batches: make(chan arrival, inboxBatches), room: semaphore.NewWeighted(inboxBytes), now: l.now}
	fetched := make(chan fetch)
	ended := make(chan error, 1)
	var g errgroup.Group
	defer func() {
		cancel()
		_ = g.Wait() // both have reported what they have to say
	}()
	after := l.meta.Applied
	g.Go(func() error {
		ended <- l.opts.Source.Feed(ctx, after, func(b record.Batch) error { return in.put(ctx, b) })
		return nil
	})
	g.Go(func() error { l.fetchForever(ctx, l.unreadable(), fetched); return nil })
	l.confirm()
	return l.applyForever(ctx, in, fetched, ended)
}

func (l *Local) applyForever(ctx context.Context, in *inbox, fetched <-chan fetch, ended <-chan error) error {
	persist := time.NewTicker(persistEvery)
	defer persist.Stop()
	for {
		var err error
		select {
		case b := <-in.batches:
			if len(b.Changes) > 0 {
				l.pace(ctx)
			}
			err = l.takeAll(in.drain(b))
		case f := <-fetched:
			err = l.mend(f)
		case <-l.damaged:
			if l.file.Load().isBad.Load() { // else it was said of the file before
				err = errDamaged
			}
		case <-persist.C:
			err = l.write(mark{}, false, func(*txn) error { return nil })
		case err = <-ended:
			return l.takeRest(in, err)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// pace waits until the next commit may start.
func (l *Local) pace(ctx context.Context) {
	now := time.Now()
	if early := l.commitAfter.Sub(now); early > 0 {
		select {
		case <-time.After(early):
		case <-ctx.Done():
		}
		now = l.commitAfter
	}
	l.commitAfter = now.Add(min(commitEvery+time.Duration(l.lastChanges)*commitEach, commitAtMost))
}

// takeRest applies what the feed delivered before it ended.
func (l *Local) takeRest(in *inbox, ended error) error {
	for {
		select {
		case b := <-in.batches:
			if err := l.takeAll(in.drain(b)); err != nil {
				return err
			}
		default:
			if ended == nil {
				return secret.Errorf(secret.CodeUnavailable, "the change feed ended")
			}
			return ended
		}
	}
}

// takeAll applies what has arrived. A batch without changes vouches that the
// store had nothing newer.
func (l *Local) takeAll(arrived []arrival) error {
	batches := make([]record.Batch, len(arrived))
	for i, a := range arrived {
		batches[i] = a.Batch
		if len(a.Changes) == 0 {
			l.saw(a.at, a.Revision)
		}
	}
	if err := l.take(batches); err != nil {
		return err
	}
	l.confirm()
	return nil
}

// take applies batches. Those without changes only move the position: to store
// that would cost an fsync each.
func (l *Local) take(batches []record.Batch) error {
	changes := 0
	for _, b := range batches {
		changes += len(b.Changes)
	}
	l.lastChanges = changes
	if changes == 0 && l.catchUp == nil && l.isolate == nil && len(l.absent) == 0 {
		l.meta.Applied = max(l.meta.Applied, batches[len(batches)-1].Revision)
		l.publish()
		return nil
	}
	if err := l.applyBatches(batches); err != nil {
		return err
	}
	l.settle()
	return l.removeAbsent()
}
