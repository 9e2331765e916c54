package record

import (
	"bytes"
	"fmt"
	"math"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Kind is the encode/decode pair of one kind of record.
type Kind[T any] struct {
	name string
	// reads is the highest format that can be decoded. A record is encoded in the
	// lowest one that holds what it says, so that what is newer than a format is
	// written only where somebody asks for it; whoever does so first asks the gate
	// (package formatgate).
	reads byte
	// lowest returns the lowest format that holds the record; 1 if nil.
	lowest  func(*T) byte
	encode  func(*T) proto.Message
	message func() proto.Message
	decode  func(proto.Message) *T
	// wire and appendWire, if set, decode and encode without the protobuf library.
	wire       func([]byte) (*T, error)
	appendWire func([]byte, *T) []byte
	// known, if set, takes what it knows out of the unknown fields of a message.
	known func(proto.Message)
	// layout is that of the message.
	layout func() *layout
}

// Encode returns the stored form of t.
func (k Kind[T]) Encode(t *T) []byte {
	if k.appendWire == nil {
		return k.encodeSlowly(t)
	}
	room := messages.Get().(*message)
	*room = k.appendWire(append((*room)[:0], k.formatOf(t)), t)
	b := bytes.Clone(*room)
	messages.Put(room)
	return b
}

func (k Kind[T]) encodeSlowly(t *T) []byte {
	m := k.encode(t)
	opts := proto.MarshalOptions{Deterministic: true}
	b := make([]byte, 1, 1+opts.Size(m))
	b[0] = k.formatOf(t)
	b, err := opts.MarshalAppend(b, m)
	if err != nil {
		// Only invalid UTF-8 in a string field can cause this; every string was
		// checked at the door.
		panic(fmt.Sprintf("record: encode %s: %v", k.name, err))
	}
	return b
}

func (k Kind[T]) formatOf(t *T) byte {
	if k.lowest == nil {
		return 1
	}
	return k.lowest(t)
}

// Decode parses the stored form. Errors: CodeUnknownFormat, CodeCorrupt.
func (k Kind[T]) Decode(b []byte) (*T, error) {
	if k.wire == nil {
		return k.decodeSlowly(b)
	}
	if err := checkFormat(k.name, k.reads, b); err != nil {
		return nil, err
	}
	t, err := k.wire(b[1:])
	if err != nil {
		return nil, corrupt(k.name, err)
	}
	return t, nil
}

func (k Kind[T]) decodeSlowly(b []byte) (*T, error) {
	m := k.message()
	if err := unmarshal(k.name, k.reads, b, m); err != nil {
		return nil, err
	}
	return k.decode(m), nil
}

// Check reports whether b can be decoded and holds no field that this release
// does not know.
func (k Kind[T]) Check(b []byte) error {
	if err := checkFormat(k.name, k.reads, b); err != nil {
		return err
	}
	if k.layout().fits(b[1:], deepest) {
		return nil
	}
	return k.checkSlowly(b)
}

func (k Kind[T]) checkSlowly(b []byte) error {
	m := k.message()
	if err := unmarshal(k.name, k.reads, b, m); err != nil {
		return err
	}
	if k.known != nil {
		k.known(m)
	}
	return refuseUnknown(k.name+" record", m.ProtoReflect())
}

func (k Kind[T]) format() uint32 { return uint32(k.reads) }

func unmarshal(name string, reads byte, b []byte, m proto.Message) error {
	if err := checkFormat(name, reads, b); err != nil {
		return err
	}
	return corrupt(name, proto.Unmarshal(b[1:], m))
}

func checkFormat(name string, reads byte, b []byte) error {
	switch {
	case len(b) == 0:
		return secret.Errorf(secret.CodeCorrupt, "empty %s record", name)
	case b[0] == 0 || b[0] > reads:
		return secret.Errorf(secret.CodeUnknownFormat, "%s record has format %d, this release reads up to %d", name, b[0], reads).
			WithHint("upgrade this process")
	}
	return nil
}

func corrupt(name string, err error) error {
	if err == nil {
		return nil
	}
	return secret.Wrap(secret.CodeCorrupt, err, "cannot decode "+name+" record")
}

// RefuseUnknown returns CodeUnknownFormat if a message has, at any depth, a field
// that this release does not know. name names the message to people.
func RefuseUnknown(name string, m proto.Message) error { return refuseUnknown(name, m.ProtoReflect()) }

func refuseUnknown(name string, m protoreflect.Message) error {
	if len(m.GetUnknown()) > 0 {
		return secret.Errorf(secret.CodeUnknownFormat, "%s has a field that this release does not know", name).
			WithHint("upgrade this process")
	}
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				if err = refuseUnknown(name, v.List().Get(i).Message()); err != nil {
					return false
				}
			}
		default:
			err = refuseUnknown(name, v.Message())
		}
		return err == nil
	})
	return err
}

func newKind[T any, M any, PM interface {
	*M
	proto.Message
}](name string, reads byte, encode func(*T) PM, decode func(PM) *T) Kind[T] {
	return Kind[T]{
		name: name, reads: reads,
		encode:  func(t *T) proto.Message { return encode(t) },
		message: func() proto.Message { return PM(new(M)) },
		decode:  func(m proto.Message) *T { return decode(m.(PM)) },
		layout:  sync.OnceValue(func() *layout { return newLayout(PM(new(M)).ProtoReflect().Descriptor()) }),
	}
}

// by returns a kind that is decoded and encoded by functions of its own; nil is the
// protobuf library.
func (k Kind[T]) by(wire func([]byte) (*T, error), appendWire func([]byte, *T) []byte) Kind[T] {
	k.wire, k.appendWire = wire, appendWire
	return k
}

func own[T any](t *T) *T { return t }

// The kinds of records.
var (
	Accounts           = newKind("account", 1, accountToProto, accountFromProto)
	Principals         = newKind("principal", 1, principalToProto, principalFromProto)
	Credentials        = newKind("credential", 1, credentialToProto, credentialFromProto)
	Policies           = newKind("policy", 1, policyToProto, policyFromProto)
	Vaults             = newKind("vault", 1, vaultToProto, vaultFromProto).by(decodeVault, nil)
	Versions           = newKind("version", 1, versionToProto, versionFromProto).by(nil, appendVersion)
	DataKeys           = newKind("data-key", 1, own[recordpb.DataKey], own[recordpb.DataKey])
	ActiveDataKeys     = newKind("active-data-key", 1, own[recordpb.ActiveDataKey], own[recordpb.ActiveDataKey])
	Regions            = newKind("region", 1, own[recordpb.Region], own[recordpb.Region])
	Fences             = newKind("fence", 1, own[recordpb.Fence], own[recordpb.Fence])
	WorkItems          = newKind("work", 1, own[recordpb.WorkItem], own[recordpb.WorkItem]).by(decodeWorkItem, appendWorkItem)
	Events             = newKind("outbox", 1, own[recordpb.Event], own[recordpb.Event]).by(decodeEvent, appendEvent)
	Hosts              = newKind("host", 1, own[recordpb.Host], own[recordpb.Host])
	Tombstones         = newKind("tombstone", 1, tombstoneToProto, tombstoneFromProto)
	Synchronisations   = newKind("synchronisation", 1, own[recordpb.Synchronisation], own[recordpb.Synchronisation])
	Quarantines        = newKind("quarantine", 1, own[recordpb.Quarantine], own[recordpb.Quarantine])
	Peers              = newKind("peer", 1, own[recordpb.Peer], own[recordpb.Peer])
	Messages           = newKind("message", 1, own[recordpb.Message], own[recordpb.Message])
	Queues             = newKind("queue", 1, own[recordpb.Queue], own[recordpb.Queue])
	Resynchronisations = newKind("resynchronisation", 1, own[recordpb.Resynchronisation], own[recordpb.Resynchronisation])
	Secrets            = next(newKind("secret", 1, secretToProto, secretFromProto).by(decodeSecret, appendSecret))
	Accesses           = newKind("access", 1, own[recordpb.Access], own[recordpb.Access])
	Controls           = newKind("control", 1, own[recordpb.Control], own[recordpb.Control])
	Clocks             = newKind("clock", 1, own[recordpb.Clock], own[recordpb.Clock])
	Gates              = newKind("formats", 1, own[recordpb.Formats], own[recordpb.Formats])
)

// The kinds of records about keys and backups.
var (
	DataKeyRotations = newKind("data-key-rotation", 1, own[recordpb.DataKeyRotation], own[recordpb.DataKeyRotation])
	DataKeyUsages    = newKind("data-key-usage", 1, own[recordpb.DataKeyUsage], own[recordpb.DataKeyUsage])
	MasterRotations  = newKind("master-key-rotation", 1, own[recordpb.MasterKeyRotation], own[recordpb.MasterKeyRotation])
	Backups          = newKind("backup", 1, own[recordpb.Backup], own[recordpb.Backup])
	Shreddings       = newKind("shredding", 1, own[recordpb.Shredding], own[recordpb.Shredding])
)

// The kinds of records about moves of ownership. What a conflict keeps are versions.
var (
	Takeovers = newKind("takeover", 1, own[recordpb.Takeover], own[recordpb.Takeover])
	Moves     = newKind("move", 1, own[recordpb.Move], own[recordpb.Move])
	Conflicts = newKind("conflict", 1, own[recordpb.Conflict], own[recordpb.Conflict])
)

type checker interface {
	Check([]byte) error
	format() uint32
}

var checkers = map[string]checker{
	"account": Accounts, "principal": Principals, "credential": Credentials, "policy": Policies,
	"vault": Vaults, "secret": Secrets, "version": Versions, "data-key": DataKeys,
	"active-data-key": ActiveDataKeys, "region": Regions, "fence": Fences, "work": WorkItems,
	"outbox": Events, "host": Hosts, "quarantine": Quarantines, "peer": Peers,
	"data-key-rotation": DataKeyRotations, "data-key-usage": DataKeyUsages, "master-key-rotation": MasterRotations,
	"backup": Backups, "shredding": Shreddings,
	"tombstone": Tombstones, "synchronisation": Synchronisations,
	"message": Messages, "queue": Queues, "resynchronisation": Resynchronisations,
	"access": Accesses, "control": Controls, "formats": Gates, "clock": Clocks,
	"takeover": Takeovers, "move": Moves, "conflict": Conflicts, "conflict-version": Versions,
	"trust": TrustBundles, "binding": Bindings, "issuer": Issuers, "issuer-keys": IssuerKeySets,
	"binding-uri": reference{}, "issuer-url": reference{},
	"account-name": reference{}, "principal-name": reference{}, "vault-name": reference{},
	"secret-name": reference{}, "purge": reference{}, "credential-of": reference{},
}

// Check reports whether a stored record is one that this release can read: its
// kind is known by its key, and it decodes without unknown fields. Errors:
// CodeUnknownFormat, CodeCorrupt.
func Check(key Key, value []byte) error {
	c, ok := checkers[key.Kind()]
	if !ok {
		return secret.Errorf(secret.CodeUnknownFormat, "record %q is of a kind that this release does not know", key).
			WithHint("upgrade this process")
	}
	return c.Check(value)
}

// Formats returns the highest format this release reads, by kind of record.
func Formats() map[string]uint32 {
	formats := make(map[string]uint32, len(checkers))
	for kind, c := range checkers {
		formats[kind] = c.format()
	}
	return formats
}

// Baseline returns the highest format of a kind that a shard without a gate
// record may hold: that of the first release.
func Baseline(kind string) uint32 {
	if _, ok := checkers[kind]; !ok {
		return 0
	}
	return 1
}

type reference struct{}

func (reference) format() uint32 { return referenceFormat }

func (reference) Check(b []byte) error {
	_, err := DecodeReference(b)
	return err
}

const referenceFormat = 1

// EncodeReference returns the stored form of an index entry that names id.
func EncodeReference(id string) []byte { return append([]byte{referenceFormat}, id...) }

// DecodeReference returns the ID an index entry names.
func DecodeReference(b []byte) (string, error) {
	switch {
	case len(b) < 2:
		return "", secret.Errorf(secret.CodeCorrupt, "empty index record")
	case b[0] != referenceFormat:
		return "", secret.Errorf(secret.CodeUnknownFormat, "index record has format %d, this release reads %d", b[0], referenceFormat)
	case len(b) > math.MaxUint16:
		return "", secret.Errorf(secret.CodeCorrupt, "index record of %d bytes", len(b))
	}
	return string(b[1:]), nil
}
