package rotation_test

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/rotation"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id secret.ID = "00000000000000000000000001.00000000000000000000000002"

// region has one secret, and is its store, its local copy and its service.
type region struct {
	mu      sync.Mutex
	now     time.Time
	secret  *secret.Secret
	worker  *rotation.Worker
	changed chan struct{}
}

func (r *region) Get(key record.Key) (record.Stored, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored(), key == record.SecretKey(id), nil
}

func (r *region) stored() record.Stored {
	return record.Stored{Key: record.SecretKey(id), Value: record.Secrets.Encode(r.secret)}
}

func (r *region) Scan(_, _ record.Key, visit func(record.Stored) bool) error {
	r.mu.Lock()
	stored := r.stored()
	r.mu.Unlock()
	visit(stored)
	return nil
}

func (r *region) View(fn func(record.View) error) error { return fn(r) }

// change mutates the secret and tells the worker.
func (r *region) change(fn func(*secret.Secret, secret.Mutation)) {
	r.mu.Lock()
	fn(r.secret, secret.Mutation{At: r.now})
	stored := r.stored()
	r.mu.Unlock()
	r.worker.Changed([]record.Change{{Stored: stored}})
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *region) BeginDueRotation(_ context.Context, _ secret.ID, version secret.VersionID) error {
	r.change(func(s *secret.Secret, m secret.Mutation) { s.BeginDueRotation(m, version) })
	return nil
}

func (r *region) FinishRotationStep(_ context.Context, _ secret.ID, version secret.VersionID, step secret.RotationStep, failure string, retryAt time.Time) error {
	r.change(func(s *secret.Secret, m secret.Mutation) { s.FinishRotationStep(m, version, step, failure, retryAt) })
	return nil
}

func (r *region) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// run runs the worker until it is stopped.
func (r *region) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.worker.Run(ctx) }()
	return func() {
		cancel()
		<-done
	}
}

// until waits until the state of the rotation is as wanted.
func (r *region) until(t *testing.T, what string, holds func(*secret.Rotation) bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		r.mu.Lock()
		state := *r.secret.Rotation
		r.mu.Unlock()
		if holds(&state) {
			return
		}
		select {
		case <-r.changed:
		case <-limit:
			t.Fatalf("%s: %+v", what, state)
		}
	}
}

// TestAFailedStepIsTriedAgainLater, longer and longer after, and the others are not
// done again; requests are signed.
func TestAFailedStepIsTriedAgainLater(t *testing.T) {
	r := &region{now: time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC), changed: make(chan struct{}, 1)}
	r.secret = &secret.Secret{ID: id, State: secret.Active, Ownership: secret.NewOwnership("east", "")}
	var mu sync.Mutex
	var steps []string
	failing := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		want := rotation.Sign(secret.NewPlaintext([]byte("key")), q.Header.Get(rotation.HeaderTimestamp), body)
		var asked struct{ Step, SecretId, ClientRequestToken string } //nolint:revive // the contract's names
		if err := json.Unmarshal(body, &asked); err != nil || asked.SecretId != "arn:a" || !hmac.Equal([]byte(want), []byte(q.Header.Get(rotation.HeaderSignature))) {
			t.Errorf("asked %s, %v", body, err)
		}
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, asked.Step)
		switch {
		case asked.Step == "setSecret" && failing:
			http.Error(w, "canary", http.StatusInternalServerError)
		case asked.Step == "finishSecret":
			r.change(func(s *secret.Secret, m secret.Mutation) {
				_, _ = s.PutVersion(m, secret.NewVersion{ID: secret.VersionID(asked.ClientRequestToken), MAC: secret.MAC("x")})
			})
		}
	}))
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	r.worker = rotation.New(rotation.Options{
		Region: "east", Service: r, Local: r, SecretID: func(*secret.Secret) string { return "arn:a" }, Logger: slog.New(slog.DiscardHandler),
		Now: r.clock, Every: time.Millisecond,
		Rotators: map[string]*rotation.Endpoint{"rotator": {URL: server.URL, Key: secret.NewPlaintext([]byte("key")), Client: server.Client(), Timeout: 10 * time.Second}},
	})
	name := "rotator"
	r.change(func(s *secret.Secret, m secret.Mutation) {
		if _, err := s.ConfigureRotation(m, secret.RotationSettings{Rotator: &name, Schedule: &secret.Schedule{AfterDays: 1}}); err != nil {
			t.Error(err)
		}
	})
	defer r.run(t)()
	forward := func(d time.Duration) {
		r.mu.Lock()
		r.now = r.now.Add(d)
		r.mu.Unlock()
	}
	forward(24 * time.Hour)
	for attempts := 1; attempts <= 3; attempts++ {
		r.until(t, "a failed attempt", func(s *secret.Rotation) bool { return s.Attempts == attempts })
		r.mu.Lock()
		state, pause := *r.secret.Rotation, r.secret.Rotation.RetryAt.Sub(r.now)
		r.mu.Unlock()
		if want := time.Minute << (attempts - 1); pause != want || state.Step != secret.SetStep || state.Failure != "the rotator answered setSecret with status 500" {
			t.Errorf("after %d attempts it rests for %s: %+v", attempts, pause, state)
		}
		if attempts == 3 {
			mu.Lock()
			failing = false
			mu.Unlock()
		}
		forward(pause)
	}
	r.until(t, "the end", func(s *secret.Rotation) bool { return s.Version == "" && !s.LastAt.IsZero() })
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"createSecret", "setSecret", "setSecret", "setSecret", "setSecret", "testSecret", "finishSecret"}; !slices.Equal(steps, want) {
		t.Errorf("the steps were %v", steps)
	}
}

// TestWhatIsNotOursIsLeftAlone: replicas, and rotators that this region lacks.
func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	r := &region{now: time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC), changed: make(chan struct{}, 1)}
	r.secret = &secret.Secret{ID: id, State: secret.Active, Ownership: secret.NewOwnership("west", "")}
	r.worker = rotation.New(rotation.Options{
		Region: "east", Service: r, Local: r, SecretID: func(*secret.Secret) string { return "arn:a" }, Logger: slog.New(slog.DiscardHandler),
		Now: r.clock, Every: time.Millisecond,
	})
	name := "rotator"
	r.change(func(s *secret.Secret, m secret.Mutation) {
		_, _ = s.ConfigureRotation(m, secret.RotationSettings{Rotator: &name, Begin: "version"})
	})
	defer r.run(t)()
	r.change(func(s *secret.Secret, _ secret.Mutation) { s.Ownership.Home = "east" })
	r.until(t, "an unknown rotator", func(s *secret.Rotation) bool { return s.Attempts == 1 })
}
