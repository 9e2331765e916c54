package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	probeTimeout = 3 * time.Second
	// firstRetry is how soon a peer that did not answer is asked again at first.
	firstRetry = 200 * time.Millisecond
)

// Status is what is known of a peer.
type Status struct {
	Region secret.RegionName
	// Reachable is since Since, which is zero until the peer was tried.
	Reachable bool
	Since     time.Time
	// LastSeen is when it answered last, at Address.
	LastSeen time.Time
	Address  string
	// Err is why it is not reachable.
	Err error
	// RoundTrip of the last answer.
	RoundTrip time.Duration
	// ClockDifference is how far its clock is ahead of the one here, exact to half
	// a round trip.
	ClockDifference time.Duration
	// Life is the one that answered last, Origins are the backups that led to it.
	Life    Life
	Origins []secret.Moment
	// Pin is the life that is accepted.
	Pin Pin
	// Release, Process and ReplicationSchema are what it said of itself.
	Release, Process  string
	ReplicationSchema uint32
	// TookOver is set if it said, when it answered last, that it has taken this region
	// over.
	TookOver bool
	// HeldUp are the records that this region refuses then, if it has received all others.
	HeldUp []string
	// Refused counts the requests of the peer that were refused here, by code.
	Refused map[secret.Code]uint64
}

// Unknown reports whether a life answers that is not the accepted one.
func (s *Status) Unknown() bool {
	if s.Forgotten() {
		return s.Reachable && s.Life.Incarnation != ""
	}
	return s.Life.Incarnation != "" && s.Pin.Incarnation != "" && s.Life.Incarnation != s.Pin.Incarnation
}

// Forgotten reports whether the region was forgotten, and no other life accepted since.
func (s *Status) Forgotten() bool { return !s.Pin.ForgottenAt.IsZero() }

func (p *peer) state() Status {
	p.mu.Lock()
	s := p.status
	p.mu.Unlock()
	s.Pin, _ = p.links.Pinned(p.region)
	s.Refused = make(map[secret.Code]uint64, len(p.refused))
	for code, n := range p.refused {
		s.Refused[code] = n.Load()
	}
	return s
}

// run asks the peer how it is, again and again, until ctx ends.
func (p *peer) run(ctx context.Context) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, p.links.ProbeEvery
	calm := &backoff.ExponentialBackOff{InitialInterval: p.links.ProbeEvery, MaxInterval: p.links.ProbeEvery, RandomizationFactor: 0.25, Multiplier: 1}
	calm.Reset()
	for ctx.Err() == nil {
		wait := retry.NextBackOff()
		if p.probe(ctx) {
			retry.Reset()
			wait = calm.NextBackOff()
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// Refresh asks a peer how it is, now. One that does not answer within three seconds
// keeps the status that it had.
func (l *Links) Refresh(ctx context.Context, region secret.RegionName) {
	p := l.peers[region]
	if p == nil {
		return
	}
	if answer, err := p.ask(ctx); err == nil {
		p.found(answer)
	}
}

// probe asks once, and once more if the connection may just have been an old one.
// A connection that is merely silent is left alone: others may be using it, and
// pings end it if it is dead. It returns whether there is no hurry to ask again:
// the peer answered, and its life is known on both sides.
func (p *peer) probe(ctx context.Context) (calm bool) {
	p.dialer.closeIf(func(state *tls.ConnectionState) bool { return p.links.trust.CheckServer(state, p.region) != nil })
	answer, err := p.ask(ctx)
	if err != nil && ctx.Err() == nil {
		p.dialer.passOver()
		if !errors.Is(err, context.DeadlineExceeded) {
			answer, err = p.ask(ctx)
		}
	}
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		p.lost(err)
		return false
	}
	return p.found(answer)
}

// answer is what a peer answered to a Hello.
type answer struct {
	*peerv1.HelloResponse
	roundTrip, ahead time.Duration
	// asked is when, on the clock of how long things take.
	asked time.Time
}

func (p *peer) ask(ctx context.Context) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// The time to connect does not count, so it runs from when the request is
	// written, after begin, until the answer begins.
	begin := time.Now()
	var wrote, first atomic.Int64
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { wrote.Store(int64(time.Since(begin))) },
		GotFirstResponseByte: func() { first.CompareAndSwap(0, int64(time.Since(begin))) },
	})
	sent := p.links.Now()
	said, err := p.hello.Hello(ctx, connect.NewRequest(&peerv1.HelloRequest{}))
	if err != nil {
		return nil, err
	}
	if region := secret.RegionName(said.Msg.GetRegion()); region != p.region {
		return nil, secret.Errorf(secret.CodeInternal, "a process with a certificate of region %s says that it is of region %s", p.region, region)
	}
	out, in := time.Duration(wrote.Load()), time.Duration(first.Load())
	if in < out || out == 0 {
		out, in = 0, time.Since(begin)
	}
	a := &answer{HelloResponse: said.Msg, roundTrip: in - out, asked: begin}
	if said.Msg.GetNow() != nil {
		a.ahead = said.Msg.GetNow().AsTime().Sub(sent.Add(out + a.roundTrip/2))
	}
	return a, nil
}

func (p *peer) lost(err error) {
	now := p.links.Now()
	if typed, ok := errors.AsType[*secret.Error](err); ok {
		err = typed // what is around it says only that it was a Hello
	} else if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.status
	if s.Reachable || s.Since.IsZero() {
		s.Since = now
		p.links.Logger.Warn("a peer is not reachable", "peer", p.region, "error", err)
	}
	s.Reachable, s.Err = false, err
}

func (p *peer) found(a *answer) (calm bool) {
	now := p.links.Now()
	pin, pinErr := p.links.Pinned(p.region)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.status
	if !s.Reachable {
		s.Since = now
		p.links.Logger.Info("a peer is reachable", "peer", p.region, "address", p.dialer.preferred(), "incarnation", a.GetIncarnation())
		if p.links.Reached != nil {
			p.links.Reached(p.region)
		}
	}
	life := Life{Incarnation: secret.Incarnation(a.GetIncarnation()), RestoreEpoch: a.GetRestoreEpoch()}
	if a.BehindSeconds != nil && p.links.Current != nil && pinErr == nil && pin.Admits(life.Incarnation) {
		p.links.Current(p.region, a.asked.Add(-time.Duration(a.GetBehindSeconds()*float64(time.Second))))
	}
	s.Reachable, s.Err, s.LastSeen, s.Address = true, nil, now, p.dialer.preferred()
	s.RoundTrip, s.ClockDifference = a.roundTrip, a.ahead
	s.Release, s.Process, s.ReplicationSchema = a.GetRelease(), a.GetProcess(), a.GetReplicationSchema()
	s.TookOver, s.HeldUp = a.GetTakenOver(), a.GetHeldUpRecords()
	if pinErr == nil && life.Incarnation != "" && life.Incarnation != pin.Incarnation {
		if (pin.Incarnation != "" || !pin.ForgottenAt.IsZero()) && life != s.Life {
			p.links.Logger.Error("a peer shows an incarnation that is not admitted; its links are refused until an operator admits it",
				"peer", p.region, "incarnation", life.Incarnation, "admitted", pin.Incarnation)
		}
		select {
		case p.links.met <- struct{}{}:
		default:
		}
	}
	s.Life, s.Origins = life, nil
	for _, o := range a.GetOrigins() {
		s.Origins = append(s.Origins, secret.Moment{Incarnation: secret.Incarnation(o.GetIncarnation()), Revision: o.GetRevision()})
	}
	return life.Incarnation != "" && pin.Incarnation != ""
}
