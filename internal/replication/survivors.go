package replication

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// SurvivorsOptions of a Survivors. Those without a default are required.
type SurvivorsOptions struct {
	Region   secret.RegionName
	Local    LocalStore
	Service  Incoming
	Digester Digester
	// Clients reach the peers over their links.
	Clients map[secret.RegionName]peerv1connect.ReplicationServiceClient
	Logger  *slog.Logger
	// Opened is told of how many secrets of a lost region a survivor was asked before
	// they moved here, and of how many it was not since a comparison had shown that it
	// has nothing newer; default: nobody.
	Opened func(survivor secret.RegionName, asked, unasked int)
}

// Survivors asks the other regions for what they hold of one that is lost. What it
// remembers of comparisons is in memory alone: a process that starts compares again.
// Safe for concurrent use.
type Survivors struct {
	SurvivorsOptions
	// touched are vaults that are to be compared with a survivor.
	touched map[secret.RegionName]chan pairing

	mu     sync.Mutex
	agreed map[pairing]*agreement
	// silent are survivors that did not answer in time, and until when they are not asked.
	silent map[secret.RegionName]time.Time
}

const (
	// silentAfter is after which time without any answer a survivor is not asked for
	// silentFor, but for what it is known to hold newer.
	silentAfter, silentFor = time.Second, 5 * time.Second
	// listTimeout bounds a request for a page of a list.
	listTimeout = 2 * time.Second
)

// NewSurvivors returns a Survivors.
func NewSurvivors(o SurvivorsOptions) *Survivors {
	if o.Opened == nil {
		o.Opened = func(secret.RegionName, int, int) {}
	}
	s := &Survivors{
		SurvivorsOptions: o, touched: make(map[secret.RegionName]chan pairing), agreed: make(map[pairing]*agreement), silent: make(map[secret.RegionName]time.Time),
	}
	for peer := range o.Clients {
		s.touched[peer] = make(chan pairing, 64)
	}
	return s
}

// survivor is another region than the lost one, as it is asked.
type survivor struct {
	*Survivors
	peer, lost secret.RegionName
	client     peerv1connect.ReplicationServiceClient
	// answered is set once it has answered anything.
	answered bool
	// gone is why nothing more is compared with it now, once it did not answer.
	gone atomic.Pointer[connect.Error]
}

// each asks the survivors side by side, and waits for all of them.
func (s *Survivors) each(lost secret.RegionName, ask func(*survivor) error) {
	var asking sync.WaitGroup
	for peer, client := range s.Clients {
		if peer == lost {
			continue
		}
		asking.Go(func() {
			began := time.Now()
			one := &survivor{Survivors: s, peer: peer, lost: lost, client: client}
			if err := ask(one); err != nil && !errors.Is(err, errSilent) {
				s.Logger.Warn("a survivor does not say what it holds of the lost region", "survivor", peer, "lost", lost, "error", err)
				if !one.answered && time.Since(began) >= silentAfter {
					s.mu.Lock()
					s.silent[peer] = time.Now().Add(silentFor)
					s.mu.Unlock()
				}
			}
		})
	}
	asking.Wait()
}

// errSilent is why a survivor is not asked.
var errSilent = errors.New("it did not answer in time a moment ago")

// isSilent returns errSilent if the survivor is not to be asked now.
func (s *survivor) isSilent() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.silent[s.peer]) {
		return errSilent
	}
	return nil
}

// Pull has the states of records received that a survivor holds newer than this
// region does. It does not ask about secrets that a comparison has shown to be no newer
// there. What cannot be had within the context is left out: it becomes a conflict where
// it is.
func (s *Survivors) Pull(ctx context.Context, lost secret.RegionName, keys []record.Key) {
	s.each(lost, func(one *survivor) error {
		ask, newer, err := one.unknown(keys)
		if err != nil {
			return err
		}
		if one.isSilent() != nil {
			ask = newer // one that hangs does not hold up every record
		}
		for batch := range slices.Chunk(ask, maxShipments) {
			if err := one.pull(ctx, batch); err != nil {
				return err
			}
		}
		return nil
	})
}

// pull asks for some records, and once more for what must be sent along.
func (s *survivor) pull(ctx context.Context, keys []record.Key) error {
	wanted, err := s.wanted(keys)
	if err != nil {
		return err
	}
	for len(wanted) > 0 {
		answer, err := s.client.PullReplicas(ctx, connect.NewRequest(&peerv1.PullReplicasRequest{LostRegion: string(s.lost), Records: wanted}))
		if err != nil {
			return err
		}
		s.answered = true
		again := s.receive(ctx, wanted, answer.Msg.GetShipments())
		if answer.Msg.GetMore() && len(answer.Msg.GetShipments()) > 0 {
			again = append(again, wanted[lastOf(wanted, answer.Msg.GetShipments())+1:]...)
		}
		wanted = again
	}
	return nil
}

// lastOf is the place of the last record that was answered.
func lastOf(asked []*peerv1.WantedReplica, shipments []*peerv1.Shipment) int {
	last := shipments[len(shipments)-1].GetRecord()
	return slices.IndexFunc(asked, func(w *peerv1.WantedReplica) bool { return w.GetRecord() == last })
}

// wanted says what this region has of records.
func (s *Survivors) wanted(keys []record.Key) (wanted []*peerv1.WantedReplica, err error) {
	err = s.Local.View(func(view record.View) error {
		wanted = nil
		for _, key := range keys {
			held, _, err := holding(view, key)
			if err != nil {
				return err
			}
			o := held.Order
			wanted = append(wanted, &peerv1.WantedReplica{Record: string(key), Epoch: o.Epoch.Counter, EpochRegion: string(o.Epoch.Region), Seq: o.Seq})
		}
		return nil
	})
	return wanted, err
}

// receive takes in what was answered, and returns what to ask for next.
func (s *survivor) receive(ctx context.Context, asked []*peerv1.WantedReplica, shipments []*peerv1.Shipment) (again []*peerv1.WantedReplica) {
	for _, wire := range shipments {
		at := slices.IndexFunc(asked, func(w *peerv1.WantedReplica) bool { return w.GetRecord() == wire.GetRecord() })
		if at < 0 {
			continue
		}
		p, err := fromWire(wire)
		if err != nil {
			s.Logger.Warn("what a survivor holds is not understood", "survivor", s.peer, "record", wire.GetRecord(), "error", err)
			continue
		}
		receipt := s.Service.Receive(ctx, service.Source{Region: s.peer, Survivor: true}, p)
		switch {
		case receipt.Err != nil && !secret.HasCode(receipt.Err, secret.CodeStale):
			s.Logger.Warn("what a survivor holds cannot be received", "survivor", s.peer, "record", p.Key, "error", receipt.Err)
		case len(receipt.Needs) > 0 && len(asked[at].GetVersions()) == 0: // asked once more at most
			next := asked[at]
			for _, v := range p.Values {
				next.Versions = append(next.Versions, string(v.ID))
			}
			for _, id := range receipt.Needs {
				next.Versions = append(next.Versions, string(id))
			}
			again = append(again, next)
		}
	}
	return again
}

// PullReplicas implements peerv1connect.ReplicationServiceHandler.
func (r *Receiver) PullReplicas(ctx context.Context, req *connect.Request[peerv1.PullReplicasRequest]) (*connect.Response[peerv1.PullReplicasResponse], error) {
	from, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if n := len(req.Msg.GetRecords()); n > maxShipments {
		return nil, r.fail(secret.Invalid("records", "has %d entries; the limit is %d", n, maxShipments))
	}
	lost, err := r.third(from, req.Msg.GetLostRegion())
	if err != nil {
		return nil, r.fail(err)
	}
	answer := &peerv1.PullReplicasResponse{}
	err = r.Local.View(func(view record.View) error {
		size := 0
		for _, w := range req.Msg.GetRecords() {
			p, err := r.shipWanted(ctx, view, w, lost, from.Region)
			if err != nil {
				return err
			}
			if p == nil {
				continue
			}
			if size += p.Bytes(); size > batchBytes && len(answer.Shipments) > 0 {
				answer.More = true
				return nil
			}
			answer.Shipments = append(answer.Shipments, toWire(p))
		}
		return nil
	})
	if err != nil {
		return nil, r.fail(err)
	}
	return connect.NewResponse(answer), nil
}

// third is a lost region of which a request speaks.
func (r *Receiver) third(from service.Source, name string) (secret.RegionName, error) {
	lost := secret.RegionName(name)
	if lost == r.Region || lost == from.Region {
		return "", secret.Invalid("lost_region", "is not a third region")
	}
	return lost, nil
}

// shipWanted returns the state of a record, nil if it is not newer than what the
// caller has, or may not leave.
func (r *Receiver) shipWanted(ctx context.Context, view record.View, w *peerv1.WantedReplica, lost, heir secret.RegionName) (*service.Shipment, error) {
	key := record.Key(w.GetRecord())
	held, _, err := holding(view, key)
	if err != nil || held.Home != lost || !secret.Ahead(held.Order, orderFromWire(w)) {
		return nil, err
	}
	var versions []secret.VersionID
	for _, id := range w.GetVersions() {
		versions = append(versions, secret.VersionID(id))
	}
	p, err := r.Service.ShipReplica(ctx, view, key, lost, heir, versions)
	if errors.Is(err, service.ErrNotShipped) || errors.Is(err, service.ErrNotCleared) {
		return nil, nil
	}
	return p, err
}

// ListReplicas implements peerv1connect.ReplicationServiceHandler.
func (r *Receiver) ListReplicas(ctx context.Context, req *connect.Request[peerv1.ListReplicasRequest]) (*connect.Response[peerv1.ListReplicasResponse], error) {
	from, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	lost, err := r.third(from, req.Msg.GetLostRegion())
	if err != nil {
		return nil, r.fail(err)
	}
	answer := &peerv1.ListReplicasResponse{}
	err = r.Local.View(func(view record.View) error {
		_, at, err := r.Service.LiveOf(view, nil)
		if err != nil {
			return err
		}
		answer.Incarnation, answer.Revision = string(at.Incarnation), at.Revision
		found, next, err := r.Service.ListReplicas(view, lost, from.Region, record.Key(req.Msg.GetStart()))
		answer.Replicas, answer.Next = nil, string(next)
		for _, replica := range found {
			answer.Replicas = append(answer.Replicas, replicaToWire(replica, ""))
		}
		return err
	})
	if err != nil {
		return nil, r.fail(err)
	}
	return connect.NewResponse(answer), nil
}
