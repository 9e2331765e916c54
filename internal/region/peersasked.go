package region

import (
	"context"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/ownership"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

var errUnanswered = errors.New("no peer has said since the start whether it has taken this region over; mutations of records that other regions hold are refused")

// peersAsked reports whether every peer was asked if it has taken this region over,
// and the fence says so of those that have; or that the wait for it is over.
func (p *Process) peersAsked() bool {
	if p.asked.Load() || p.links == nil || len(p.config.Peers) == 0 {
		return true
	}
	all, one := p.answers()
	if one && all || p.config.Replication.WhenNoPeerAnswers != config.Refuse && (all || p.waitedForPeers()) {
		p.asked.Store(true)
	}
	return p.asked.Load() || all || p.waitedForPeers()
}

// answerCheck is how often it is looked whether a peer has answered.
const answerCheck = 100 * time.Millisecond

// rememberAnswer sees a peer answer although nothing is mutated: it may be away when the
// first mutation asks whether one has.
func (p *Process) rememberAnswer(ctx context.Context) error {
	for {
		if p.peersAsked(); p.asked.Load() {
			p.log.Info("the peers were asked whether one has taken this region over")
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(answerCheck):
		}
	}
}

func (p *Process) waitedForPeers() bool {
	return time.Since(p.startedAt) > p.config.Replication.AskPeersFor
}

// unanswered reports whether the wait is over without an answer, and mutations of what
// other regions hold are refused because of it.
func (p *Process) unanswered() bool {
	return p.config.Replication.WhenNoPeerAnswers == config.Refuse && p.isControl() && p.peersAsked() && !p.asked.Load()
}

// answers reports whether all peers were tried, and whether one has answered, of those
// whose answers are noted where they must be.
func (p *Process) answers() (all, one bool) {
	superseded := map[secret.RegionName]bool{}
	err := p.synced(func(view record.View) error {
		by, err := service.SupersededBy(view)
		for _, region := range by {
			superseded[region] = true
		}
		return err
	})
	if err != nil {
		return false, false
	}
	tried := map[secret.RegionName]bool{}
	for _, s := range p.links.Status() {
		tried[s.Region] = !s.Since.IsZero()
	}
	return heard(p.ownershipPeers(), tried, superseded)
}

// heard is answers, of what is known.
func heard(peers []ownership.Peer, tried, superseded map[secret.RegionName]bool) (all, one bool) {
	all = true
	for _, peer := range peers {
		noted := !peer.Known || !peer.TookOver || superseded[peer.Region]
		all = all && tried[peer.Region] && noted
		one = one || peer.Known && noted
	}
	return all, one
}
