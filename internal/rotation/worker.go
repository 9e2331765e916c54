package rotation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Service notes how far rotations are.
type Service interface {
	BeginDueRotation(ctx context.Context, id secret.ID, version secret.VersionID) error
	FinishRotationStep(ctx context.Context, id secret.ID, version secret.VersionID, step secret.RotationStep, failure string, retryAt time.Time) error
}

// LocalStore is this process's copy of the shard.
type LocalStore interface {
	View(fn func(record.View) error) error
}

// Options of a Worker. All without a default are required.
type Options struct {
	Region  secret.RegionName
	Service Service
	Local   LocalStore
	// Rotators are those of the region by their names.
	Rotators map[string]*Endpoint
	// SecretID is what a secret is called to rotators.
	SecretID func(*secret.Secret) string
	Logger   *slog.Logger
	Now      func() time.Time
	// Observe is told of each step that a rotator was asked for; nil means nobody is.
	Observe func(step secret.RotationStep, ok bool)
	// Every is how often it is looked for what is due; default 1 s.
	Every time.Duration
}

// Worker rotates the secrets of a region. One process at a time should run it; if
// two do, rotators are asked twice.
type Worker struct {
	Options

	mu sync.Mutex
	// due is when something is to be done for a secret.
	due map[secret.ID]time.Time
}

// New returns a Worker that knows of no secret.
func New(o Options) *Worker {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Observe == nil {
		o.Observe = func(secret.RotationStep, bool) {}
	}
	return &Worker{Options: o, due: map[secret.ID]time.Time{}}
}

// Changed takes note of what the local store applied.
func (w *Worker) Changed(changes []record.Change) {
	for _, c := range changes {
		id := record.SecretIDOf(c.Key)
		if id == "" || !c.Key.HasPrefix(record.SecretPrefix) {
			continue
		}
		var due time.Time
		if !c.Deleted && record.HasRotation(c.Value) {
			if s, err := record.Secrets.Decode(c.Value); err == nil {
				due = w.dueAt(s)
			}
		}
		w.mu.Lock()
		if due.IsZero() {
			delete(w.due, id)
		} else {
			w.due[id] = due
		}
		w.mu.Unlock()
	}
}

func (w *Worker) dueAt(s *secret.Secret) time.Time {
	if s.Ownership.Home != w.Region || s.State != secret.Active {
		return time.Time{}
	}
	return s.Rotation.Due()
}

// load looks at all secrets once.
func (w *Worker) load() error {
	return w.Local.View(func(view record.View) error {
		return view.Scan(record.SecretPrefix, record.PrefixEnd(record.SecretPrefix), func(stored record.Stored) bool {
			w.Changed([]record.Change{{Stored: stored}})
			return true
		})
	})
}

// atOnce bounds the rotators that are asked at the same time.
const atOnce = 8

// Run rotates what is due until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	loaded := false
	for {
		if !loaded {
			err := w.load()
			if loaded = err == nil; !loaded {
				w.Logger.Info("the secrets that are to be rotated cannot be read yet", "error", err)
			}
		}
		var g errgroup.Group
		g.SetLimit(atOnce)
		for _, id := range w.dueNow() {
			g.Go(func() error {
				w.rotate(ctx, id)
				return nil
			})
		}
		_ = g.Wait()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (w *Worker) dueNow() (ids []secret.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.Now()
	for id, due := range w.due {
		if !due.After(now) {
			ids = append(ids, id)
		}
	}
	return ids
}

// The pause before a step that failed is tried again doubles from the first to the
// last.
const (
	firstPause = time.Minute
	lastPause  = time.Hour
)

// rotate does for one secret what is due, step by step, as far as it goes now.
func (w *Worker) rotate(ctx context.Context, id secret.ID) {
	for ctx.Err() == nil {
		s, err := w.secret(id)
		if errors.Is(err, record.ErrNotFound) {
			w.forget(id)
		}
		if err != nil || w.dueAt(s).IsZero() || w.dueAt(s).After(w.Now()) {
			return
		}
		r := s.Rotation
		if r.Version == "" {
			err = w.Service.BeginDueRotation(ctx, id, newVersion())
		} else {
			err = w.step(ctx, s)
		}
		if err != nil {
			if ctx.Err() == nil {
				w.Logger.Warn("a rotation cannot go on now; it will", "secret", id, "error", err)
			}
			return
		}
		if !w.applied(ctx, id, *r) {
			return
		}
	}
}

// step asks the rotator for the next step and notes what came of it.
func (w *Worker) step(ctx context.Context, s *secret.Secret) error {
	r := s.Rotation
	rotator, ok := w.Rotators[r.Rotator]
	err := fmt.Errorf("the rotator %s is not known to this region", r.Rotator)
	if ok {
		err = rotator.call(ctx, w.SecretID(s), r.Version, r.Step, w.Now())
	}
	if ctx.Err() != nil {
		return ctx.Err() // whoever goes on asks again
	}
	w.Observe(r.Step, err == nil)
	failure, retryAt := "", time.Time{}
	if err != nil {
		failure = err.Error()
		pause := min(lastPause, firstPause<<min(r.Attempts, 10))
		retryAt = w.Now().Add(pause)
		text := "a rotation failed at a step; it is tried again"
		if r.Trial {
			text = "a rotator was tried out and failed"
		}
		w.Logger.Warn(text, "secret", s.ID, "step", r.Step, "attempts", r.Attempts+1, "in", pause, "error", failure)
	}
	return w.Service.FinishRotationStep(ctx, s.ID, r.Version, r.Step, failure, retryAt)
}

func (w *Worker) forget(id secret.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.due, id)
}

func (w *Worker) secret(id secret.ID) (s *secret.Secret, err error) {
	err = w.Local.View(func(view record.View) error {
		s, _, err = record.Load(view, record.Secrets, record.SecretKey(id))
		return err
	})
	return s, err
}

// applied waits, within bounds, until the local store has what came of a step.
func (w *Worker) applied(ctx context.Context, id secret.ID, before secret.Rotation) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		s, err := w.secret(id)
		if err == nil && (s.Rotation == nil || *s.Rotation != before) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return false
}

// newVersion returns an ID of the form that clients of AWS expect.
func newVersion() secret.VersionID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return secret.VersionID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
