package follow

import (
	"context"
	"iter"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

const (
	// gather is how long after a change the next ones are waited for, so that what
	// is changed together is taken over together.
	gather = 100 * time.Millisecond
	// again is how soon it is tried again after what was not possible, and how long
	// after a change it is looked once more: the look may have been at a host that
	// did not have the change yet.
	again = 2 * time.Second
	// seldom is how often it is looked while there can be no watch.
	seldom = 30 * time.Second
)

// Watcher is what is needed of the SDK's client to hear of changes.
type Watcher interface {
	WatchSecrets(ctx context.Context, in *lifeboatv1.WatchSecretsRequest) iter.Seq2[*lifeboatv1.WatchSecretsResponse, error]
}

// Options of Watch. All but Interrupted are required.
type Options struct {
	Client Watcher
	Vault  string
	// Concerns reports whether a secret, by name and ID, is one that matters. It is
	// called from a goroutine of Watch.
	Concerns func(name, id string) bool
	// Changed is called when something that matters may have changed, at first when
	// the watch begins, for what happened before. If it returns false it is called
	// again after two seconds, later after up to 30.
	Changed func(ctx context.Context) bool
	// Interrupted, if set, is told why there can be no watch for now. Changed is
	// called every 30 seconds until there can.
	Interrupted func(err error)
}

// Watch calls Changed until ctx ends. It returns when its goroutine has ended.
func Watch(ctx context.Context, o Options) {
	ctx, cancel := context.WithCancel(ctx)
	hints, ended := make(chan struct{}, 1), make(chan struct{})
	defer func() { cancel(); <-ended }()
	go func() {
		defer close(ended)
		for pause := again; ctx.Err() == nil; pause = min(2*pause, seldom) {
			if o.listen(ctx, hints) {
				pause = again
			}
			sleep(ctx, pause)
			hint(hints)
		}
	}()
	var look <-chan time.Time
	for pause := again; ; {
		hinted := false
		select {
		case <-ctx.Done():
			return
		case <-look:
		case <-hints:
			hinted = true
			sleep(ctx, gather)
			select { // what came meanwhile is looked at now
			case <-hints:
			default:
			}
		}
		look = nil
		switch {
		case !o.Changed(ctx):
			look, pause = time.After(pause), min(2*pause, seldom)
		case hinted:
			look, pause = time.After(again), again
		default:
			pause = again
		}
	}
}

func hint(hints chan<- struct{}) {
	select {
	case hints <- struct{}{}:
	default:
	}
}

// listen turns events into hints until the watch ends, and reports whether it had
// begun.
func (o Options) listen(ctx context.Context, hints chan<- struct{}) (begun bool) {
	for answer, err := range o.Client.WatchSecrets(ctx, &lifeboatv1.WatchSecretsRequest{Vault: o.Vault}) {
		if err != nil {
			// Also after resume_gone, when events were missed: the next watch begins
			// with a look at everything.
			if ctx.Err() == nil && o.Interrupted != nil && client.CodeOf(err) != client.CodeResumeGone {
				o.Interrupted(err)
			}
			return begun
		}
		if e := answer.GetEvent(); !begun || e != nil && o.Concerns(e.GetName(), e.GetSecretId()) {
			begun = true
			hint(hints)
		}
	}
	return begun
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
