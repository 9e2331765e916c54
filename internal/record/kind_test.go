package record_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// tested is a kind of record without its type parameter.
type tested struct {
	// roundTrip encodes what the generator made and compares.
	roundTrip func(t *rapid.T)
	sample    []byte
	// decode reports the error of Decode, and whether encoding what it decoded
	// and decoding that again gives the same record and the same bytes.
	decode func(b []byte) (err error, stable bool)
	check  func(b []byte) error
	// slow is check by the protobuf library.
	slow func(b []byte) error
}

func test[T any](kind record.Kind[T], generator *rapid.Generator[*T]) tested {
	same := func(a, b *T) bool {
		if m, ok := any(a).(proto.Message); ok {
			return proto.Equal(m, any(b).(proto.Message))
		}
		return reflect.DeepEqual(a, b)
	}
	return tested{
		roundTrip: func(t *rapid.T) {
			want := generator.Draw(t, "record")
			b := kind.Encode(want)
			if again := kind.Encode(want); !bytes.Equal(b, again) {
				t.Fatalf("two encodings of %+v differ", want)
			}
			if err := kind.Check(b); err != nil {
				t.Fatal(err)
			}
			if !kind.Fits(b) {
				t.Fatalf("the layout does not know %+v", want)
			}
			got, err := kind.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if !same(got, want) {
				t.Fatalf("decoded %+v, want %+v", got, want)
			}
		},
		sample: kind.Encode(generator.Example(1)),
		decode: func(b []byte) (error, bool) {
			first, err := kind.Decode(b)
			if err != nil {
				return err, first == nil
			}
			encoded := kind.Encode(first)
			second, err := kind.Decode(encoded)
			return err, same(first, second) && bytes.Equal(encoded, kind.Encode(second))
		},
		check: kind.Check,
		slow:  kind.CheckSlowly,
	}
}

// kinds holds every kind by the first segment of its keys.
var kinds = map[string]tested{
	"account":           test(record.Accounts, accounts),
	"principal":         test(record.Principals, principals),
	"credential":        test(record.Credentials, credentials),
	"policy":            test(record.Policies, policies),
	"vault":             test(record.Vaults, vaults),
	"secret":            test(record.Secrets, secrets),
	"version":           test(record.Versions, versions),
	"data-key":          test(record.DataKeys, dataKeys),
	"active-data-key":   test(record.ActiveDataKeys, activeDataKeys),
	"region":            test(record.Regions, regions),
	"fence":             test(record.Fences, fences),
	"work":              test(record.WorkItems, workItems),
	"outbox":            test(record.Events, events),
	"host":              test(record.Hosts, hosts),
	"quarantine":        test(record.Quarantines, quarantines),
	"peer":              test(record.Peers, peers),
	"tombstone":         test(record.Tombstones, tombstones),
	"synchronisation":   test(record.Synchronisations, synchronisations),
	"data-key-rotation": test(record.DataKeyRotations, rotations),
	"data-key-usage":    test(record.DataKeyUsages, usages),
	"backup":            test(record.Backups, backups),
	"shredding":         test(record.Shreddings, shreddings),

	"master-key-rotation": test(record.MasterRotations, masterRotations),

	"message":           test(record.Messages, messages),
	"queue":             test(record.Queues, queues),
	"resynchronisation": test(record.Resynchronisations, resynchronisations),
	"control":           test(record.Controls, controls),
	"formats":           test(record.Gates, gates),
	"clock":             test(record.Clocks, clocks),
	"trust":             test(record.TrustBundles, trustBundles),
	"binding":           test(record.Bindings, bindings),
	"issuer":            test(record.Issuers, issuers),
	"issuer-keys":       test(record.IssuerKeySets, issuerKeys),
	"takeover":          test(record.Takeovers, takeovers),
	"move":              test(record.Moves, moves),
	"access":            test(record.Accesses, accesses),
	"conflict":          test(record.Conflicts, conflicts),
	"conflict-version":  test(record.Versions, versions),
}

var indexes = []string{"account-name", "purge", "principal-name", "vault-name", "secret-name", "credential-of", "binding-uri", "issuer-url"}

func TestEveryKindIsTested(t *testing.T) {
	known := record.Formats()
	for kind := range known {
		if _, ok := kinds[kind]; !ok && !isIndex(kind) {
			t.Errorf("kind %s has no test: add it to kinds", kind)
		}
	}
	for kind := range kinds {
		if known[kind] != 1 {
			t.Errorf("kind %s has format %d", kind, known[kind])
		}
	}
}

func isIndex(kind string) bool {
	for _, i := range indexes {
		if i == kind {
			return true
		}
	}
	return false
}

func TestRoundTrips(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) { rapid.Check(t, kind.roundTrip) })
	}
}

func TestEmptyListsAndMapsDecodeAsNil(t *testing.T) {
	empty := &secret.Secret{
		Versions: []secret.VersionInfo{}, Stages: map[secret.Stage]secret.VersionID{}, Tags: map[string]string{},
		RetiredMACs: []secret.MAC{}, Requests: []secret.Request{}, Description: secret.Sealed{}, Ownership: secret.Ownership{Lineage: secret.Lineage{}},
	}
	got, err := record.Secrets.Decode(record.Secrets.Encode(empty))
	if err != nil || !reflect.DeepEqual(got, &secret.Secret{}) {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestDecodedRecordsDoNotAliasTheirInput(t *testing.T) {
	want := &secret.Version{Secret: "s", ID: "v", Value: secret.Sealed("sealed value"), MAC: secret.MAC("mac")}
	b := record.Versions.Encode(want)
	got, err := record.Versions.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the decoded record changed with the buffer: %+v", got)
	}
}

func wantCode(t *testing.T, err error, code secret.Code) {
	t.Helper()
	if got := secret.CodeOf(err); got != code {
		t.Errorf("code %q (%v), want %q", got, err, code)
	}
}

func TestUnknownFormatsAreRefused(t *testing.T) {
	for name, kind := range kinds {
		for _, format := range []byte{0, 2, 255} {
			b := bytes.Clone(kind.sample)
			b[0] = format
			err, _ := kind.decode(b)
			wantCode(t, err, secret.CodeUnknownFormat)
			wantCode(t, kind.check(b), secret.CodeUnknownFormat)
			wantCode(t, record.Check(record.Key(name+"/x"), b), secret.CodeUnknownFormat)
		}
		err, _ := kind.decode(nil)
		wantCode(t, err, secret.CodeCorrupt)
	}
}

// unknownField is a field that no release so far has.
func unknownField() []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 1)
}

// nested wraps a message into the field of its parent.
func nested(field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), message)
}

func TestUnknownFieldsAreRefused(t *testing.T) {
	for name, kind := range kinds {
		b := append(bytes.Clone(kind.sample), unknownField()...)
		wantCode(t, record.Check(record.Key(name+"/x"), b), secret.CodeUnknownFormat)
		wantCode(t, record.Check(record.Key(name+"/x"), kind.sample), "")
	}
	const ownership, order, lineage, began, versionList = 4, 3, 4, 2, 17
	inside := map[string][]byte{
		"ownership":                nested(ownership, unknownField()),
		"its order":                nested(ownership, nested(order, unknownField())),
		"a fork of its lineage":    nested(ownership, nested(lineage, unknownField())),
		"the start of such a fork": nested(ownership, nested(lineage, nested(began, unknownField()))),
		"a version":                nested(versionList, unknownField()),
		"the second version":       append(nested(versionList, nil), nested(versionList, unknownField())...),
	}
	for where, message := range inside {
		t.Run(where, func(t *testing.T) {
			b := append([]byte{1}, message...)
			wantCode(t, record.Check("secret/v/s", b), secret.CodeUnknownFormat)
			if _, err := record.Secrets.Decode(b); err != nil {
				t.Errorf("Decode is for records that Check has passed, yet it refused: %v", err)
			}
		})
	}
}

func TestUnknownKindsAreRefused(t *testing.T) {
	for _, key := range []record.Key{"", "/", "later-kind/x", "secrets/x"} {
		wantCode(t, record.Check(key, []byte{1}), secret.CodeUnknownFormat)
	}
}

func TestReferences(t *testing.T) {
	b := record.EncodeReference("some ID")
	if got, err := record.DecodeReference(b); err != nil || got != "some ID" {
		t.Errorf("decoded %q, %v", got, err)
	}
	cases := map[string]struct {
		value []byte
		code  secret.Code
	}{
		"good":           {b, ""},
		"empty":          {nil, secret.CodeCorrupt},
		"no ID":          {[]byte{1}, secret.CodeCorrupt},
		"unknown format": {[]byte{2, 'x'}, secret.CodeUnknownFormat},
		"format zero":    {[]byte{0, 'x'}, secret.CodeUnknownFormat},
		"far too long":   {[]byte("\x01" + strings.Repeat("x", 1<<16)), secret.CodeCorrupt},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, index := range indexes {
				wantCode(t, record.Check(record.Key(index+"/x"), c.value), c.code)
			}
		})
	}
}

// FuzzKinds feeds arbitrary bytes to each kind: a decoder refuses with a typed
// error or gives a record that encodes and decodes to itself.
func FuzzKinds(f *testing.F) {
	for name, kind := range kinds {
		f.Add(name, kind.sample)
		f.Add(name, append(bytes.Clone(kind.sample), unknownField()...))
	}
	f.Add("secret", []byte{1, 0xff})
	f.Add("secret", []byte{2})
	f.Add("vault-name", record.EncodeReference("x"))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		checked := record.Check(record.Key(name), b)
		kind, ok := kinds[name]
		if !ok {
			return
		}
		err, stable := kind.decode(b)
		if !stable {
			t.Fatalf("%s: what was decoded does not encode to itself (%v)", name, err)
		}
		for _, e := range []error{checked, err} {
			if code := secret.CodeOf(e); e != nil && code != secret.CodeCorrupt && code != secret.CodeUnknownFormat {
				t.Fatalf("%s: untyped error %v", name, e)
			}
		}
		if slow := kind.slow(b); secret.CodeOf(kind.check(b)) != secret.CodeOf(slow) {
			t.Fatalf("%s: the check says %v, the library %v", name, kind.check(b), slow)
		}
		if checked == nil && err != nil {
			t.Fatalf("%s passed the check but cannot be decoded: %v", name, err)
		}
	})
}
