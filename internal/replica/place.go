package replica

import (
	"bytes"
	"strings"

	bolt "go.etcd.io/bbolt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// In the file the versions of a secret lie right behind its record, where a read, which
// wants both, finds them in the memory that it has just looked at: with a million
// secrets each page that it has not costs it a microsecond. So "version/VAULT/ID/VERSION"
// is stored as "secret/VAULT/ID/VERSION"; every other record has its key for its place.

// place appends to b where a record of that key is stored; false if another record would
// be there.
func place(b []byte, key record.Key) ([]byte, bool) {
	switch {
	case key.HasPrefix(record.VersionPrefix) && placeable(key):
		b = append(b, record.SecretPrefix...)
		return append(b, key[len(record.VersionPrefix):]...), true
	case key.HasPrefix(record.SecretPrefix) && slashes(key) == versionSlashes:
		return b, false
	}
	return append(b, key...), true
}

// placeable reports whether a record of that key may be stored. Others can be in the
// file all the same: damage makes of one key another.
func placeable(key record.Key) bool {
	switch {
	case key.HasPrefix(record.SecretPrefix):
		return slashes(key) < versionSlashes
	case key.HasPrefix(record.VersionPrefix):
		return slashes(key) == versionSlashes
	}
	return true
}

// slashes counts those behind that of the prefix.
func slashes(key record.Key) int { return strings.Count(string(key), "/") - 1 }

// versionSlashes are in the key of a version, behind its prefix.
const versionSlashes = 2

// isVersion reports whether it is a version that is stored there.
func isVersion(at []byte) bool {
	return bytes.HasPrefix(at, []byte(record.SecretPrefix)) && bytes.Count(at[len(record.SecretPrefix):], []byte{'/'}) == versionSlashes
}

// keyAt returns the key of the record that is stored there.
func keyAt(at []byte) record.Key {
	if isVersion(at) {
		return record.Key(record.VersionPrefix + string(at[len(record.SecretPrefix):]))
	}
	return record.Key(at)
}

// checkPlace returns CodeCorrupt for a key for which there is no place.
func checkPlace(key record.Key) error {
	if !placeable(key) {
		return secret.Errorf(secret.CodeCorrupt, "%q is not the key of a record", key)
	}
	return nil
}

// walk goes through the records with start <= key < end, an empty end meaning no end,
// in the order of their keys: those before the versions, the versions, and those after
// them. It returns where they are stored, nil at the end; a place that is longer than any
// can be, of a damaged page, is returned as it is.
type walk struct {
	cursor *bolt.Cursor
	end    record.Key
	part   part
	// limit is where the part ends in the file, empty if with it; last is set if the walk
	// ends there, too.
	limit []byte
	last  bool
}

// part is some records whose order in the file is that of their keys.
type part int

const (
	beforeVersions part = iota
	versions
	afterVersions
)

// versionsEnd follows the key of every version, secretsEnd every place of one.
var versionsEnd, secretsEnd = record.PrefixEnd(record.VersionPrefix), record.PrefixEnd(record.SecretPrefix)

// first begins the walk.
func (w *walk) first(start record.Key) (at, value []byte) {
	switch {
	case w.end != "" && w.end <= start:
		return nil, nil
	case start < record.VersionPrefix:
		return w.enter(beforeVersions, start)
	case start < versionsEnd:
		return w.enter(versions, start)
	}
	return w.enter(afterVersions, start)
}

func (w *walk) next() (at, value []byte) { return w.settle(w.cursor.Next()) }

// enter goes on in a part, at the first record whose key is start or follows it.
func (w *walk) enter(p part, start record.Key) (at, value []byte) {
	end := [...]record.Key{beforeVersions: record.VersionPrefix, versions: versionsEnd, afterVersions: ""}[p]
	w.part, w.last = p, end == "" || w.end != "" && w.end <= end
	if w.last {
		end = w.end
	}
	if p == versions {
		start, end = besideSecret(start), besideSecret(end)
	}
	w.limit = []byte(end)
	return w.settle(w.cursor.Seek([]byte(start)))
}

// besideSecret moves a bound of versions to where it is in the file.
func besideSecret(bound record.Key) record.Key {
	if bound == versionsEnd {
		return secretsEnd
	}
	return record.SecretPrefix + bound[len(record.VersionPrefix):]
}

// settle moves on from a place to the next one that is of the part, or of the next part.
func (w *walk) settle(at, value []byte) ([]byte, []byte) {
	for ; len(at) <= bolt.MaxKeySize; at, value = w.cursor.Next() {
		switch {
		case at == nil || len(w.limit) > 0 && bytes.Compare(at, w.limit) >= 0:
			switch {
			case w.last:
				return nil, nil
			case w.part == beforeVersions:
				return w.enter(versions, record.VersionPrefix)
			}
			return w.enter(afterVersions, record.VersionPrefix) // where only damage can have put anything
		case w.part == afterVersions || isVersion(at) == (w.part == versions):
			return at, value
		}
	}
	return at, value
}
