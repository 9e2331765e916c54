package service

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/event"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// heartbeat is how often a watch that has nothing to say says so. It also bounds
// how long a watch outlives the caller's right to it; no event is sent after.
const heartbeat = 10 * time.Second

const (
	// resumeMargin is how far the clocks of processes may be apart, and how long
	// a mutation may take from its event's ID to its commit, without a resumed
	// watch missing an event.
	resumeMargin = 2 * time.Minute
	// resumeTimeout bounds the reading of what a resumed watch missed.
	resumeTimeout = 10 * time.Second
)

// Watched is one event of a watch, or a heartbeat if Event is nil.
type Watched struct {
	Event       *event.Event
	ResumeToken string
}

// resumePoint says after which event, in which life of the region, a watch goes
// on. All events until at have been given.
type resumePoint struct {
	incarnation secret.Incarnation
	// revision is that of the last event, whose ID is id; without an ID all events
	// of the revision have been given.
	revision int64
	id       string
	// at is when the local store was known to be up to date: a host that is cut
	// off cannot vouch for the time since.
	at time.Time
}

const resumeFormat = "r1"

func (r resumePoint) String() string {
	return encodeOpaque(resumeFormat, string(r.incarnation), strconv.FormatInt(r.revision, 10), r.id, strconv.FormatInt(r.at.Unix(), 10))
}

// covers reports whether an event has been given.
func (r resumePoint) covers(e *event.Event) bool {
	if r.id == "" {
		return e.Revision <= r.revision
	}
	return e.Compare(r.revision, r.id) <= 0
}

func parseResumePoint(s string) (resumePoint, error) {
	f, ok := decodeOpaque(resumeFormat, s, 4)
	if !ok {
		return resumePoint{}, secret.Invalid("resume_token", "is malformed")
	}
	revision, err1 := strconv.ParseInt(f[1], 10, 64)
	at, err2 := strconv.ParseInt(f[3], 10, 64)
	if err1 != nil || err2 != nil {
		return resumePoint{}, secret.Invalid("resume_token", "is malformed")
	}
	return resumePoint{incarnation: secret.Incarnation(f[0]), revision: revision, id: f[2], at: time.Unix(at, 0)}, nil
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
		c.now, c.caller.Principal, c.permitted = s.Now(), nil, authz.Resource{}
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
	known := s.knownAt()
	if s.Now().Sub(known) > s.EventsFor {
		return c.end(secret.Errorf(secret.CodeUnavailable, "this host has been cut off from the store for longer than events are kept").
			WithHint("watch on another host"))
	}
	sub := s.Events.Subscribe(vault.ID)
	defer sub.Close()
	point := resumePoint{incarnation: incarnation, at: known}
	point.revision, err = s.startOfWatch(sub)
	var missed []event.Event
	if err == nil && resumeToken != "" {
		point, missed, err = s.missed(ctx, vault.ID, incarnation, resumeToken, point.revision)
	}
	if err = c.end(err); err != nil {
		return err
	}
	w := watch{service: s, permitted: permitted, send: send, sub: sub, incarnation: &incarnation, point: point}
	for i, e := range missed {
		if err := w.deliver(ctx, &e, len(missed)-i-1); err != nil {
			return err
		}
	}
	return w.follow(ctx)
}

// knownAt is when the local store was last known to be up to date.
func (s *Service) knownAt() time.Time {
	return s.Now().Add(-s.Local.Age())
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

func resumeGone() error {
	return secret.Errorf(secret.CodeResumeGone, "the events after the resume token are no longer kept").
		WithHint("list the secrets, then watch without a token")
}

// missed returns what a resume token stands for, and the events of a vault after
// it up to revision.
func (s *Service) missed(ctx context.Context, vault secret.VaultID, incarnation secret.Incarnation, token string, revision int64) (resumePoint, []event.Event, error) {
	point, err := parseResumePoint(token)
	if err != nil {
		return point, nil, err
	}
	now := s.Now()
	if point.incarnation != incarnation || now.Sub(point.at) > s.EventsFor {
		return point, nil, resumeGone()
	}
	if point.at.After(now) {
		point.at = now
	}
	from, err := outboxAt(point.at.Add(-resumeMargin))
	if err != nil {
		return point, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resumeTimeout)
	defer cancel()
	var events []event.Event
	var decodeErr error
	err = s.Store.View(ctx).Scan(from, record.PrefixEnd(record.OutboxPrefix), func(stored record.Stored) bool {
		if stored.Revision < point.revision || stored.Revision > revision {
			return true
		}
		e, err := record.Events.Decode(stored.Value)
		if err != nil {
			decodeErr = err
			return false
		}
		found := event.Event{Event: e, Revision: stored.Revision}
		if e.GetVault() == string(vault) && aboutSecret(e) && !point.covers(&found) {
			events = append(events, found)
		}
		return true
	})
	slices.SortFunc(events, func(a, b event.Event) int { return a.Compare(b.Revision, b.GetId()) })
	return point, events, firstError(err, decodeErr)
}

// outboxAt is the first key that an event of a time can have.
func outboxAt(at time.Time) (record.Key, error) {
	var first ulid.ULID
	err := first.SetTime(ulid.Timestamp(at))
	return record.OutboxKey(first.String()), err
}

// aboutSecret leaves out the events of the vault itself.
func aboutSecret(e *recordpb.Event) bool { return secret.ID(e.GetSubject()).Valid() }

type watch struct {
	service   *Service
	permitted func(record.View) error
	send      func(Watched) error
	sub       *event.Subscription
	// incarnation is what permitted found last.
	incarnation *secret.Incarnation
	point       resumePoint
}

// deliver sends an event, or a heartbeat if e is nil, if the caller may still
// have it. The caller knows of rest events more.
func (w *watch) deliver(ctx context.Context, e *event.Event, rest int) error {
	if _, err := w.service.read(ctx, w.permitted); err != nil {
		return err
	}
	known := w.service.knownAt() // before looking at what waits: all until then has come
	if *w.incarnation != w.point.incarnation || w.service.Now().Sub(known) > w.service.EventsFor {
		return resumeGone()
	}
	if e != nil {
		if w.point.covers(e) || !aboutSecret(e.Event) {
			return nil
		}
		w.point.revision, w.point.id = e.Revision, e.GetId()
		if at := record.FromNanos(e.GetAt()); at.After(w.point.at) && at.Before(known) {
			w.point.at = at
		}
	}
	if rest+len(w.sub.Events) == 0 && !w.sub.Overflow() && known.After(w.point.at) {
		w.point.at = known
	}
	return w.send(Watched{Event: e, ResumeToken: w.point.String()})
}

func (w *watch) follow(ctx context.Context) error {
	if err := w.deliver(ctx, nil, 0); err != nil {
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
			err = w.deliver(ctx, nil, 0)
		case e, ok := <-w.sub.Events:
			if !ok {
				return secret.Errorf(secret.CodeUnavailable, "the watch fell too far behind").WithHint("resume from the last token")
			}
			err = w.deliver(ctx, &e, 0)
		}
		if err != nil {
			return err
		}
	}
}
