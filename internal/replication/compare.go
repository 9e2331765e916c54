package replication

import (
	"context"
	"crypto/sha256"
	"hash"
	"hash/fnv"
	"slices"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// buckets is how many parts of a vault are compared before single secrets are: a
// tree of digests two levels deep. With a million secrets a bucket has 4,000.
const buckets = 256

// comparedAtOnce bounds the secrets of one request, unless a single bucket has more.
const comparedAtOnce = 20_000

// compareTimeout bounds a request: a region reads through all of a vault to answer it.
const compareTimeout = 30 * time.Second

// Digester makes the digests by which two regions compare a vault.
type Digester interface {
	VaultDigests(ctx context.Context, view record.View, c service.Compared, visit func(sec *secret.Secret, digest secret.MAC)) (secret.Moment, error)
}

func bucketOf(key record.Key) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32() % buckets
}

// bucketDigests are the first level of what one region has of a vault.
type bucketDigests struct {
	at    secret.Moment
	sums  [buckets][]byte
	sizes [buckets]int
	// secrets is all sizes together; withheld counts those that are not compared, since
	// they are not meant for both regions.
	secrets, withheld int
}

func bucketDigestsOf(ctx context.Context, d Digester, local LocalStore, c service.Compared) (*bucketDigests, error) {
	var all *bucketDigests
	err := local.View(func(view record.View) (err error) {
		all = &bucketDigests{}
		var sums [buckets]hash.Hash
		all.at, err = d.VaultDigests(ctx, view, c, func(sec *secret.Secret, digest secret.MAC) {
			if digest == nil {
				all.withheld += truth(sec.State != secret.Deleted)
				return
			}
			b := bucketOf(record.SecretKey(sec.ID))
			if sums[b] == nil {
				sums[b] = sha256.New()
			}
			_, _ = sums[b].Write(digest)
			all.sizes[b]++
			all.secrets++
		})
		for b, sum := range sums {
			if sum != nil {
				all.sums[b] = sum.Sum(nil)
			}
		}
		return err
	})
	return all, err
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// digested is one secret of the second level.
type digested struct {
	digest  secret.MAC
	deleted bool
	order   secret.Order
	name    string
}

// digestsWithin returns the second level of some buckets.
func digestsWithin(ctx context.Context, d Digester, local LocalStore, c service.Compared, within []uint32) (all map[record.Key]digested, err error) {
	var wanted [buckets]bool
	for _, b := range within {
		wanted[b] = true
	}
	c.Only = func(key record.Key) bool { return wanted[bucketOf(key)] }
	err = local.View(func(view record.View) error {
		all = make(map[record.Key]digested)
		_, err := d.VaultDigests(ctx, view, c, func(sec *secret.Secret, digest secret.MAC) {
			if digest != nil {
				all[record.SecretKey(sec.ID)] = digested{digest, sec.State == secret.Deleted, sec.Ownership.Order, sec.Name}
			}
		})
		return err
	})
	return all, err
}

// compareWith compares a vault with the region that a client reaches: first the buckets,
// then the secrets of those that differ, for which it calls visit. lost is empty for what
// is this region's to send. What visit is called with is as new as the first level that
// is returned, or newer. Errors: those of the link, of the local store, and of visit.
func compareWith(ctx context.Context, client peerv1connect.ReplicationServiceClient, d Digester, local LocalStore, c service.Compared, lost secret.RegionName,
	visit func(own map[record.Key]digested, found *peerv1.CompareDigestsResponse) error,
) (*bucketDigests, *peerv1.CompareDigestsResponse, error) {
	own, err := bucketDigestsOf(ctx, d, local, c)
	if err != nil {
		return own, nil, err
	}
	ask := func(req *peerv1.CompareDigestsRequest) (*peerv1.CompareDigestsResponse, error) {
		req.Vault, req.LostRegion = string(c.Vault), string(lost)
		ctx, cancel := context.WithTimeout(ctx, compareTimeout)
		defer cancel()
		answer, err := client.CompareDigests(ctx, connect.NewRequest(req))
		if err != nil {
			return nil, err
		}
		return answer.Msg, nil
	}
	first, err := ask(&peerv1.CompareDigestsRequest{Buckets: own.sums[:]})
	if err != nil {
		return own, nil, err
	}
	for _, within := range own.batches(first) {
		mine, err := digestsWithin(ctx, d, local, c, within)
		if err != nil {
			return own, first, err
		}
		req := &peerv1.CompareDigestsRequest{Within: within}
		for key, one := range mine {
			req.Secrets = append(req.Secrets, &peerv1.SecretDigest{Record: string(key), Digest: one.digest})
		}
		found, err := ask(req)
		if err == nil {
			err = visit(mine, found)
		}
		if err != nil {
			return own, first, err
		}
	}
	return own, first, nil
}

// batches are the buckets that differ, as many together as a request takes.
func (d *bucketDigests) batches(answer *peerv1.CompareDigestsResponse) (all [][]uint32) {
	sum := comparedAtOnce
	for i, b := range answer.GetBuckets() {
		if b >= buckets {
			continue
		}
		size := d.sizes[b]
		if i < len(answer.GetSizes()) {
			size = max(size, int(answer.GetSizes()[i]))
		}
		if sum += size; sum > comparedAtOnce {
			all, sum = append(all, nil), size
		}
		all[len(all)-1] = append(all[len(all)-1], b)
	}
	return all
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
	c := service.Compared{Vault: vault, Home: s.Region, For: []secret.RegionName{s.Target}}
	own, _, err := compareWith(ctx, s.Client, s.Digester, s.Local, c, "", func(_ map[record.Key]digested, found *peerv1.CompareDigestsResponse) error {
		return s.judge(found, &result)
	})
	if err != nil {
		return result, err
	}
	result.Secrets = own.secrets
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
	if n := len(m.GetBuckets()); n != 0 && n != buckets || slices.ContainsFunc(m.GetWithin(), func(b uint32) bool { return b >= buckets }) {
		return nil, r.fail(secret.Invalid("buckets", "must be %d", buckets))
	}
	c := service.Compared{Vault: secret.VaultID(m.GetVault()), Home: from.Region, For: []secret.RegionName{r.Region}}
	lost := m.GetLostRegion() != ""
	if lost {
		if c.Home, err = r.third(from, m.GetLostRegion()); err != nil {
			return nil, r.fail(err)
		}
		c.For = []secret.RegionName{from.Region, r.Region}
	}
	if len(m.GetBuckets()) > 0 {
		own, err := bucketDigestsOf(ctx, r.Digester, r.Local, c)
		if err != nil {
			return nil, r.fail(err)
		}
		return connect.NewResponse(own.differing(m.GetBuckets())), nil
	}
	own, err := digestsWithin(ctx, r.Digester, r.Local, c, m.GetWithin())
	if err != nil {
		return nil, r.fail(err)
	}
	return connect.NewResponse(compareSecrets(own, m.GetSecrets(), lost)), nil
}

func (d *bucketDigests) differing(theirs [][]byte) *peerv1.CompareDigestsResponse {
	answer := &peerv1.CompareDigestsResponse{Withheld: uint64(d.withheld)} //nolint:gosec // a count
	for b := range uint32(buckets) {
		if !secret.MAC(d.sums[b]).Equal(theirs[b]) {
			answer.Buckets = append(answer.Buckets, b)
			answer.Sizes = append(answer.Sizes, uint32(d.sizes[b])) //nolint:gosec // a count
		}
	}
	return answer
}

// compareSecrets compares the second level; full says what this region has of what
// differs.
func compareSecrets(own map[record.Key]digested, theirs []*peerv1.SecretDigest, full bool) *peerv1.CompareDigestsResponse {
	answer := &peerv1.CompareDigestsResponse{}
	tell := func(key record.Key, one digested, name string) {
		if full {
			answer.Replicas = append(answer.Replicas, replicaToWire(service.Replica{Key: key, Order: one.order, Deleted: one.deleted}, name))
		}
	}
	known := make(map[record.Key]bool, len(theirs))
	for _, t := range theirs {
		key := record.Key(t.GetRecord())
		known[key] = true
		one, ok := own[key]
		if ok && one.digest.Equal(t.GetDigest()) {
			continue
		}
		answer.Differing = append(answer.Differing, t.GetRecord())
		if ok {
			tell(key, one, "")
		}
	}
	for key, one := range own {
		if !known[key] && !one.deleted { // what is deleted may be forgotten there
			answer.Surplus = append(answer.Surplus, string(key))
			tell(key, one, one.name)
		}
	}
	return answer
}
