package authz

import (
	"maps"
	"slices"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// memory is a View over a map; a clone of it is a snapshot.
type memory struct {
	records  map[record.Key]record.Stored
	revision int64
}

func newMemory() *memory { return &memory{records: map[record.Key]record.Stored{}} }

func (m *memory) Get(key record.Key) (record.Stored, bool, error) {
	s, ok := m.records[key]
	return s, ok, nil
}

func (m *memory) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	for _, k := range slices.Sorted(maps.Keys(m.records)) {
		if k >= start && (end == "" || k < end) && !visit(m.records[k]) {
			return nil
		}
	}
	return nil
}

func (m *memory) Revision() int64 { return m.revision }

func (m *memory) clone() *memory {
	return &memory{records: maps.Clone(m.records), revision: m.revision}
}

// plain hides the revision of a view.
type plain struct{ record.View }

func (m *memory) put(account secret.AccountID, name, text string) record.Change {
	m.revision++
	s := record.Stored{
		Key:   record.PolicyKey(account, name),
		Value: record.Policies.Encode(&secret.Policy{Account: account, Name: name, Text: text}), Revision: m.revision,
	}
	m.records[s.Key] = s
	return record.Change{Stored: s}
}

func (m *memory) remove(account secret.AccountID, name string) record.Change {
	m.revision++
	key := record.PolicyKey(account, name)
	delete(m.records, key)
	return record.Change{Stored: record.Stored{Key: key, Revision: m.revision}, Deleted: true}
}

func decide(t testing.TB, a *Authorizer, view record.View, r Request) Decision {
	t.Helper()
	d, err := a.Decide(view, r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
