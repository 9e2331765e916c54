package replication

import (
	"context"
	"crypto/sha256"
	"hash/fnv"
	"slices"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// buckets is how many parts of a vault are compared before single secrets are: a
// tree of digests two levels deep. With a million secrets a bucket has 4,000.
const buckets = 256

// Digester makes the digests by which two regions compare a vault.
type Digester interface {
	VaultDigests(ctx context.Context, view record.View, vault secret.VaultID, home, target secret.RegionName,
		visit func(key record.Key, digest secret.MAC, deleted bool)) error
}

func bucketOf(key record.Key) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32() % buckets
}

// vaultDigests are what one region has of a vault that another sends to it.
type vaultDigests struct {
	secrets map[record.Key]secret.MAC
	// deleted are those of the secrets of which only the order is left.
	deleted map[record.Key]bool
	buckets [buckets][]byte
}

func digestsOf(ctx context.Context, d Digester, local LocalStore, vault secret.VaultID, home, target secret.RegionName) (*vaultDigests, error) {
	digests := &vaultDigests{secrets: make(map[record.Key]secret.MAC), deleted: make(map[record.Key]bool)}
	err := local.View(func(view record.View) error {
		clear(digests.secrets)
		clear(digests.deleted)
		return d.VaultDigests(ctx, view, vault, home, target, func(key record.Key, digest secret.MAC, deleted bool) {
			digests.secrets[key] = digest
			if deleted {
				digests.deleted[key] = true
			}
		})
	})
	if err != nil {
		return nil, err
	}
	var members [buckets][]record.Key
	for key := range digests.secrets {
		b := bucketOf(key)
		members[b] = append(members[b], key)
	}
	for b, keys := range members {
		if len(keys) == 0 {
			continue
		}
		slices.Sort(keys)
		sum := sha256.New()
		for _, key := range keys {
			_, _ = sum.Write(digests.secrets[key])
		}
		digests.buckets[b] = sum.Sum(nil)
	}
	return digests, ctx.Err()
}

// Comparison is what a comparison of a vault with a target found.
type Comparison struct {
	Vault   secret.VaultID
	Target  secret.RegionName
	Secrets int
	// Differing are the secrets of which the target lacks the present state although
	// nothing says that it is under way. They were enqueued again.
	Differing []record.Key
	// Surplus are secrets that the target holds as this region's, and this region
	// does not have. They are left alone.
	Surplus []record.Key
}

// Compare compares a vault with the target by digest and enqueues what differs.
// Errors: those of the link, and of the local store.
func (s *Sender) Compare(ctx context.Context, vault secret.VaultID) (Comparison, error) {
	result := Comparison{Vault: vault, Target: s.Target}
	own, err := digestsOf(ctx, s.Digester, s.Local, vault, s.Region, s.Target)
	if err != nil {
		return result, err
	}
	result.Secrets = len(own.secrets)
	answer, err := s.Client.CompareDigests(ctx, connect.NewRequest(&peerv1.CompareDigestsRequest{Vault: string(vault), Buckets: own.buckets[:]}))
	if err != nil {
		return result, err
	}
	for _, b := range answer.Msg.GetBuckets() {
		req := &peerv1.CompareDigestsRequest{Vault: string(vault), Bucket: b}
		for key, digest := range own.secrets {
			if bucketOf(key) == b {
				req.Secrets = append(req.Secrets, &peerv1.SecretDigest{Record: string(key), Digest: digest})
			}
		}
		found, err := s.Client.CompareDigests(ctx, connect.NewRequest(req))
		if err != nil {
			return result, err
		}
		if err := s.judge(found.Msg, &result); err != nil {
			return result, err
		}
	}
	slices.Sort(result.Differing)
	return result, s.enqueueDiffering(ctx, result)
}

// judge leaves out what is under way: those states are still on their way.
func (s *Sender) judge(found *peerv1.CompareDigestsResponse, result *Comparison) error {
	return s.Local.View(func(view record.View) error {
		for _, name := range found.GetDiffering() {
			key := record.Key(name)
			_, waiting, err := view.Get(record.MessageKey(s.Target, key))
			if err != nil {
				return err
			}
			_, open, err := view.Get(record.WorkKey(key))
			if err != nil {
				return err
			}
			_, here, err := view.Get(key)
			if err != nil {
				return err
			}
			if here && !waiting && !open { // it may have been deleted and forgotten meanwhile
				result.Differing = append(result.Differing, key)
			}
		}
		for _, name := range found.GetSurplus() {
			_, here, err := view.Get(record.Key(name))
			if err != nil {
				return err
			}
			if !here {
				result.Surplus = append(result.Surplus, record.Key(name))
			}
		}
		return nil
	})
}

func (s *Sender) enqueueDiffering(ctx context.Context, c Comparison) error {
	for batch := range slices.Chunk(c.Differing, batchMessages/2) {
		var txn record.Txn
		for _, key := range batch {
			s.Logger.Warn("the target differs although nothing was under way; it is sent again", "target", s.Target, "record", key)
			s.Queue.Enqueue(&txn, []secret.RegionName{s.Target}, key, s.Now())
		}
		if _, err := s.Store.Commit(ctx, txn); err != nil {
			return err
		}
	}
	if len(c.Surplus) > 0 {
		s.Logger.Warn("the target holds secrets as this region's that this region does not have", "target", s.Target, "secrets", len(c.Surplus), "first", c.Surplus[0])
	}
	return nil
}

// runComparisons compares all vaults with the target from time to time, until ctx
// ends.
func (s *Sender) runComparisons(ctx context.Context) {
	if s.CompareEvery < 0 {
		return
	}
	tick := time.NewTicker(s.CompareEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, vault := range s.Routes.HeldBy(s.Target) {
			c, err := s.Compare(ctx, vault)
			if err != nil {
				s.Logger.Debug("the vault could not be compared", "target", s.Target, "vault", vault, "error", err)
				break
			}
			s.Compared(c)
		}
	}
}

// CompareDigests implements peerv1connect.ReplicationServiceHandler.
func (r *Receiver) CompareDigests(ctx context.Context, req *connect.Request[peerv1.CompareDigestsRequest]) (*connect.Response[peerv1.CompareDigestsResponse], error) {
	from, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	m := req.Msg
	if n := len(m.GetBuckets()); n != 0 && n != buckets || m.GetBucket() >= buckets {
		return nil, r.fail(secret.Invalid("buckets", "must be %d", buckets))
	}
	own, err := digestsOf(ctx, r.Digester, r.Local, secret.VaultID(m.GetVault()), from.Region, r.Region)
	if err != nil {
		return nil, r.fail(err)
	}
	if len(m.GetBuckets()) > 0 {
		return connect.NewResponse(&peerv1.CompareDigestsResponse{Buckets: own.differing(m.GetBuckets())}), nil
	}
	return connect.NewResponse(own.compare(m.GetBucket(), m.GetSecrets())), nil
}

func (d *vaultDigests) differing(theirs [][]byte) (differing []uint32) {
	for b := range uint32(buckets) {
		if !secret.MAC(d.buckets[b]).Equal(theirs[b]) {
			differing = append(differing, b)
		}
	}
	return differing
}

func (d *vaultDigests) compare(bucket uint32, theirs []*peerv1.SecretDigest) *peerv1.CompareDigestsResponse {
	answer := &peerv1.CompareDigestsResponse{}
	known := make(map[record.Key]bool, len(theirs))
	for _, t := range theirs {
		key := record.Key(t.GetRecord())
		known[key] = true
		if own, ok := d.secrets[key]; !ok || !own.Equal(t.GetDigest()) {
			answer.Differing = append(answer.Differing, t.GetRecord())
		}
	}
	for key := range d.secrets {
		if bucketOf(key) == bucket && !known[key] && !d.deleted[key] { // what is deleted may be forgotten there
			answer.Surplus = append(answer.Surplus, string(key))
		}
	}
	return answer
}
