package service_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

var errEnough = errors.New("enough")

// watch watches until want events have come, and returns their names and the
// token after the last one.
func (h *harness) watch(token string, want int) (names []string, last string, err error) {
	err = h.WatchSecrets(h.ctx(), "v", token, func(w service.Watched) error {
		last = w.ResumeToken
		if w.Event != nil {
			names = append(names, w.Event.GetName())
		}
		if len(names) == want {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return names, last, err
}

func TestAResumeTokenIsGoodForAsLongAsEventsAreKept(t *testing.T) {
	h := start(t)
	_, token, err := h.watch("", 0)
	must(t, err)
	h.create(service.NewSecret{Name: "a"})
	h.pass(time.Hour)
	names, next, err := h.watch(token, 1)
	if err != nil || fmt.Sprint(names) != "[a]" {
		t.Fatalf("resumed with %v, %v", names, err)
	}
	h.pass(time.Second)
	if _, _, err := h.watch(token, 1); !secret.HasCode(err, secret.CodeResumeGone) {
		t.Errorf("a token older than the events that are kept: %v", err)
	}
	h.create(service.NewSecret{Name: "b"})
	if names, _, err := h.watch(next, 1); err != nil || fmt.Sprint(names) != "[b]" {
		t.Errorf("resumed with %v, %v", names, err)
	}
}

func TestASlowWatcherIsCutOffAndResumes(t *testing.T) {
	h := start(t)
	const events = 1500 // more than wait for a watcher
	begun, full := make(chan struct{}), make(chan struct{})
	var seen int
	var token string
	ended := make(chan error, 1)
	go func() {
		ended <- h.WatchSecrets(h.ctx(), "v", "", func(w service.Watched) error {
			token = w.ResumeToken
			if w.Event == nil {
				close(begun)
				<-full
				return nil
			}
			seen++
			return nil
		})
	}()
	<-begun
	h.create(service.NewSecret{Name: "a", Retention: secret.Retention{MaxVersions: 1}})
	for i := 1; i < events; i++ {
		_, err := h.PutSecretVersion(h.ctx(), service.NewValue{SecretRef: ref("a"), Value: secret.NewPlaintext(fmt.Append(nil, i))})
		must(t, err)
	}
	close(full)
	if err := <-ended; !secret.HasCode(err, secret.CodeUnavailable) {
		t.Fatalf("the slow watcher ended with %v", err)
	}
	if seen == 0 || seen == events {
		t.Fatalf("the slow watcher saw %d events", seen)
	}
	names, _, err := h.watch(token, events-seen)
	if err != nil || len(names) != events-seen {
		t.Errorf("after %d events the resumed watch saw %d, %v", seen, len(names), err)
	}
}

func TestAWatchEndsWithItsCaller(t *testing.T) {
	h := start(t)
	ctx, cancel := context.WithCancel(h.ctx())
	err := h.WatchSecrets(ctx, "v", "", func(service.Watched) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
