package replication

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/fnv"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// buckets is how many parts of a large vault are compared before single secrets are: a
	// tree of digests two levels deep. With a million secrets a bucket has 250. Of a vault
	// that is not large they are folded into fewBuckets.
	buckets, fewBuckets = 4096, 256
	largeVault          = 50_000
	// comparedAtOnce bounds the secrets of one request, unless a single bucket has more,
	// and of the answer what was received since a comparison.
	comparedAtOnce = 20_000
	// compareTimeout bounds a request: a region reads through all of a vault to answer it.
	compareTimeout = time.Minute
)

// Digester makes the digests by which two regions compare a vault.
type Digester interface {
	VaultDigests(ctx context.Context, view record.View, c service.Compared, visit func(sec *secret.Secret, digest secret.MAC)) (secret.Moment, error)
}

// bucketOf is the bucket out of n that a secret is in.
func bucketOf(key record.Key, n uint32) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32() % n
}

// bucketDigests are the first level of what one region has of a vault.
type bucketDigests struct {
	at    secret.Moment
	sums  [][]byte
	sizes []uint32
	// secrets is all sizes together; withheld counts those that are not compared, since
	// they are not meant for both regions.
	secrets, withheld int
}

func bucketDigestsOf(ctx context.Context, d Digester, local LocalStore, c service.Compared) (*bucketDigests, error) {
	var all *bucketDigests
	err := local.View(func(view record.View) (err error) {
		all = &bucketDigests{sums: make([][]byte, buckets), sizes: make([]uint32, buckets)}
		var sums [buckets]hash.Hash
		all.at, err = d.VaultDigests(ctx, view, c, func(sec *secret.Secret, digest secret.MAC) {
			if digest == nil {
				if sec.State != secret.Deleted {
					all.withheld++
				}
				return
			}
			b := bucketOf(record.SecretKey(sec.ID), buckets)
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

// folded has n buckets, each of which is several.
func (d *bucketDigests) folded(n int) *bucketDigests {
	f := *d
	if n == len(d.sums) {
		return &f
	}
	f.sums, f.sizes = make([][]byte, n), make([]uint32, n)
	for b := range n {
		sum := sha256.New()
		for part := b; part < len(d.sums); part += n {
			if f.sizes[b] += d.sizes[part]; d.sizes[part] > 0 {
				_, _ = sum.Write(binary.BigEndian.AppendUint32(nil, uint32(part))) //nolint:gosec // few
				_, _ = sum.Write(d.sums[part])
			}
		}
		if f.sizes[b] > 0 {
			f.sums[b] = sum.Sum(nil)
		}
	}
	return &f
}

// digested is one secret of the second level.
type digested struct {
	digest  secret.MAC
	deleted bool
	order   secret.Order
	name    string
}

// digestsWithin returns the second level of some buckets out of n.
func digestsWithin(ctx context.Context, d Digester, local LocalStore, c service.Compared, n uint32, within []uint32) (all map[record.Key]digested, err error) {
	wanted := make([]bool, n)
	for _, b := range within {
		wanted[b] = true
	}
	c.Only = func(stored record.Stored) bool { return wanted[bucketOf(stored.Key, n)] }
	all, _, err = digestsOf(ctx, d, local, c)
	return all, err
}

func digestsOf(ctx context.Context, d Digester, local LocalStore, c service.Compared) (all map[record.Key]digested, at secret.Moment, err error) {
	err = local.View(func(view record.View) (err error) {
		all = make(map[record.Key]digested)
		at, err = d.VaultDigests(ctx, view, c, func(sec *secret.Secret, digest secret.MAC) {
			if digest != nil {
				all[record.SecretKey(sec.ID)] = digested{digest, sec.State == secret.Deleted, sec.Ownership.Order, sec.Name}
			}
		})
		return err
	})
	return all, at, err
}

// comparing is a comparison of a vault with another region.
type comparing struct {
	client peerv1connect.ReplicationServiceClient
	Digester
	local LocalStore
	// lost is empty for what is this region's to send.
	lost secret.RegionName
}

func (c *comparing) ask(ctx context.Context, vault secret.VaultID, req *peerv1.CompareDigestsRequest) (*peerv1.CompareDigestsResponse, error) {
	req.Vault, req.LostRegion = string(vault), string(c.lost)
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	answer, err := c.client.CompareDigests(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

// compare compares first the buckets, in both regions at once, then the secrets of those
// that differ, for which it calls visit. What visit is called with is as new as the first
// level that is returned, or newer. Errors: those of the link, of the local store, and of
// visit.
func (c *comparing) compare(ctx context.Context, what service.Compared,
	visit func(own map[record.Key]digested, found *peerv1.CompareDigestsResponse) error,
) (own *bucketDigests, first *peerv1.CompareDigestsResponse, err error) {
	both, inBoth := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		own, err = bucketDigestsOf(inBoth, c, c.local, what)
		return err
	})
	both.Go(func() (err error) {
		first, err = c.ask(inBoth, what.Vault, &peerv1.CompareDigestsRequest{})
		return err
	})
	if err := both.Wait(); err != nil {
		return own, first, err
	}
	n := len(first.GetSums())
	if n != buckets && n != fewBuckets || len(first.GetSizes()) != n {
		return own, first, secret.Errorf(secret.CodeUnknownFormat, "the region has %d buckets", n)
	}
	for _, within := range own.folded(n).differing(first) {
		mine, err := digestsWithin(ctx, c, c.local, what, uint32(n), within) //nolint:gosec // few
		if err != nil {
			return own, first, err
		}
		req := &peerv1.CompareDigestsRequest{Buckets: uint32(n), Within: within} //nolint:gosec // few
		for key, one := range mine {
			req.Secrets = append(req.Secrets, &peerv1.SecretDigest{Record: string(key), Digest: one.digest})
		}
		found, err := c.ask(ctx, what.Vault, req)
		if err == nil {
			err = visit(mine, found)
		}
		if err != nil {
			return own, first, err
		}
	}
	return own, first, nil
}

// differing are the buckets that differ, as many together as a request takes.
func (d *bucketDigests) differing(there *peerv1.CompareDigestsResponse) (all [][]uint32) {
	sum := uint32(comparedAtOnce)
	for b, digest := range d.sums {
		if secret.MAC(digest).Equal(there.GetSums()[b]) {
			continue
		}
		size := max(d.sizes[b], there.GetSizes()[b])
		if sum += size; sum > comparedAtOnce {
			all, sum = append(all, nil), size
		}
		all[len(all)-1] = append(all[len(all)-1], uint32(b)) //nolint:gosec // few
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
	// Identities are the vault and the records of its account of which the same is so as
	// of Differing, by their orders.
	Identities []record.Key
}

// Compare compares a vault with the target by digest, and its account by the orders of
// its records, and enqueues what differs. Errors: those of the link, and of the local
// store.
func (s *Sender) Compare(ctx context.Context, vault secret.VaultID) (Comparison, error) {
	result, err := s.compareSecrets(ctx, vault)
	if err == nil {
		result.Identities, err = s.compareAccount(ctx, vault)
	}
	return result, err
}

func (s *Sender) compareSecrets(ctx context.Context, vault secret.VaultID) (Comparison, error) {
	result := Comparison{Vault: vault, Target: s.Target}
	c := service.Compared{Vault: vault, Home: s.Region, For: []secret.RegionName{s.Target}}
	with := &comparing{client: s.Client, Digester: s.Digester, local: s.Local}
	own, _, err := with.compare(ctx, c, func(_ map[record.Key]digested, found *peerv1.CompareDigestsResponse) error {
		return s.judge(found, &result)
	})
	if err != nil {
		return result, err
	}
	result.Secrets = own.secrets
	slices.Sort(result.Differing)
	if len(result.Surplus) > 0 {
		s.Logger.Warn("the target holds secrets as this region's that this region does not have", "target", s.Target, "secrets", len(result.Surplus), "first", result.Surplus[0])
	}
	return result, s.enqueueDiffering(ctx, result.Differing)
}

// compareAccount compares a vault's record and those of its account, also of what is
// deleted, and enqueues what differs.
func (s *Sender) compareAccount(ctx context.Context, vault secret.VaultID) ([]record.Key, error) {
	key := record.VaultKey(vault)
	buried, live, err := s.accountOf(key)
	if err != nil {
		return nil, err
	}
	return s.compareOrders(ctx, slices.Concat(buried, live, []record.Key{key}))
}

// compareOrders compares records that are no secrets, of those whose home this region is,
// and enqueues what differs twice: what is mutated in between looks as if it did.
func (s *Sender) compareOrders(ctx context.Context, keys []record.Key) (differing []record.Key, err error) {
	for page := range slices.Chunk(keys, syncPage) {
		for range 2 {
			if page, err = s.differingOf(ctx, page); err != nil {
				return differing, err
			}
			if len(page) == 0 {
				break
			}
		}
		differing = append(differing, page...)
	}
	return differing, s.enqueueDiffering(ctx, differing)
}

func (s *Sender) differingOf(ctx context.Context, keys []record.Key) (differing []record.Key, err error) {
	lacking, err := s.lacking(ctx, keys)
	if err != nil {
		return nil, err
	}
	err = s.Local.View(func(view record.View) error {
		for _, key := range lacking {
			ours, _, err := holding(view, key)
			if err != nil {
				return err
			}
			busy, err := s.underWay(view, key)
			if err != nil {
				return err
			}
			if ours.Home == s.Region && !busy { // of others the target does not say what it has
				differing = append(differing, key)
			}
		}
		return nil
	})
	return differing, err
}

// underWay reports whether a record is on its way to the target.
func (s *Sender) underWay(view record.View, key record.Key) (bool, error) {
	if _, waiting, err := view.Get(record.MessageKey(s.Target, key)); waiting || err != nil {
		return waiting, err
	}
	_, open, err := view.Get(record.WorkKey(key))
	return open, err
}

// judge leaves out what is under way: those states are still on their way.
func (s *Sender) judge(found *peerv1.CompareDigestsResponse, result *Comparison) error {
	return s.Local.View(func(view record.View) error {
		for _, name := range found.GetDiffering() {
			key := record.Key(name)
			busy, err := s.underWay(view, key)
			if err != nil {
				return err
			}
			_, here, err := view.Get(key)
			if err != nil {
				return err
			}
			if here && !busy { // it may have been deleted and forgotten meanwhile
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

func (s *Sender) enqueueDiffering(ctx context.Context, keys []record.Key) error {
	for _, key := range keys {
		s.Logger.Warn("the target differs although nothing was under way; it is sent again", "target", s.Target, "record", key)
	}
	return s.enqueue(ctx, keys)
}

// runComparisons compares everything with the target from time to time, until ctx
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
		if err := s.compareAll(ctx); err != nil {
			s.Logger.Debug("not everything could be compared", "target", s.Target, "error", err)
		}
	}
}

// compareAll compares all vaults that the target should have secrets of from here, and
// all accounts that it holds a vault of. What it is being brought whole is left out: it
// lacks what is on its way.
func (s *Sender) compareAll(ctx context.Context) error {
	for _, vault := range s.Routes.HeldBy(s.Target) {
		if s.bringsAll(vault) {
			continue
		}
		c, err := s.compareSecrets(ctx, vault)
		if err != nil {
			return err
		}
		s.Compared(c)
	}
	accounts := make(map[secret.AccountID]bool)
	for _, vault := range s.Routes.SharedWith(s.Target) {
		account := s.Routes.accountOf(vault)
		if s.bringsAll(vault) {
			accounts[account] = true
			continue
		}
		var err error
		c := Comparison{Vault: vault, Target: s.Target}
		if accounts[account] {
			c.Identities, err = s.compareOrders(ctx, []record.Key{record.VaultKey(vault)})
		} else {
			c.Identities, err = s.compareAccount(ctx, vault)
		}
		if err != nil {
			return err
		}
		accounts[account] = true
		s.Compared(c)
	}
	return nil
}

// bringsAll reports whether the target is being brought all of a vault.
func (s *Sender) bringsAll(vault secret.VaultID) (is bool) {
	_ = s.Local.View(func(view record.View) (err error) { // the comparison meets the same error
		_, is, err = view.Get(record.SynchronisationKey(s.Target, vault, ""))
		return err
	})
	return is || s.Queue.Status(s.Target).Resynchronisation != nil
}

// CompareDigests implements peerv1connect.ReplicationServiceHandler.
func (r *Receiver) CompareDigests(ctx context.Context, req *connect.Request[peerv1.CompareDigestsRequest]) (*connect.Response[peerv1.CompareDigestsResponse], error) {
	from, leave, err := r.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	answer, err := r.compareDigests(ctx, from, req.Msg)
	if err != nil {
		return nil, r.fail(err)
	}
	return connect.NewResponse(answer), nil
}

func (r *Receiver) compareDigests(ctx context.Context, from service.Source, m *peerv1.CompareDigestsRequest) (_ *peerv1.CompareDigestsResponse, err error) {
	n := m.GetBuckets()
	if n != 0 && n != buckets && n != fewBuckets || slices.ContainsFunc(m.GetWithin(), func(b uint32) bool { return b >= n }) {
		return nil, secret.Invalid("buckets", "is %d; allowed are %d and %d, and those within", n, buckets, fewBuckets)
	}
	c := service.Compared{Vault: secret.VaultID(m.GetVault()), Home: from.Region, For: []secret.RegionName{r.Region}}
	lost := m.GetLostRegion() != ""
	if lost {
		if c.Home, err = r.third(from, m.GetLostRegion()); err != nil {
			return nil, err
		}
		c.For = []secret.RegionName{from.Region, r.Region}
	}
	switch {
	case n > 0:
		own, err := digestsWithin(ctx, r.Digester, r.Local, c, n, m.GetWithin())
		if err != nil {
			return nil, err
		}
		return compareSecrets(own, m.GetSecrets(), lost), nil
	case m.GetSinceIncarnation() != "" && lost:
		return r.receivedSince(ctx, c, secret.Moment{Incarnation: secret.Incarnation(m.GetSinceIncarnation()), Revision: m.GetSinceRevision()})
	}
	own, err := bucketDigestsOf(ctx, r.Digester, r.Local, c)
	if err != nil {
		return nil, err
	}
	if own.secrets < largeVault {
		own = own.folded(fewBuckets)
	}
	return &peerv1.CompareDigestsResponse{
		Sums: own.sums, Sizes: own.sizes, Withheld: uint64(own.withheld), //nolint:gosec // a count
		Incarnation: string(own.at.Incarnation), Revision: own.at.Revision,
	}, nil
}

// receivedSince answers what has changed since a moment. In another life, or if that is
// too much, it does not say.
func (r *Receiver) receivedSince(ctx context.Context, c service.Compared, since secret.Moment) (*peerv1.CompareDigestsResponse, error) {
	c.Only = func(stored record.Stored) bool { return stored.Revision > since.Revision }
	own, at, err := digestsOf(ctx, r.Digester, r.Local, c)
	if err != nil {
		return nil, err
	}
	answer := &peerv1.CompareDigestsResponse{}
	if at.Incarnation != since.Incarnation || len(own) > comparedAtOnce {
		return answer, nil
	}
	answer.Incarnation, answer.Revision = string(at.Incarnation), at.Revision
	for key, one := range own {
		answer.Replicas = append(answer.Replicas, replicaToWire(service.Replica{Key: key, Order: one.order, Deleted: one.deleted}, one.name))
	}
	return answer, nil
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
