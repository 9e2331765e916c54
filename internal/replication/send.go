package replication

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// fate is what became of a record that was to be sent. A nil err: the target has
// it, or nothing of it has to be sent.
type fate struct {
	err error
	// unreachable: the target could not be asked.
	unreachable bool
	// rest, if not 0, is how long it should be left alone before it is tried again;
	// it was not refused.
	rest time.Duration
}

// cutRest is how long a record rests that a drill holds back.
const cutRest = 250 * time.Millisecond

// errReadAgain is the answer to a state that was read before what the target takes
// for the horizon of this region.
var errReadAgain = errors.New("the target wants a state that was read later")

// parcel is a record on its way.
type parcel struct {
	key record.Key
	// delivery is set if the record's work item is still there although the mutation is
	// cleared.
	delivery *delivery
	shipment *service.Shipment
	// values are the versions to ship, nil for the newest; holder is the secret
	// whose state goes along.
	values []secret.VersionID
	holder secret.ID
}

// maxRounds bounds how often the target may ask for more of a record.
const maxRounds = 4

// parcelsOf are to be sent with the newest versions.
func parcelsOf(keys ...record.Key) []*parcel {
	parcels := make([]*parcel, len(keys))
	for i, key := range keys {
		parcels[i] = &parcel{key: key}
	}
	return parcels
}

// send delivers the present states of some records and answers the fate of each. What
// the target has promoted is dropped from its targets.
func (s *Sender) send(ctx context.Context, parcels []*parcel) map[record.Key]fate {
	fates := s.sendStates(ctx, parcels)
	for key, f := range fates {
		if secret.HasCode(f.err, secret.CodeDetached) {
			fates[key] = s.detached(ctx, key, f)
		}
	}
	return fates
}

func (s *Sender) sendStates(ctx context.Context, parcels []*parcel) map[record.Key]fate {
	fates := make(map[record.Key]fate, len(parcels))
	for range maxRounds {
		if parcels = s.round(ctx, parcels, fates); len(parcels) == 0 {
			return fates
		}
	}
	for _, p := range parcels {
		fates[p.key] = fate{err: secret.Errorf(secret.CodeUnavailable, "the target asks for more each time")}
	}
	return fates
}

// round sends parcels once and returns those of which the target wants more.
func (s *Sender) round(ctx context.Context, parcels []*parcel, fates map[record.Key]fate) (again []*parcel) {
	var batch []*parcel
	size := 0
	flush := func() {
		if len(batch) > 0 {
			again = append(again, s.request(ctx, batch, fates)...)
		}
		batch, size = nil, 0
	}
	for _, p := range s.pack(ctx, parcels, fates) {
		n := p.shipment.Bytes()
		if size+n > batchBytes || len(batch) == maxShipments {
			flush()
		}
		batch, size = append(batch, p), size+n
	}
	flush()
	return again
}

// pack reads the states of parcels, those of identities first: a revocation must
// not wait behind secrets.
func (s *Sender) pack(ctx context.Context, parcels []*parcel, fates map[record.Key]fate) []*parcel {
	var identities, secrets []*parcel
	err := s.Local.View(func(view record.View) error {
		for _, p := range parcels {
			var err error
			if p.shipment, err = s.ship(ctx, view, p); err != nil {
				fates[p.key] = fateOf(err)
				continue
			}
			if p.key.HasPrefix(record.SecretPrefix) {
				secrets = append(secrets, p)
			} else {
				identities = append(identities, p)
			}
		}
		return nil
	})
	if err != nil {
		for _, p := range parcels {
			fates[p.key] = fate{err: err, rest: deferFor}
		}
		return nil
	}
	return append(identities, secrets...)
}

func (s *Sender) ship(ctx context.Context, view record.View, p *parcel) (*service.Shipment, error) {
	if concerned, err := s.Routes.Concerns(view, s.Target, p.key); err != nil || !concerned {
		return nil, cmp.Or(err, service.ErrNotShipped)
	}
	var cleared int64
	if d := p.delivery; d != nil {
		if cleared = d.Revision; p.values == nil {
			return d.ship(func() (*service.Shipment, error) { return s.Service.Ship(ctx, view, p.key, cleared, nil) })
		}
	}
	shipment, err := s.Service.Ship(ctx, view, p.key, cleared, p.values)
	if err != nil || p.holder == "" {
		return shipment, err
	}
	shipment.Predecessor, err = s.Service.Ship(ctx, view, record.SecretKey(p.holder), 0, []secret.VersionID{})
	return shipment, err
}

// fateOf is that of a record which could not be read to be sent.
func fateOf(err error) fate {
	switch {
	case errors.Is(err, service.ErrNotCleared):
		return fate{err: err, rest: deferFor}
	case errors.Is(err, service.ErrCutOff):
		return fate{err: err, rest: cutRest}
	case errors.Is(err, service.ErrNotShipped):
		return fate{} // there is nothing to tell the target
	}
	return fate{err: err}
}

// request delivers one batch.
func (s *Sender) request(ctx context.Context, batch []*parcel, fates map[record.Key]fate) (again []*parcel) {
	ctx, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	req := &peerv1.DeliverRequest{Shipments: make([]*peerv1.Shipment, len(batch))}
	for i, p := range batch {
		req.Shipments[i] = toWire(p.shipment)
	}
	answer, err := s.Client.Deliver(ctx, connect.NewRequest(req))
	if err == nil && len(answer.Msg.GetReceipts()) != len(batch) {
		err = secret.Errorf(secret.CodeInternal, "%d receipts for %d shipments", len(answer.Msg.GetReceipts()), len(batch))
	}
	if err != nil {
		for _, p := range batch {
			fates[p.key] = undelivered(err)
		}
		return nil
	}
	for i, p := range batch {
		receipt := answer.Msg.GetReceipts()[i]
		switch {
		case receipt.GetCode() != "":
			fates[p.key] = fate{err: secret.Errorf(secret.Code(receipt.GetCode()), "%s", receipt.GetMessage())}
		case receipt.GetReadAgain():
			fates[p.key] = fate{err: errReadAgain, rest: clearsIn}
		case len(receipt.GetNeeds()) > 0 || receipt.GetHolder() != "":
			again = append(again, p.more(receipt))
		default:
			fates[p.key] = fate{}
		}
	}
	return again
}

// more is the parcel with what the target asks for, and what it was sent before:
// it keeps nothing of a state that it cannot apply whole.
func (p *parcel) more(receipt *peerv1.Receipt) *parcel {
	next := &parcel{key: p.key, delivery: p.delivery, values: []secret.VersionID{}, holder: p.holder}
	if holder := receipt.GetHolder(); holder != "" {
		next.holder = secret.ID(holder)
	}
	for _, v := range p.shipment.Values {
		next.values = append(next.values, v.ID)
	}
	for _, id := range receipt.GetNeeds() {
		next.values = append(next.values, secret.VersionID(id))
	}
	return next
}

// undelivered is the fate of a batch whose request failed as a whole. A target
// that is too busy is obeyed; what it does not understand is its answer to each
// record; all else means that it cannot be reached.
func undelivered(err error) fate {
	failure, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return fate{err: err, unreachable: true}
	}
	switch failure.Code() {
	case connect.CodeResourceExhausted:
		rest := time.Second
		if seconds, err := strconv.Atoi(failure.Meta().Get("Retry-After")); err == nil && seconds > 0 {
			rest = min(time.Duration(seconds)*time.Second, time.Minute)
		}
		return fate{err: err, rest: rest}
	case connect.CodeInvalidArgument, connect.CodeUnimplemented, connect.CodeInternal:
		if failure.Code() == connect.CodeUnimplemented {
			return fate{err: secret.Wrap(secret.CodeUnknownFormat, err, "the target's release does not know replication")}
		}
		return fate{err: secret.Wrap(secret.CodeUnknownFormat, err, failure.Message())}
	}
	return fate{err: err, unreachable: true}
}
