package replica

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// merge brings the local records with start <= key < end in line with those of
// the page, whose records are all in that range. It handles at most limit local
// records and returns where to go on, and whether it is done.
func (t *txn) merge(records []record.Stored, revision int64, start, end record.Key, limit int) (next record.Key, rest []record.Stored, done bool, err error) {
	gone, stop, err := t.missing(records, start, end, limit)
	if err != nil {
		return "", nil, false, err
	}
	lifted, err := t.heldButMissing(records, start, end, record.Key(stop))
	if err != nil {
		return "", nil, false, err
	}
	for _, key := range lifted {
		if err := t.lift(key); err != nil {
			return "", nil, false, err
		}
	}
	for _, key := range gone {
		ch := record.Change{Stored: record.Stored{Key: record.Key(key), Revision: revision}, Deleted: true}
		if err := t.apply(key, ch, true); err != nil {
			return "", nil, false, err
		}
	}
	for i, r := range records {
		if stop != nil && string(r.Key) >= string(stop) {
			return record.Key(stop), records[i:], false, nil
		}
		if err := t.page(r); err != nil {
			return "", nil, false, err
		}
	}
	return record.Key(stop), nil, stop == nil, nil
}

// page applies a record of a page.
func (t *txn) page(r record.Stored) error {
	if r.Key.HasPrefix(record.OutboxPrefix) {
		t.changes = append(t.changes, record.Change{Stored: r})
		return nil
	}
	key := []byte(r.Key)
	have, ok, exists := t.lookup(key)
	if ok && have.revision >= r.Revision {
		return nil
	}
	return t.apply(key, record.Change{Stored: r}, exists)
}

// missing returns the local keys of the range that the page lacks. If it has
// looked at limit records it stops and returns where.
func (t *txn) missing(records []record.Stored, start, end record.Key, limit int) (gone [][]byte, stop []byte, err error) {
	w := walk{cursor: t.records.Cursor(), end: end}
	i, n := 0, 0
	for at, _ := w.first(start); at != nil; at, _ = w.next() {
		key := keyAt(at)
		if n++; n > limit {
			return gone, []byte(key), nil
		}
		for i < len(records) && records[i].Key < key {
			i++
		}
		if i < len(records) && records[i].Key == key {
			continue
		}
		gone = append(gone, []byte(key))
	}
	return gone, nil, nil
}

// heldButMissing returns the quarantined records of the range that the page lacks.
func (t *txn) heldButMissing(records []record.Stored, start, end, stop record.Key) ([][]byte, error) {
	var keys [][]byte
	c := t.quarantine.Cursor()
	for k, _ := c.Seek([]byte(start)); k != nil && (end == "" || string(k) < string(end)) && (stop == "" || string(k) < string(stop)); k, _ = c.Next() {
		_, found := slices.BinarySearchFunc(records, record.Key(k), func(r record.Stored, key record.Key) int { return cmp.Compare(r.Key, key) })
		if !found {
			keys = append(keys, bytes.Clone(k))
		}
	}
	return keys, nil
}
