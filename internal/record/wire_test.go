package record_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// sameAsLibrary fails if a record decodes otherwise by hand than with the
// protobuf library.
func sameAsLibrary[T any](t interface{ Fatalf(string, ...any) }, kind record.Kind[T], b []byte) {
	got, err := kind.Decode(b)
	want, wantErr := kind.DecodeSlowly(b)
	if (err == nil) != (wantErr == nil) || secret.CodeOf(err) != secret.CodeOf(wantErr) {
		t.Fatalf("%x: error %v, with the library %v", b, err, wantErr)
	}
	if err == nil && !bytes.Equal(kind.Encode(got), kind.Encode(want)) {
		t.Fatalf("%x: decoded\n%+v, with the library\n%+v", b, got, want)
	}
}

func sameValue(t interface{ Fatalf(string, ...any) }, b []byte) {
	got, err := record.SealedValue(b)
	want, wantErr := record.Versions.DecodeSlowly(b)
	// SealedValue does not look into the other fields, so it may be content with
	// strings that are not UTF-8.
	if wantErr == nil && (err != nil || !bytes.Equal(got, want.Value)) {
		t.Fatalf("%x: value %x, error %v, with the library %x", b, got, err, want.Value)
	}
}

// sameRotation fails if a rotation is overlooked.
func sameRotation(t interface{ Fatalf(string, ...any) }, b []byte) {
	s, err := record.Secrets.DecodeSlowly(b)
	if err == nil && s.Rotation != nil && !record.HasRotation(b) {
		t.Fatalf("%x: the rotation %+v is overlooked", b, s.Rotation)
	}
}

// awkward are valid and invalid ways to write a message that no encoder of ours
// uses: fields twice, of another type, unknown, out of order, cut off.
func awkward(b []byte) [][]byte {
	all := [][]byte{b, append(bytes.Clone(b), b[1:]...), nil, {0}, {1}, {2}}
	for number := range protowire.Number(22) {
		if number == 0 {
			continue
		}
		all = append(all,
			protowire.AppendVarint(protowire.AppendTag(bytes.Clone(b), number, protowire.VarintType), 1<<63|77),
			protowire.AppendBytes(protowire.AppendTag(bytes.Clone(b), number, protowire.BytesType), []byte{8, 1}),
			protowire.AppendBytes(protowire.AppendTag(bytes.Clone(b), number, protowire.BytesType), []byte{0xff}),
			protowire.AppendFixed64(protowire.AppendTag(bytes.Clone(b), number, protowire.Fixed64Type), 9),
			protowire.AppendTag(bytes.Clone(b), number, protowire.StartGroupType),
		)
	}
	return all
}

func TestDecodingByHandIsAsWithTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, b := range awkward(record.Secrets.Encode(secrets.Draw(t, "secret"))) {
			sameAsLibrary(t, record.Secrets, b)
			sameRotation(t, b)
		}
		for _, b := range awkward(record.Vaults.Encode(vaults.Draw(t, "vault"))) {
			sameAsLibrary(t, record.Vaults, b)
		}
		for _, b := range awkward(record.WorkItems.Encode(workItems.Draw(t, "work item"))) {
			sameAsLibrary(t, record.WorkItems, b)
		}
		for _, b := range awkward(record.Events.Encode(events.Draw(t, "event"))) {
			sameAsLibrary(t, record.Events, b)
		}
		for _, b := range awkward(record.Versions.Encode(versions.Draw(t, "version"))) {
			sameValue(t, b)
		}
	})
}

func encodesAsLibrary[T any](t interface{ Fatalf(string, ...any) }, kind record.Kind[T], r *T) {
	if got, want := kind.Encode(r), kind.EncodeSlowly(r); !bytes.Equal(got, want) {
		t.Fatalf("%+v: encoded\n%x, with the library\n%x", r, got, want)
	}
}

func TestEncodingByHandIsAsWithTheLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encodesAsLibrary(t, record.Secrets, secrets.Draw(t, "secret"))
		encodesAsLibrary(t, record.Versions, versions.Draw(t, "version"))
		encodesAsLibrary(t, record.WorkItems, workItems.Draw(t, "work item"))
		encodesAsLibrary(t, record.Events, events.Draw(t, "event"))
	})
}

func TestHasRotation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := secrets.Draw(t, "secret")
		if got := record.HasRotation(record.Secrets.Encode(s)); got != (s.Rotation != nil) {
			t.Fatalf("%v of %+v", got, s.Rotation)
		}
	})
	if !record.HasRotation(nil) || !record.HasRotation([]byte{1, 0xff}) {
		t.Error("what cannot be decoded is said to have none")
	}
}

func FuzzDecodeByHand(f *testing.F) {
	f.Add(record.Secrets.Encode(benchSecret(3)))
	f.Add(record.Vaults.Encode(&secret.Vault{ID: "01J00000000000000000000000", Name: "app", Tags: map[string]string{"a": "b"}}))
	f.Add(record.WorkItems.Encode(&recordpb.WorkItem{Record: "secret/a", Order: record.OrderToProto(secret.Order{Seq: 1}), CommittedAt: 2, Mutation: "CREATE"}))
	f.Add(record.Events.Encode(&recordpb.Event{Id: "01J00000000000000000000000", Type: "SECRET_CREATED", Order: record.OrderToProto(secret.Order{Seq: 1}), At: 2}))
	f.Add(record.Versions.Encode(&secret.Version{ID: "01J00000000000000000000000", Value: make(secret.Sealed, 40)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		sameAsLibrary(t, record.Secrets, b)
		sameRotation(t, b)
		sameAsLibrary(t, record.Vaults, b)
		sameAsLibrary(t, record.WorkItems, b)
		sameAsLibrary(t, record.Events, b)
		sameValue(t, b)
	})
}
