package replica

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Copy is the local store of a host that does not run, opened for reading only:
// when a store is lost beyond its backups, it may be the last copy there is. It
// is safe for concurrent use.
type Copy struct {
	db          *bolt.DB
	meta        meta
	quarantined int64
}

// OpenCopy opens the file of a local store. Nothing in it is changed. Errors:
// secret.CodeInvalid if there is none, CodeUnavailable if its host runs,
// CodeCorrupt if it is damaged, CodeWrongState if it never had a complete copy of
// an initialised region.
func OpenCopy(path string) (c *Copy, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverDamage(&err)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, secret.Wrap(secret.CodeInvalid, err, "there is no local store")
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, asCorrupt(openError(err))
	}
	c = &Copy{db: db}
	if c.meta, c.quarantined, err = (&file{db: db}).state(); err != nil {
		return nil, errors.Join(asCorrupt(err), db.Close())
	}
	if !c.meta.Synced || !c.meta.Identity.known() {
		return nil, errors.Join(secret.Errorf(secret.CodeWrongState, "the local store has no complete copy of a region").
			WithHint("use another host's"), db.Close())
	}
	return c, nil
}

// recoverDamage makes damage that bbolt panics of an error.
func recoverDamage(err *error) {
	if p := recover(); p != nil {
		*err = asCorrupt(damage(p))
	}
}

func asCorrupt(err error) error {
	if !errors.Is(err, errDamaged) {
		return err
	}
	return secret.Wrap(secret.CodeCorrupt, err, "the local store is damaged").WithHint("use another host's")
}

// Close closes the file.
func (c *Copy) Close() error { return c.db.Close() }

// Position says where the local store stood. Only what is stored is set.
func (c *Copy) Position() Position {
	return Position{
		Applied: c.meta.Applied, Incarnation: c.meta.Identity.Incarnation, RestoreEpoch: c.meta.Identity.RestoreEpoch, Synced: true,
		Resyncing: c.meta.Resync, LastContact: record.FromNanos(c.meta.Contact), Records: c.meta.Records, Quarantined: c.quarantined,
	}
}

// Revision returns the revision up to which the copy has every change.
func (c *Copy) Revision(context.Context) (int64, error) { return c.meta.Applied, nil }

// PageAt reads up to limit records of start <= key < end; an empty end means no
// end. The revision must be the one that Revision returns. A record that fails
// its checksum is CodeCorrupt.
func (c *Copy) PageAt(ctx context.Context, start, end record.Key, limit int, revision int64) (page record.Page, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverDamage(&err)
	if err := ctx.Err(); err != nil {
		return page, secret.Wrap(secret.CodeUnavailable, err, "gave up reading the local store")
	}
	if revision != c.meta.Applied {
		return page, secret.Invalid("revision", "must be %d, the one of the copy, not %d", c.meta.Applied, revision)
	}
	page.Revision = revision
	err = c.db.View(func(tx *bolt.Tx) error {
		w := walk{cursor: tx.Bucket(recordsBucket).Cursor(), end: end}
		for at, v := w.first(start); at != nil; at, v = w.next() {
			if len(page.Records) == limit {
				page.More = true
				return nil
			}
			key := keyAt(at)
			local, err := decodeValue(at, v)
			if err != nil {
				return secret.Wrap(secret.CodeCorrupt, err, fmt.Sprintf("record %s", key)).WithHint("use another host's local store")
			}
			page.Records = append(page.Records, record.Stored{
				Key: key, Value: append([]byte{}, local.value...), Revision: local.revision,
			})
		}
		return nil
	})
	return page, err
}
