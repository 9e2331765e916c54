package record

import (
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Stored is a record as a store holds it.
type Stored struct {
	Key Key
	// Value is the encoded record, format byte first. It may be valid only as
	// long as the View it came from, and must not be changed.
	Value []byte
	// Revision is that of the store when the record was last written.
	Revision int64
}

// View reads records of one shard, from the store or from a local store.
type View interface {
	// Get returns a record; ok is false if it does not exist.
	Get(key Key) (stored Stored, ok bool, err error)
	// Scan calls visit for the records with start <= key < end in the order of
	// their keys until visit returns false.
	Scan(start, end Key, visit func(Stored) bool) error
}

// Change is one record put or deleted by a committed transaction.
type Change struct {
	Stored
	// Deleted is set, and Value nil, if the record was deleted.
	Deleted bool
}

// Write puts a record, or deletes it if Value is nil.
type Write struct {
	Key   Key
	Value []byte
}

// Condition says what a record's revision must be when a transaction commits; 0
// means that it must not exist.
type Condition struct {
	Key      Key
	Revision int64
}

// Txn is a transaction: all its writes are done if all its conditions hold.
type Txn struct {
	Conditions []Condition
	Writes     []Write
}

// Require adds a condition.
func (t *Txn) Require(key Key, revision int64) {
	t.Conditions = append(t.Conditions, Condition{Key: key, Revision: revision})
}

// Put adds a write of an encoded record.
func (t *Txn) Put(key Key, value []byte) {
	t.Writes = append(t.Writes, Write{Key: key, Value: value})
}

// Delete adds a deletion.
func (t *Txn) Delete(key Key) {
	t.Writes = append(t.Writes, Write{Key: key})
}

// ErrNotFound is returned by Load for a record that does not exist.
var ErrNotFound = errors.New("no such record")

// Load reads and decodes a record. It returns ErrNotFound if there is none.
func Load[T any](v View, kind Kind[T], key Key) (*T, int64, error) {
	stored, ok, err := v.Get(key)
	if err != nil {
		return nil, 0, err
	}
	if !ok {
		return nil, 0, ErrNotFound
	}
	t, err := kind.Decode(stored.Value)
	if err != nil {
		return nil, 0, secret.Wrap(secret.CodeOf(err), err, "record "+string(key))
	}
	return t, stored.Revision, nil
}

// Memory is a View that keeps what was made of single records, for all who see the same
// state of them.
type Memory interface {
	// Recall returns what was kept for a record, nil if nothing is.
	Recall(key Key) any
	// Keep keeps a value that follows from one record alone as the view shows it, does
	// not alias it, and is never changed.
	Keep(key Key, value any)
}

// shared is what LoadShared keeps.
type shared[T any] struct {
	record   *T
	revision int64
}

// LoadShared is Load for records that nearly every request needs: the result may
// be shared with others and must not be changed.
func LoadShared[T any](v View, kind Kind[T], key Key) (*T, int64, error) {
	m, remembers := v.(Memory)
	if remembers {
		if s, ok := m.Recall(key).(*shared[T]); ok {
			return s.record, s.revision, nil
		}
	}
	t, revision, err := Load(v, kind, key)
	if err == nil && remembers {
		m.Keep(key, &shared[T]{t, revision})
	}
	return t, revision, err
}

// Removal returns the transaction that deletes a record as it is; ok is false if it
// does not exist.
func Removal(v View, key Key) (txn Txn, ok bool, err error) {
	stored, ok, err := v.Get(key)
	if err != nil || !ok {
		return Txn{}, false, err
	}
	txn.Require(key, stored.Revision)
	txn.Delete(key)
	return txn, true, nil
}

// Lookup follows an index entry to the ID that it names; ok is false if there is
// no such entry.
func Lookup(v View, key Key) (id string, ok bool, err error) {
	m, remembers := v.(Memory)
	if remembers {
		if id, ok := m.Recall(key).(string); ok {
			return id, true, nil
		}
	}
	stored, ok, err := v.Get(key)
	if err != nil || !ok {
		return "", false, err
	}
	id, err = DecodeReference(stored.Value)
	if err != nil {
		return "", false, err
	}
	if remembers {
		m.Keep(key, id)
	}
	return id, true, nil
}
