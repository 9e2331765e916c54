package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// silentBeats is the number of heartbeats after which a silent store is taken
// for dead.
const silentBeats = 4

// stallBeats is the number of heartbeats after which the watch is ended while
// apply blocks.
const stallBeats = 2

// Batch is a step of the change feed.
type Batch = record.Batch

// feeds numbers the feeds of this process: etcd reports progress for all
// watches of one stream together, so each feed gets a stream of its own.
var feeds atomic.Int64

// Feed calls apply with every change of the shard after revision after, in
// order and without a gap, until ctx ends or an error occurs. While nothing
// changes, it calls apply with an empty batch once per heartbeat; each such
// batch vouches that the store, asked by a linearizable read, had nothing newer.
//
// It returns ctx's error, apply's error, an error that wraps ErrCompacted or
// ErrAhead, or one with CodeUnavailable when the store has been silent for four
// heartbeats; then the caller calls Feed again, after a pause, with the revision
// of the last batch it applied. A shorter interruption is bridged unseen.
// While apply blocks, etcd's client keeps in memory what arrives; when it has
// blocked for two heartbeats that is dropped, and read again once apply returns.
func (s *Shard) Feed(ctx context.Context, after int64, apply func(Batch) error) error {
	f := &feed{shard: s, apply: apply}
	f.reached.Store(after)
	err := f.run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// feed is the state of one call of Feed. All but reached belongs to follow.
type feed struct {
	shard   *Shard
	apply   func(Batch) error
	cluster uint64
	// reached is the revision of the last batch.
	reached atomic.Int64
	// asked is when progress was asked for without any answer since; zero if not.
	asked time.Time
	// latest is the last heartbeat, and vouched whether a batch has said that it
	// was reached.
	latest  beat
	vouched bool
	// watch is what brings the changes; unwatch ends it.
	watch   clientv3.WatchChan
	unwatch context.CancelFunc
	// stalled is set if it was ended because apply blocked.
	stalled bool
}

// beat is the result of a heartbeat: the revision of the store when it was asked.
type beat struct {
	revision int64
	asked    time.Time
	err      error
}

func (f *feed) silence() time.Duration { return silentBeats * f.shard.heartbeat }

func (f *feed) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f.latest = f.listen(ctx); f.latest.err != nil {
		return f.latest.err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "lifeboat-feed", strconv.FormatInt(feeds.Add(1), 10))
	f.begin(ctx)
	beats := make(chan beat)
	go func() {
		defer close(beats)
		f.beat(ctx, beats)
	}()
	err := f.follow(ctx, beats)
	cancel()
	for range beats { // until the goroutine has ended
	}
	f.drop()
	return err
}

// begin watches the changes after those that were delivered.
func (f *feed) begin(ctx context.Context) {
	ctx, f.unwatch = context.WithCancel(ctx)
	from, to := f.shard.bounds("", "")
	f.watch = f.shard.client.Watch(ctx, from, clientv3.WithRange(to), clientv3.WithRev(f.reached.Load()+1))
	f.asked, f.stalled = time.Time{}, false
}

// drop ends the watch, and forgets what it has brought.
func (f *feed) drop() {
	f.unwatch()
	for range f.watch { // until the watch has ended
	}
}

// beat sends a heartbeat to beats at every interval until ctx ends.
func (f *feed) beat(ctx context.Context, beats chan<- beat) {
	ticker := time.NewTicker(f.shard.heartbeat)
	defer ticker.Stop()
	for {
		b := f.listen(ctx)
		select {
		case beats <- b:
		case <-ctx.Done():
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// listen reads the store's revision, trying until the silence is too long.
func (f *feed) listen(ctx context.Context) beat {
	limit, cancel := context.WithTimeout(ctx, f.silence())
	defer cancel()
	reached := f.reached.Load()
	for {
		asked := time.Now()
		header, err := f.shard.header(limit)
		if err == nil {
			b := f.judge(header.ClusterId, header.Revision, reached)
			b.asked = asked
			return b
		}
		select {
		case <-limit.Done():
			return beat{err: err}
		case <-time.After(f.shard.heartbeat / silentBeats):
		}
	}
}

// judge compares what the store says of itself with what was read from it.
func (f *feed) judge(cluster uint64, revision, reached int64) beat {
	if f.cluster == 0 {
		f.cluster = cluster
	}
	switch {
	case cluster != f.cluster:
		return beat{err: f.replaced(cluster)}
	case revision < reached:
		return beat{err: fmt.Errorf("the store is at revision %d, the feed at %d: %w", revision, reached, ErrAhead)}
	}
	return beat{revision: revision}
}

// replaced returns the error for an answer of another cluster. etcd's client goes
// on with it where it left off at the first, which would mix two histories.
func (f *feed) replaced(by uint64) error {
	return fmt.Errorf("cluster %x answers instead of %x: %w", by, f.cluster, ErrAhead)
}

// follow delivers what the watch brings until something fails.
func (f *feed) follow(ctx context.Context, beats <-chan beat) error {
	for {
		if f.stalled {
			f.drop()
			f.begin(ctx)
		}
		select {
		case resp, ok := <-f.watch:
			if err := f.take(ctx, resp, ok); err != nil {
				return err
			}
		case b, ok := <-beats:
			if !ok {
				return ctx.Err()
			}
			if err := f.pulse(ctx, b); err != nil {
				return err
			}
		}
	}
}

// take delivers one response of the watch.
func (f *feed) take(ctx context.Context, resp clientv3.WatchResponse, ok bool) error {
	f.asked = time.Time{}
	switch {
	case !ok:
		return secret.Errorf(secret.CodeUnavailable, "the store ended the watch")
	case resp.Header.GetClusterId() != 0 && resp.Header.GetClusterId() != f.cluster:
		return f.replaced(resp.Header.GetClusterId())
	case resp.CompactRevision != 0:
		return fmt.Errorf("revision %d is wanted, %d is the oldest kept: %w", f.reached.Load()+1, resp.CompactRevision, ErrCompacted)
	case resp.Err() != nil:
		return readError(ctx, resp.Err())
	case len(resp.Events) > 0:
		if err := f.deliver(resp.Events); err != nil {
			return err
		}
	case resp.IsProgressNotify() && resp.Header.GetRevision() >= f.latest.revision && resp.Header.GetRevision() > f.reached.Load():
		return f.vouch(resp.Header.GetRevision())
	}
	if !f.vouched && !f.stalled && f.reached.Load() >= f.latest.revision {
		return f.vouch(f.reached.Load()) // also if changes never cease
	}
	return nil
}

// vouch says that the store had nothing newer than revision at the last heartbeat.
func (f *feed) vouch(revision int64) error {
	f.vouched = true
	return f.advance(Batch{Revision: revision, Asked: f.latest.asked})
}

// deliver passes on the events of one response. etcd never splits a revision
// over responses; were it to, applying half of one must not go unnoticed.
func (f *feed) deliver(events []*clientv3.Event) error {
	if first := events[0].Kv.ModRevision; first <= f.reached.Load() {
		return secret.Errorf(secret.CodeInternal, "the store sent revision %d after %d", first, f.reached.Load())
	}
	b := Batch{Revision: events[len(events)-1].Kv.ModRevision, Changes: make([]record.Change, len(events))}
	for i, e := range events {
		b.Changes[i].Stored = f.shard.stored(e.Kv)
		if e.Type == clientv3.EventTypeDelete {
			b.Changes[i].Deleted, b.Changes[i].Value = true, nil
		}
	}
	return f.advance(b)
}

func (f *feed) advance(b Batch) error {
	stall := time.AfterFunc(stallBeats*f.shard.heartbeat, f.unwatch)
	err := f.apply(b)
	if !stall.Stop() {
		f.stalled = true
	}
	if err != nil {
		return err
	}
	f.reached.Store(b.Revision)
	return nil
}

// pulse handles a heartbeat: it vouches for the present state if nothing is
// newer, else asks the watch how far it is, and gives up on a silent one.
func (f *feed) pulse(ctx context.Context, b beat) error {
	if b.err != nil {
		return b.err
	}
	f.latest, f.vouched = b, false
	select { // what has arrived while apply was busy is no silence
	case resp, ok := <-f.watch:
		return f.take(ctx, resp, ok)
	default:
	}
	if reached := f.reached.Load(); b.revision <= reached {
		f.asked = time.Time{}
		return f.vouch(reached)
	}
	if f.asked.IsZero() {
		f.asked = time.Now()
	}
	if time.Since(f.asked) > f.silence() {
		return secret.Errorf(secret.CodeUnavailable, "the store's change feed has been silent for %v at revision %d of %d", f.silence(), f.reached.Load(), b.revision)
	}
	return f.ask(ctx)
}

// ask requests progress on the watch's stream.
func (f *feed) ask(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, f.shard.heartbeat)
	defer cancel()
	err := f.shard.client.RequestProgress(limit)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return readError(ctx, err)
	}
	return nil
}
