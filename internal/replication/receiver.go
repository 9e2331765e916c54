package replication

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// maxRequestBytes bounds a request. A shipment of a secret with a hundred values
	// of 64 KiB is the largest there is; a batch ends before it.
	maxRequestBytes = 16 << 20
	// maxShipments and maxHeld bound the entries of one request.
	maxShipments = 256
	maxHeld      = 1000
	// receivedAtOnce bounds the shipments of one request that are received side by
	// side, so that the store commits them together.
	receivedAtOnce = 32
)

// Incoming is what the receiver needs of the service.
type Incoming interface {
	Receive(ctx context.Context, from service.Source, p *service.Shipment) service.Receipt
	RaiseHorizon(ctx context.Context, peer secret.RegionName, said secret.Moment) (revision int64, err error)
	LiveOf(view record.View, keys []record.Key) (live []record.Key, at secret.Moment, err error)
	ForgottenOf(view record.View, peer secret.RegionName, keys []record.Key) (forgotten []record.Key, at secret.Moment, err error)
	CutOff(view record.View, key record.Key) (bool, error)
	ListReplicas(view record.View, lost, heir secret.RegionName, start record.Key) (found []service.Replica, next record.Key, err error)
	ShipReplica(ctx context.Context, view record.View, key record.Key, lost, heir secret.RegionName, values []secret.VersionID) (*service.Shipment, error)
}

// ReceiverOptions of a Receiver; all are required.
type ReceiverOptions struct {
	Region   secret.RegionName
	Service  Incoming
	Digester Digester
	Local    Copy
	// Source returns the region that a request is from.
	Source func(context.Context) (service.Source, bool)
	// Capacity bounds the requests of all peers that are served at once; more are
	// told to slow down.
	Capacity int
	// StatusOf maps a typed error to the protocol's code.
	StatusOf func(error) connect.Code
}

// LocalStore is this process's copy of the shard.
type LocalStore interface {
	View(fn func(record.View) error) error
}

// Receiver takes in what other regions deliver.
type Receiver struct {
	ReceiverOptions
	slots chan struct{}
}

// NewReceiver returns a Receiver.
func NewReceiver(o ReceiverOptions) *Receiver {
	return &Receiver{ReceiverOptions: o, slots: make(chan struct{}, max(1, o.Capacity))}
}

// Handler serves the receiver's part of ReplicationService, to be mounted behind
// the link that proves who calls.
func (r *Receiver) Handler() (path string, handler http.Handler) {
	return peerv1connect.NewReplicationServiceHandler(r, connect.WithReadMaxBytes(maxRequestBytes))
}

// Deliver implements peerv1connect.ReplicationServiceHandler.
func (r *Receiver) Deliver(ctx context.Context, req *connect.Request[peerv1.DeliverRequest]) (*connect.Response[peerv1.DeliverResponse], error) {
	from, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	shipments := req.Msg.GetShipments()
	if len(req.Msg.ProtoReflect().GetUnknown()) > 0 {
		return nil, r.fail(secret.Errorf(secret.CodeUnknownFormat, "the request has a field that this release does not know").WithHint("upgrade this region"))
	}
	if len(shipments) > maxShipments {
		return nil, r.fail(secret.Invalid("shipments", "has %d entries; the limit is %d", len(shipments), maxShipments))
	}
	answer := &peerv1.DeliverResponse{Receipts: make([]*peerv1.Receipt, len(shipments))}
	for _, wave := range waves(shipments) {
		var receiving sync.WaitGroup
		atOnce := make(chan struct{}, receivedAtOnce)
		for _, i := range wave {
			atOnce <- struct{}{}
			receiving.Go(func() {
				defer func() { <-atOnce }()
				answer.Receipts[i] = r.receive(ctx, from, shipments[i])
			})
		}
		receiving.Wait()
	}
	return connect.NewResponse(answer), nil
}

// waves returns the places of shipments, those of records that others belong to
// before those others.
func waves(shipments []*peerv1.Shipment) [][]int {
	all := make([][]int, 4)
	for i, s := range shipments {
		n := 1
		switch record.Key(s.GetRecord()).Kind() + "/" {
		case record.AccountPrefix:
			n = 0
		case record.CredentialPrefix, record.BindingPrefix, record.IssuerKeysPrefix:
			n = 2
		case record.SecretPrefix:
			n = 3
		}
		all[n] = append(all[n], i)
	}
	return all
}

// enter finds out who calls, and tells a caller to slow down if too much is under
// way.
func (r *Receiver) enter(ctx context.Context) (from service.Source, leave func(), err error) {
	from, ok := r.Source(ctx)
	if !ok {
		return from, nil, connect.NewError(connect.CodePermissionDenied, errors.New("the caller is not a peer"))
	}
	select {
	case r.slots <- struct{}{}:
		return from, func() { <-r.slots }, nil
	default:
		err := connect.NewError(connect.CodeResourceExhausted, errors.New("the region receives as much as it can: slow down"))
		err.Meta().Set("Retry-After", "1")
		return from, nil, err
	}
}

func (r *Receiver) receive(ctx context.Context, from service.Source, w *peerv1.Shipment) *peerv1.Receipt {
	p, err := fromWire(w)
	if err != nil {
		return refusal(err)
	}
	if cut, err := r.cutOff(p.Key); err != nil {
		return refusal(err)
	} else if cut {
		return &peerv1.Receipt{ReadAgain: true}
	}
	receipt := r.Service.Receive(ctx, from, p)
	if receipt.Err != nil {
		return refusal(receipt.Err)
	}
	answer := &peerv1.Receipt{Holder: string(receipt.Holder), ReadAgain: receipt.ReadAgain}
	for _, id := range receipt.Needs {
		answer.Needs = append(answer.Needs, string(id))
	}
	return answer
}

// cutOff reports whether a drill has cut off what a record belongs to: its source is
// to keep its message and to read and send the record again.
func (r *Receiver) cutOff(key record.Key) (cut bool, err error) {
	err = r.Local.View(func(view record.View) error {
		cut, err = r.Service.CutOff(view, key)
		return err
	})
	return cut, err
}

// refusal says why a shipment was not received: the message with its hint, not its cause.
func refusal(err error) *peerv1.Receipt {
	message := "internal error"
	if e, ok := errors.AsType[*secret.Error](err); ok {
		message = e.Message
		if e.Field != "" {
			message = e.Field + ": " + e.Message
		}
		if e.Hint != "" {
			message += "; " + e.Hint
		}
	}
	return &peerv1.Receipt{Code: string(secret.CodeOf(err)), Message: message}
}

func (r *Receiver) fail(err error) error {
	return connect.NewError(r.StatusOf(err), errors.New(refusal(err).GetMessage()))
}

// GetHeld implements peerv1connect.ReplicationServiceHandler.
func (r *Receiver) GetHeld(ctx context.Context, req *connect.Request[peerv1.GetHeldRequest]) (*connect.Response[peerv1.GetHeldResponse], error) {
	from, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if n := len(req.Msg.GetRecords()); n > maxHeld {
		return nil, r.fail(secret.Invalid("records", "has %d entries; the limit is %d", n, maxHeld))
	}
	answer := &peerv1.GetHeldResponse{}
	err = r.Local.View(func(view record.View) error {
		for _, key := range req.Msg.GetRecords() {
			held, err := heldOf(view, record.Key(key), from.Region)
			if err != nil {
				return err
			}
			answer.Held = append(answer.Held, held)
		}
		return nil
	})
	if err != nil {
		return nil, r.fail(err)
	}
	return connect.NewResponse(answer), nil
}

// heldOf says what the view has of a record of the peer's. A secret of which only a
// tombstone is here was given up, whatever its order: if it is wanted again it must
// be sent.
func heldOf(view record.View, key record.Key, peer secret.RegionName) (*peerv1.Held, error) {
	held := &peerv1.Held{Record: string(key)}
	o, _, err := holding(view, key)
	if err != nil || o.Home != peer {
		return held, err // nothing of the caller's business
	}
	held.Order = o.Order.String()
	_, open, err := view.Get(record.WorkKey(key))
	held.Cleared = !open
	return held, err
}

// holding returns the ownership of a record, or of what is left of it, and the revision
// of the record; zero of a secret of which only a tombstone is here.
func holding(view record.View, key record.Key) (o secret.Ownership, revision int64, err error) {
	stored, ok, err := view.Get(key)
	if err != nil {
		return o, 0, err
	}
	if ok {
		owner, err := record.OwnerOf(key, stored.Value)
		return owner.Ownership, stored.Revision, err
	}
	if key.HasPrefix(record.SecretPrefix) {
		return o, 0, nil
	}
	grave, _, err := record.Load(view, record.Tombstones, record.TombstoneKey(key))
	if errors.Is(err, record.ErrNotFound) {
		return o, 0, nil
	}
	if err != nil {
		return o, 0, err
	}
	return grave.Ownership, 0, nil
}
