package service

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/event"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// heartbeat is how often a watch that has nothing to say says so. It also bounds
// how long a watch outlives the caller's right to it; no event is sent after.
const heartbeat = 10 * time.Second

// Watched is one event of a watch, or a heartbeat if Event is nil.
type Watched struct {
	Event       *event.Event
	ResumeToken string
}

// resumePoint says after which revision, in which life of the region, a watch
// goes on, and when it was given.
type resumePoint struct {
	incarnation secret.Incarnation
	revision    int64
	at          time.Time
}

const resumeFormat = "r1"

func (r resumePoint) String() string {
	return encodeOpaque(resumeFormat, string(r.incarnation), strconv.FormatInt(r.revision, 10), strconv.FormatInt(r.at.Unix(), 10))
}

func parseResumePoint(s string) (resumePoint, error) {
	f, ok := decodeOpaque(resumeFormat, s, 3)
	if !ok {
		return resumePoint{}, secret.Invalid("resume_token", "is malformed")
	}
	revision, err1 := strconv.ParseInt(f[1], 10, 64)
	at, err2 := strconv.ParseInt(f[2], 10, 64)
	if err1 != nil || err2 != nil {
		return resumePoint{}, secret.Invalid("resume_token", "is malformed")
	}
	return resumePoint{incarnation: secret.Incarnation(f[0]), revision: revision, at: time.Unix(at, 0)}, nil
}

// WatchSecrets calls send with the events of a vault: those after resumeToken,
// if one is given, then new ones as they come, in the order of their commits. It
// returns when ctx ends, send fails, the caller's right is taken away, or the
// caller is too slow (CodeUnavailable: resume). CodeResumeGone: the events after
// the token are no longer kept.
func (s *Service) WatchSecrets(ctx context.Context, vaultRef, resumeToken string, send func(Watched) error) error {
	c, err := s.begin(ctx, authz.WatchSecrets, false)
	if err != nil {
		return c.end(err)
	}
	var vault *secret.Vault
	var incarnation secret.Incarnation
	permitted := func(view record.View) error {
		c.now, c.caller.Principal, c.permitted = s.Now(), nil, permittedResource{}
		if err := c.authenticate(view); err != nil {
			return err
		}
		if vault, _, err = c.vault(view, vaultRef); err != nil {
			return err
		}
		if err = c.authorize(view, vaultResource(vault)); err != nil {
			return err
		}
		incarnation, err = incarnationOf(view)
		return err
	}
	if _, err := s.read(ctx, permitted); err != nil {
		return c.end(err)
	}
	sub := s.Events.Subscribe(vault.ID)
	defer sub.Close()
	start, err := s.startOfWatch(sub)
	var missed []event.Event
	if err == nil {
		missed, err = s.missed(ctx, vault.ID, incarnation, resumeToken, start)
	}
	if err = c.end(err); err != nil {
		return err
	}
	w := watch{service: s, permitted: permitted, send: send, point: resumePoint{incarnation: incarnation, revision: start}}
	if resumeToken != "" {
		w.point, _ = parseResumePoint(resumeToken)
	}
	for _, e := range missed {
		if err := w.deliver(ctx, &e); err != nil {
			return err
		}
	}
	return w.follow(ctx, sub)
}

// startOfWatch returns the revision after which the subscription has all events.
// The hub knows only what changed since the process started; the local store
// knows how far it had come by then.
func (s *Service) startOfWatch(sub *event.Subscription) (int64, error) {
	start := sub.Start
	err := s.Local.View(func(view record.View) error {
		if v, ok := view.(authz.Revisioned); ok {
			start = max(start, v.Revision())
		}
		return nil
	})
	return start, err
}

// missed returns the events of a vault after the resume token up to revision.
func (s *Service) missed(ctx context.Context, vault secret.VaultID, incarnation secret.Incarnation, token string, revision int64) ([]event.Event, error) {
	if token == "" {
		return nil, nil
	}
	point, err := parseResumePoint(token)
	if err != nil {
		return nil, err
	}
	gone := secret.Errorf(secret.CodeResumeGone, "the events after the resume token are no longer kept").
		WithHint("list the secrets, then watch without a token")
	if point.incarnation != incarnation || s.Now().Sub(point.at) > s.EventsFor {
		return nil, gone
	}
	var events []event.Event
	var decodeErr error
	err = s.Store.View(ctx).Scan(record.OutboxPrefix, record.PrefixEnd(record.OutboxPrefix), func(stored record.Stored) bool {
		if stored.Revision <= point.revision || stored.Revision > revision {
			return true
		}
		e, err := record.Events.Decode(stored.Value)
		if err != nil {
			decodeErr = err
			return false
		}
		if e.GetVault() == string(vault) && aboutSecret(e) {
			events = append(events, event.Event{Event: e, Revision: stored.Revision})
		}
		return true
	})
	slices.SortFunc(events, func(a, b event.Event) int { return cmp.Compare(a.Revision, b.Revision) })
	return events, firstError(err, decodeErr)
}

// aboutSecret leaves out the events of the vault itself.
func aboutSecret(e *recordpb.Event) bool { return secret.ID(e.GetSubject()).Valid() }

type watch struct {
	service   *Service
	permitted func(record.View) error
	send      func(Watched) error
	point     resumePoint
}

// deliver sends an event, or a heartbeat if e is nil, if the caller may still
// have it.
func (w *watch) deliver(ctx context.Context, e *event.Event) error {
	if _, err := w.service.read(ctx, w.permitted); err != nil {
		return err
	}
	if e != nil {
		if e.Revision <= w.point.revision || !aboutSecret(e.Event) {
			return nil
		}
		w.point.revision = e.Revision
	}
	w.point.at = w.service.Now()
	return w.send(Watched{Event: e, ResumeToken: w.point.String()})
}

func (w *watch) follow(ctx context.Context, sub *event.Subscription) error {
	if err := w.deliver(ctx, nil); err != nil {
		return err
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			err = w.deliver(ctx, nil)
		case e, ok := <-sub.Events:
			if !ok {
				return secret.Errorf(secret.CodeUnavailable, "the watch fell too far behind").WithHint("resume from the last token")
			}
			err = w.deliver(ctx, &e)
		}
		if err != nil {
			return err
		}
	}
}
