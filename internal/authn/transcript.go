package authn

import (
	"bytes"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// transcript is a view that notes what was read through it, so that what followed
// from that can be told to still hold: over any view in which the same reads find
// the same.
type transcript struct {
	view   record.View
	parsed *parsedRecords
	reads  []noted
}

// noted is one read and what it found.
type noted struct {
	// start is the key of a Get, for which end is empty, or the start of a Scan.
	start, end record.Key
	found      []found
}

type found struct {
	key   record.Key
	value []byte
}

// Get implements record.View. The value is a copy.
func (t *transcript) Get(key record.Key) (record.Stored, bool, error) {
	stored, ok, err := t.view.Get(key)
	if err != nil {
		return record.Stored{}, false, err
	}
	n := noted{start: key}
	if ok {
		stored.Value = bytes.Clone(stored.Value)
		n.found = []found{{key, stored.Value}}
	}
	t.reads = append(t.reads, n)
	return stored, ok, nil
}

// Scan implements record.View. It notes all of the range.
func (t *transcript) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	n := noted{start: start, end: end}
	var all []record.Stored
	err := t.view.Scan(start, end, func(stored record.Stored) bool {
		stored.Value = bytes.Clone(stored.Value)
		n.found = append(n.found, found{stored.Key, stored.Value})
		all = append(all, stored)
		return true
	})
	if err != nil {
		return err
	}
	t.reads = append(t.reads, n)
	for _, stored := range all {
		if !visit(stored) {
			break
		}
	}
	return nil
}

// same reports whether the reads find in the view what they found before.
func same(view record.View, reads []noted) (bool, error) {
	for i := range reads {
		if ok, err := reads[i].same(view); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (n *noted) same(view record.View) (bool, error) {
	if n.end == "" {
		stored, ok, err := view.Get(n.start)
		if err != nil || ok != (len(n.found) == 1) {
			return false, err
		}
		return !ok || bytes.Equal(stored.Value, n.found[0].value), nil
	}
	i, equal := 0, true
	err := view.Scan(n.start, n.end, func(stored record.Stored) bool {
		equal = i < len(n.found) && n.found[i].key == stored.Key && bytes.Equal(n.found[i].value, stored.Value)
		i++
		return equal
	})
	return equal && i == len(n.found), err
}
