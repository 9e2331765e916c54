package drill

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

const (
	// writeEvery is how long a writer rests after a write that was acknowledged, and
	// tryEvery after one that was refused.
	writeEvery = 20 * time.Millisecond
	tryEvery   = 5 * time.Millisecond
	// lingerFor is for how long a write is waited for when it is to end.
	lingerFor = time.Second
	// mostWrites bounds the writes of one writer to one secret: all must stay in its
	// history.
	mostWrites = 25
)

// ledger remembers every write that was acknowledged.
type ledger struct {
	mu             sync.Mutex
	writes         []*Write
	unacknowledged int
	// values are all that were ever tried, by secret.
	values map[string]map[string]bool
}

// newValue returns a value that was never there before. It is no secret.
func (l *ledger) newValue(secret string) string {
	value := fmt.Sprintf("drill %s %s", secret, rand.Text())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.values == nil {
		l.values = map[string]map[string]bool{}
	}
	if l.values[secret] == nil {
		l.values[secret] = map[string]bool{}
	}
	l.values[secret][value] = true
	return value
}

// wrote reports whether a value was tried to be written to a secret.
func (l *ledger) wrote(secret, value string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.values[secret][value]
}

func (l *ledger) acknowledged(w *Write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.End = EndUnknown
	l.writes = append(l.writes, w)
}

func (l *ledger) failed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unacknowledged++
}

// all returns the writes so far, in the order in which they were acknowledged.
func (l *ledger) all() []*Write {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*Write(nil), l.writes...)
}

// last returns the newest write to a secret, nil if there is none.
func (l *ledger) last(secret string) (last *Write) {
	for _, w := range l.all() {
		if w.Secret == secret {
			last = w
		}
	}
	return last
}

// put writes a new value once; create says that the secret is to be made.
func (d *drill) put(ctx context.Context, at Region, secret string, phase func() Phase, create bool) (*Write, error) {
	value := d.ledger.newValue(secret)
	began := time.Now()
	w := &Write{Secret: secret, Region: at.Name, value: value}
	var err error
	if create {
		var made *lifeboatv1.CreateSecretResponse
		made, err = at.Client.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{Vault: d.vault.ID, Name: secret, Value: []byte(value)})
		w.Version, w.token = made.GetVersion().GetId(), made.GetRevisionToken()
	} else {
		var put *lifeboatv1.PutSecretVersionResponse
		put, err = at.Client.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: d.vault.ID, Secret: secret, Value: []byte(value)})
		w.Version, w.token = put.GetVersion().GetId(), put.GetRevisionToken()
	}
	if err != nil {
		switch client.CodeOf(err) {
		case client.CodeNotHome, client.CodeNotFound, client.CodeDenied, client.CodeUnauthenticated: // nothing was done
		default:
			d.ledger.failed()
		}
		return nil, err
	}
	w.AcknowledgedAt = time.Now()
	w.Seconds = w.AcknowledgedAt.Sub(began).Seconds()
	w.Phase = phase()
	d.ledger.acknowledged(w)
	return w, nil
}

// in returns a phase that does not change.
func in(p Phase) func() Phase { return func() Phase { return p } }

// activity is what goes on beside the steps, until it is stopped.
type activity struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// beside starts an activity.
func beside(ctx context.Context, run ...func(context.Context)) *activity {
	ctx, cancel := context.WithCancel(ctx)
	a := &activity{cancel: cancel}
	for _, f := range run {
		a.ended.Go(func() { f(ctx) })
	}
	return a
}

// stop ends it and waits for that. It does nothing to one that was not started, or has
// ended.
func (a *activity) stop() {
	if a != nil {
		a.cancel()
		a.ended.Wait()
	}
}

// rest lets a moment pass, and reports whether there is more to come.
func rest(ctx context.Context, moment time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(moment):
		return true
	}
}

// lingering returns a context for calls that may be finished, within bounds, after ctx has
// ended: of what is broken off nobody knows whether it was done.
func lingering(ctx context.Context) (calls context.Context, end context.CancelFunc) {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lingerFor, cancel) })
	return calls, func() { stop(); cancel() }
}

// writeAtHome writes to the secrets in turn until ctx ends.
func (d *drill) writeAtHome(ctx context.Context) {
	calls, end := lingering(ctx)
	defer end()
	for i := range mostWrites * len(d.names) {
		_, err := d.put(calls, d.Home, d.names[i%len(d.names)], d.phaseAtHome, false)
		pause := writeEvery
		if err != nil {
			pause = tryEvery
		}
		if !rest(ctx, pause) {
			return
		}
	}
}

// phaseAtHome is that of a write which the home region acknowledges now.
func (d *drill) phaseAtHome() Phase {
	if d.lostAt.Load() != nil {
		return AfterLoss
	}
	return BeforeLoss
}

// writeInFailback writes to one secret, wherever that is accepted, until ctx ends. It
// notes the longest that a write was tried.
func (d *drill) writeInFailback(ctx context.Context, secret string) {
	calls, end := lingering(ctx)
	defer end()
	at, other := d.Heir, d.Home
	for range mostWrites {
		began := time.Now()
		for {
			_, err := d.put(calls, at, secret, in(InFailback), false)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			if client.CodeOf(err) == client.CodeNotHome {
				at, other = other, at
			}
			if !rest(ctx, tryEvery) {
				return
			}
		}
		d.notePause(time.Since(began))
		if !rest(ctx, 2*writeEvery) {
			return
		}
	}
}

func (d *drill) notePause(pause time.Duration) {
	d.ledger.mu.Lock()
	defer d.ledger.mu.Unlock()
	d.report.Measures.FailbackWritePause = max(d.report.Measures.FailbackWritePause, pause.Seconds())
}
