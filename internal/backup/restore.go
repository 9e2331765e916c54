package backup

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// roleRestoring is the fence of a store that a restore has begun to fill. There
// is no region record yet, so nothing serves from it; it can only be restored.
const roleRestoring = "RESTORING"

// Store is what a restore needs of the shard.
type Store interface {
	View(ctx context.Context) record.View
	Page(ctx context.Context, start, end record.Key, limit int) (record.Page, error)
	Commit(ctx context.Context, txn record.Txn) (int64, error)
}

// RestoreOptions of a restore. All but Now and Progress are required.
type RestoreOptions struct {
	Store Store
	// Region is the one that the store is configured for.
	Region  secret.RegionName
	Keys    kms.Wrapper
	Keyring *keyring.Keyring
	Now     func() time.Time
	// Progress, if set, is called now and then, for one step after the other. It
	// may be called from several goroutines at once.
	Progress func(Progress)
}

// Report is what a restore did.
type Report struct {
	// Backup is what was restored.
	Backup Summary `json:"backup"`
	// Incarnation and RestoreEpoch are of the new life.
	Incarnation  secret.Incarnation `json:"incarnation"`
	RestoreEpoch uint64             `json:"restoreEpoch"`
	// Resumed is set if an earlier restore had been interrupted.
	Resumed bool `json:"resumed"`
	// Took is how long it took, in nanoseconds in JSON.
	Took time.Duration `json:"tookNanoseconds"`
}

// Restore begins a new life of a region in an empty store from a backup, which
// it reads twice: the first time to verify all of it, before anything is written.
// Orders, IDs and credentials are those of the backup; the incarnation is new and
// the restore epoch higher by one.
//
// Until its last transaction the store is not a region. A restore that was
// interrupted is recognised: the next one removes what it left and begins again,
// and an interrupted one that goes on after all cannot write any more.
//
// Errors: secret.CodeExists for a store that holds records, which stays as it
// is; CodeInvalid for a backup of another region; those of Verify and the key
// service, upon which nothing was changed; CodeStale if another restore took
// over; those of the store, after which it can be tried again.
func Restore(ctx context.Context, file io.ReadSeeker, o RestoreOptions) (Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	start := o.Now()
	r := &restore{options: o}
	if err := r.verify(ctx, file); err != nil {
		return Report{}, err
	}
	if err := r.claim(ctx); err != nil {
		return Report{}, err
	}
	if err := r.fill(ctx, file); err != nil {
		return Report{}, err
	}
	if err := r.open(ctx); err != nil {
		return Report{}, err
	}
	return Report{
		Backup: r.summary, Incarnation: r.incarnation, RestoreEpoch: r.epoch(), Resumed: r.resumed, Took: o.Now().Sub(start),
	}, nil
}

// restore is one restore.
type restore struct {
	options     RestoreOptions
	summary     Summary
	region      *recordpb.Region
	incarnation secret.Incarnation
	check       kms.Wrapped
	// fence is the revision of the fence that this restore has put; every write
	// requires it.
	fence   int64
	resumed bool
}

func (r *restore) epoch() uint64 { return r.region.GetRestoreEpoch() + 1 }

// verify reads the whole backup and makes sure that the key service can open
// what is in it and that it belongs to the region.
func (r *restore) verify(ctx context.Context, file io.ReadSeeker) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return cutOff(err)
	}
	reader, err := verified(ctx, file, r.options.Keys, r.options.Progress)
	if err != nil {
		return err
	}
	r.summary, r.region = reader.Summary(), reader.Region()
	if r.summary.Region != r.options.Region {
		return secret.Invalid("file", "is a backup of region %q; this process belongs to %q", r.summary.Region, r.options.Region)
	}
	if err := r.options.Keyring.Check(ctx, r.region); err != nil {
		return err
	}
	for _, key := range reader.dataKeys { // the master keys may have been rotated
		if err := r.options.Keyring.CheckDataKey(ctx, key); err != nil {
			return err
		}
	}
	r.incarnation = service.NewIncarnation()
	r.check, err = r.options.Keyring.NewCheck(ctx, r.summary.Region, r.incarnation)
	return err
}

// claim puts the fence that marks the store as being restored, if it is empty or
// an earlier restore was interrupted.
func (r *restore) claim(ctx context.Context) error {
	view := r.options.Store.View(ctx)
	fence, revision, err := record.Load(view, record.Fences, record.FenceKey)
	switch {
	case errors.Is(err, record.ErrNotFound):
		err = r.mustBeEmpty(ctx)
	case err == nil && fence.GetRole() != roleRestoring:
		err = notEmpty(record.FenceKey)
	case err == nil:
		r.resumed = true
	}
	if err != nil {
		return err
	}
	var txn record.Txn
	txn.Require(record.RegionKey, 0)
	txn.Require(record.FenceKey, revision)
	txn.Put(record.FenceKey, record.Fences.Encode(&recordpb.Fence{
		Incarnation: string(r.incarnation), Role: roleRestoring, RestoreEpoch: r.epoch(),
	}))
	if r.fence, err = r.options.Store.Commit(ctx, txn); err != nil {
		return r.failed(err)
	}
	if r.resumed {
		return r.clear(ctx)
	}
	return nil
}

// mustBeEmpty refuses a store with records other than what processes of a region
// that is not initialised write.
func (r *restore) mustBeEmpty(ctx context.Context) error {
	return walk(pageRecords, r.page(ctx), func(records []record.Stored) error {
		for _, stored := range records {
			if !ofProcesses(stored.Key) {
				return notEmpty(stored.Key)
			}
		}
		return nil
	})
}

func (r *restore) page(ctx context.Context) func(start, end record.Key, limit int) (record.Page, error) {
	return func(start, end record.Key, limit int) (record.Page, error) {
		return r.options.Store.Page(ctx, start, end, limit)
	}
}

func notEmpty(key record.Key) error {
	return secret.Errorf(secret.CodeExists, "the store is not empty: it holds %q", key).
		WithHint("a region is restored into an empty store only; nothing was changed")
}

// failed says what a failed condition means: every write requires the fence.
func (r *restore) failed(err error) error {
	if !secret.HasCode(err, secret.CodeStale) {
		return err
	}
	return secret.Wrap(secret.CodeStale, err, "the store was taken by another restore or initialisation").
		WithHint("look at its state with: lifeboat operator status")
}

// origins are the backups that lead to the new life: what was mutated after the last
// of them in the life before is lost.
func (r *restore) origins() []*recordpb.Moment {
	before := secret.Moment{Incarnation: secret.Incarnation(r.region.GetIncarnation()), Revision: r.summary.Revision}
	return append(r.region.GetOrigins(), record.MomentToProto(before))
}

// open makes the store a region, in one transaction.
func (r *restore) open(ctx context.Context) error {
	var txn record.Txn
	txn.Require(record.RegionKey, 0)
	txn.Require(record.FenceKey, r.fence)
	txn.Put(record.RegionKey, record.Regions.Encode(&recordpb.Region{
		Name: r.region.GetName(), Incarnation: string(r.incarnation), RestoreEpoch: r.epoch(),
		InitializedAt: r.region.GetInitializedAt(), RestoredAt: r.options.Now().UnixNano(),
		KeyCheck: r.check.Bytes, MasterKey: r.check.MasterKey, Origins: r.origins(),
	}))
	txn.Put(record.FenceKey, record.Fences.Encode(&recordpb.Fence{
		Incarnation: string(r.incarnation), Role: service.FenceServing, RestoreEpoch: r.epoch(),
	}))
	err := r.commit(ctx, txn)
	if !secret.HasCode(err, secret.CodeStale) {
		return err
	}
	// An attempt of unknown outcome may have been the one that committed.
	region, _, loadErr := record.Load(r.options.Store.View(ctx), record.Regions, record.RegionKey)
	if loadErr == nil && region.GetIncarnation() == string(r.incarnation) {
		return nil
	}
	return errors.Join(err, loadErr)
}
