package replica

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// localFormat is that of the buckets and their contents. A file of another
// format is rebuilt from the store. In format 1 versions lay by themselves.
const localFormat = 2

var metaKey = []byte("state")

// meta is what the local store knows about itself. It is stored with each
// commit, as JSON in a local value, so that a checksum covers it.
type meta struct {
	Format int
	// Applied: every change up to and including this revision is in the file.
	Applied int64
	// Generation numbers the lives of the store that the file has seen.
	Generation uint32
	Identity   identity
	// Synced says that there is a complete copy of the present life.
	Synced bool
	// Resync says that the copy must be compared with the store from beginning
	// to end: it has never been, was damaged, or fell behind a compaction.
	Resync  bool
	Records int64
	// Contact is the wall time of the last contact with the source, in ns since
	// 1970.
	Contact int64
}

// identity is of one life of the store; zero if it is not known.
type identity struct {
	Incarnation  secret.Incarnation
	RestoreEpoch uint64
}

func (i identity) known() bool { return i != identity{} }

// identityOf reads the identity from an encoded region record.
func identityOf(value []byte) (identity, error) {
	region, err := record.Regions.Decode(value)
	if err != nil {
		return identity{}, err
	}
	return identityIn(region), nil
}

func identityIn(r *recordpb.Region) identity {
	return identity{Incarnation: secret.Incarnation(r.GetIncarnation()), RestoreEpoch: r.GetRestoreEpoch()}
}

func readMeta(tx *bolt.Tx) (meta, error) {
	b := tx.Bucket(metaBucket)
	if b == nil {
		return meta{}, damage("no meta bucket")
	}
	stored := b.Get(metaKey)
	if stored == nil {
		if k, _ := tx.Bucket(recordsBucket).Cursor().First(); k != nil {
			return meta{}, damage("records without a state")
		}
		return meta{Format: localFormat, Resync: true}, nil
	}
	v, err := decodeValue(metaKey, stored)
	if err != nil {
		return meta{}, damage("the state fails its checksum")
	}
	var m meta
	if err := json.Unmarshal(v.value, &m); err != nil {
		return meta{}, damage(err)
	}
	if m.Format != localFormat {
		return meta{}, damage(fmt.Sprintf("local format %d, this release has %d", m.Format, localFormat))
	}
	return m, nil
}

func writeMeta(tx *bolt.Tx, m meta) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return tx.Bucket(metaBucket).Put(metaKey, encodeValue(metaKey, localValue{value: b}))
}
