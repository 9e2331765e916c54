package region_test

import (
	"context"
	"errors"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Whoever changes a record has read all of it: one with a field that this release
// does not know is not even shown to it, whatever its format says, so that it
// cannot be written again without that field.
func TestARecordWithAnUnknownFieldCannotBeChanged(t *testing.T) {
	c := single(t, t.TempDir())
	prepare(t, c)
	p := startOne(t, c)
	defer func() { must(t, p.Close()) }()
	try(t, "initialize", func(ctx context.Context) error {
		_, err := p.Initialize(ctx)
		return err
	})
	key := record.HostKey("later")
	foreign := append(record.Hosts.Encode(&recordpb.Host{Id: "later"}), 0xf8, 0x3e, 1) // field 999
	var put record.Txn
	put.Put(key, foreign)
	_, err := p.Raw().Commit(t.Context(), put)
	must(t, err)

	if _, _, err := record.Load(p.Records().View(t.Context()), record.Hosts, key); !secret.HasCode(err, secret.CodeUnknownFormat) {
		t.Errorf("reading it: %v", err)
	}
	err = p.Records().View(t.Context()).Scan(record.HostPrefix, record.PrefixEnd(record.HostPrefix), func(s record.Stored) bool {
		return s.Key != key
	})
	if !secret.HasCode(err, secret.CodeUnknownFormat) {
		t.Errorf("a scan over it: %v", err)
	}
	if _, _, err := p.Raw().View(t.Context()).Get(key); err != nil {
		t.Error(errors.Join(errors.New("the store itself shows it"), err))
	}

	var ahead record.Txn
	ahead.Put("secret/v/s", []byte{2})
	if _, err := p.Records().Commit(t.Context(), ahead); !secret.HasCode(err, secret.CodeInternal) {
		t.Errorf("a write ahead of the gate: %v", err)
	}
}
