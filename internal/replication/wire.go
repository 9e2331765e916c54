package replication

import (
	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// SchemaVersion is that of the shipments that this release sends, and the
	// highest that it reads. It rises with each change of the message; the formats of
	// the records inside have versions of their own.
	SchemaVersion = 1
	// minReaderVersion is the lowest SchemaVersion whose readers understand what
	// this release sends.
	minReaderVersion = 1
)

// Understands reports whether a reader of one schema version understands what needs
// another one in full.
func Understands(needed, reader uint32) bool { return needed <= reader }

func toWire(p *service.Shipment) *peerv1.Shipment {
	if p == nil {
		return nil
	}
	w := &peerv1.Shipment{
		SchemaVersion: SchemaVersion, MinReaderVersion: minReaderVersion, Record: string(p.Key), State: p.State, Buried: p.Buried,
		Description: p.Description.Reveal(), Metadata: p.Metadata.Reveal(), AccessKey: p.AccessKey.Reveal(), MacKey: p.MACKey.Reveal(),
		Predecessor: toWire(p.Predecessor), Incarnation: string(p.Read.Incarnation), Revision: p.Read.Revision,
	}
	for _, v := range p.Values {
		w.Values = append(w.Values, &peerv1.VersionValue{Id: string(v.ID), Value: v.Value.Reveal()})
	}
	return w
}

// fromWire reads a shipment. One that this release does not understand in full is
// refused whole, with CodeUnknownFormat: a field that it ignored might have said
// that the others mean something else.
func fromWire(w *peerv1.Shipment) (*service.Shipment, error) {
	if !Understands(w.GetMinReaderVersion(), SchemaVersion) {
		return nil, secret.Errorf(secret.CodeUnknownFormat, "the shipment needs a reader of schema version %d, this release reads up to %d",
			w.GetMinReaderVersion(), SchemaVersion).WithHint("upgrade this region")
	}
	if err := record.RefuseUnknown("shipment", w); err != nil {
		return nil, err
	}
	p, err := fromWireAlone(w)
	if err != nil || w.GetPredecessor() == nil {
		return p, err
	}
	p.Predecessor, err = fromWireAlone(w.GetPredecessor())
	return p, err
}

func fromWireAlone(w *peerv1.Shipment) (*service.Shipment, error) {
	if w.GetRecord() == "" || len(w.GetState()) == 0 {
		return nil, secret.Invalid("record", "a shipment needs a record and its state")
	}
	p := &service.Shipment{
		Key: record.Key(w.GetRecord()), State: w.GetState(), Buried: w.GetBuried(),
		Description: secret.NewPlaintext(w.GetDescription()), Metadata: secret.NewPlaintext(w.GetMetadata()),
		AccessKey: secret.NewPlaintext(w.GetAccessKey()), MACKey: secret.NewPlaintext(w.GetMacKey()),
		Read: secret.Moment{Incarnation: secret.Incarnation(w.GetIncarnation()), Revision: w.GetRevision()},
	}
	for _, v := range w.GetValues() {
		if v.GetId() == "" || len(v.GetValue()) > secret.MaxValueBytes {
			return nil, secret.Invalid("values", "has a version without an ID or with more than %d bytes", secret.MaxValueBytes)
		}
		p.Values = append(p.Values, service.ShippedValue{ID: secret.VersionID(v.GetId()), Value: secret.NewPlaintext(v.GetValue())})
	}
	return p, nil
}

func replicaToWire(r service.Replica, name string) *peerv1.Replica {
	return &peerv1.Replica{
		Record: string(r.Key), Epoch: r.Order.Epoch.Counter, EpochRegion: string(r.Order.Epoch.Region), Seq: r.Order.Seq,
		Deleted: r.Deleted, Withheld: r.Withheld, Name: name,
	}
}

func momentFromWire(w interface {
	GetIncarnation() string
	GetRevision() int64
},
) secret.Moment {
	return secret.Moment{Incarnation: secret.Incarnation(w.GetIncarnation()), Revision: w.GetRevision()}
}

func orderFromWire(w interface {
	GetEpoch() uint64
	GetEpochRegion() string
	GetSeq() uint64
},
) secret.Order {
	return secret.Order{Epoch: secret.Epoch{Counter: w.GetEpoch(), Region: secret.RegionName(w.GetEpochRegion())}, Seq: w.GetSeq()}
}
