package replication

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Survivors asks the other regions for what they hold of one that is lost. Safe for
// concurrent use.
type Survivors struct {
	Local   LocalStore
	Service Incoming
	// Clients reach the peers over their links.
	Clients map[secret.RegionName]peerv1connect.ReplicationServiceClient
	Logger  *slog.Logger
}

// Pull has the states of records received that a survivor holds newer than this
// region does. What cannot be had within the context is left out: it becomes a
// conflict where it is.
func (s *Survivors) Pull(ctx context.Context, lost secret.RegionName, keys []record.Key) {
	var asking sync.WaitGroup
	for peer, client := range s.Clients {
		if peer == lost {
			continue
		}
		asking.Go(func() {
			for batch := range slices.Chunk(keys, maxShipments) {
				if err := s.pull(ctx, client, peer, lost, batch); err != nil {
					s.Logger.Warn("a survivor does not say what it holds of the lost region", "survivor", peer, "lost", lost, "error", err)
					return
				}
			}
		})
	}
	asking.Wait()
}

// Newer answers how many of some records each survivor that answers holds newer than
// this region, and about how many it was asked within the context. Nothing is received.
func (s *Survivors) Newer(ctx context.Context, lost secret.RegionName, keys []record.Key) (newer, asked map[secret.RegionName]uint64) {
	newer, asked = map[secret.RegionName]uint64{}, map[secret.RegionName]uint64{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for peer, client := range s.Clients {
		if peer == lost {
			continue
		}
		asking.Go(func() {
			for batch := range slices.Chunk(keys, maxShipments) {
				n, err := s.newer(ctx, client, lost, batch)
				if err != nil {
					return
				}
				mu.Lock()
				newer[peer] += n
				asked[peer] += uint64(len(batch))
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	return newer, asked
}

func (s *Survivors) newer(ctx context.Context, client peerv1connect.ReplicationServiceClient, lost secret.RegionName, keys []record.Key) (n uint64, err error) {
	wanted, err := s.wanted(keys)
	for err == nil && len(wanted) > 0 {
		var answer *connect.Response[peerv1.PullReplicasResponse]
		answer, err = client.PullReplicas(ctx, connect.NewRequest(&peerv1.PullReplicasRequest{LostRegion: string(lost), Records: wanted}))
		if err != nil {
			return n, err
		}
		shipments := answer.Msg.GetShipments()
		n += uint64(len(shipments))
		if !answer.Msg.GetMore() || len(shipments) == 0 {
			return n, nil
		}
		wanted = wanted[lastOf(wanted, shipments)+1:]
	}
	return n, err
}

// pull asks one survivor for some records, and once more for what it must send along.
func (s *Survivors) pull(ctx context.Context, client peerv1connect.ReplicationServiceClient, peer, lost secret.RegionName, keys []record.Key) error {
	wanted, err := s.wanted(keys)
	if err != nil {
		return err
	}
	for len(wanted) > 0 {
		answer, err := client.PullReplicas(ctx, connect.NewRequest(&peerv1.PullReplicasRequest{LostRegion: string(lost), Records: wanted}))
		if err != nil {
			return err
		}
		again := s.receive(ctx, peer, wanted, answer.Msg.GetShipments())
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
			w := &peerv1.WantedReplica{Record: string(key)}
			stored, ok, err := view.Get(key)
			if err != nil {
				return err
			}
			if ok {
				owner, err := record.OwnerOf(key, stored.Value)
				if err != nil {
					return err
				}
				o := owner.Ownership.Order
				w.Epoch, w.EpochRegion, w.Seq = o.Epoch.Counter, string(o.Epoch.Region), o.Seq
			}
			wanted = append(wanted, w)
		}
		return nil
	})
	return wanted, err
}

// receive takes in what a survivor answered, and returns what to ask for next.
func (s *Survivors) receive(ctx context.Context, peer secret.RegionName, asked []*peerv1.WantedReplica, shipments []*peerv1.Shipment) (again []*peerv1.WantedReplica) {
	for _, wire := range shipments {
		at := slices.IndexFunc(asked, func(w *peerv1.WantedReplica) bool { return w.GetRecord() == wire.GetRecord() })
		if at < 0 {
			continue
		}
		p, err := fromWire(wire)
		if err != nil {
			s.Logger.Warn("what a survivor holds is not understood", "survivor", peer, "record", wire.GetRecord(), "error", err)
			continue
		}
		receipt := s.Service.Receive(ctx, service.Source{Region: peer, Survivor: true}, p)
		switch {
		case receipt.Err != nil && !secret.HasCode(receipt.Err, secret.CodeStale):
			s.Logger.Warn("what a survivor holds cannot be received", "survivor", peer, "record", p.Key, "error", receipt.Err)
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
	lost := secret.RegionName(req.Msg.GetLostRegion())
	if lost == r.Region || lost == from.Region {
		return nil, r.fail(secret.Invalid("lost_region", "is not a third region"))
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

// shipWanted returns the state of a record, nil if it is not newer than what the
// caller has, or may not leave.
func (r *Receiver) shipWanted(ctx context.Context, view record.View, w *peerv1.WantedReplica, lost, heir secret.RegionName) (*service.Shipment, error) {
	key := record.Key(w.GetRecord())
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return nil, err
	}
	owner, err := record.OwnerOf(key, stored.Value)
	has := secret.Order{Epoch: secret.Epoch{Counter: w.GetEpoch(), Region: secret.RegionName(w.GetEpochRegion())}, Seq: w.GetSeq()}
	if err != nil || owner.Ownership.Home != lost || owner.Ownership.Order.Compare(has) <= 0 {
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
