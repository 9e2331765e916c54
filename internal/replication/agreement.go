package replication

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// agreedFor is how long a comparison counts, and renewAfter when it is renewed. A
	// survivor that the lost region still reaches may go on to receive, and what it
	// received since then becomes a conflict.
	agreedFor, renewAfter = time.Minute, 10 * time.Second
	// keptFor is how long a comparison can be renewed.
	keptFor = 10 * time.Minute
	// comparedAgain is when a comparison that failed is tried again, if it is wanted;
	// comparedAll when all vaults are.
	comparedAgain, comparedAll = 5 * time.Second, time.Minute
	// vaultsAtOnce bounds the vaults that are compared with a survivor side by side.
	vaultsAtOnce = 4
)

// pairing is a vault, a lost region that has secrets in it, and a survivor.
type pairing struct {
	survivor, lost secret.RegionName
	vault          secret.VaultID
}

// agreement is what a comparison of a vault with a survivor has shown.
type agreement struct {
	// at is the moment of this region's copy, there that of the survivor's.
	at, there secret.Moment
	// until is how long that counts, due when it is to be renewed.
	until, due time.Time
	// newer are the secrets that the survivor holds newer.
	newer map[record.Key]bool
}

// opens reports whether a survivor need not be asked about a secret that is here at a
// revision: at the comparison it was here already, and not newer there. In another life
// of the store revisions are others.
func (a *agreement) opens(life secret.Incarnation, key record.Key, revision int64) bool {
	return a != nil && time.Now().Before(a.until) && a.at.Incarnation == life && revision > 0 && revision <= a.at.Revision && !a.newer[key]
}

// isDue reports whether a vault is to be compared.
func (a *agreement) isDue() bool { return a == nil || !time.Now().Before(a.due) }

// agreement returns what is known of a vault, nil if that is nothing.
func (s *Survivors) agreement(p pairing) *agreement {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agreed[p]
}

// agree remembers what a comparison has shown.
func (s *Survivors) agree(p pairing, at, there secret.Moment, newer map[record.Key]bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agreed[p] = &agreement{at, there, now.Add(agreedFor), now.Add(renewAfter), newer}
}

// postpone has a vault not compared for a while. What is known of it counts no longer
// than before.
func (s *Survivors) postpone(p pairing, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &agreement{}
	if old := s.agreed[p]; old != nil {
		*a = *old
	}
	a.due = time.Now().Add(d)
	s.agreed[p] = a
}

// forget drops what counts no more.
func (s *Survivors) forget() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, a := range s.agreed {
		if now.After(a.until.Add(keptFor)) && now.After(a.due) {
			delete(s.agreed, p)
		}
	}
}

// unknown returns those of some records about which the survivor must be asked, which of
// them it is known to hold newer, and has vaults compared that are due. What is no secret
// is small in number and always asked about.
func (s *survivor) unknown(keys []record.Key) (ask, newer []record.Key, err error) {
	asked, unasked := 0, 0
	wanted := map[secret.VaultID]bool{}
	err = s.Local.View(func(view record.View) error {
		ask, newer, asked, unasked = nil, nil, 0, 0
		_, now, err := s.Service.LiveOf(view, nil)
		if err != nil {
			return err
		}
		for _, key := range keys {
			id := record.SecretIDOf(key)
			if id == "" {
				ask = append(ask, key)
				continue
			}
			stored, _, err := view.Get(key)
			if err != nil {
				return err
			}
			a := s.agreement(pairing{s.peer, s.lost, id.Vault()})
			wanted[id.Vault()] = a.isDue()
			if a.opens(now.Incarnation, key, stored.Revision) {
				unasked++
			} else {
				ask = append(ask, key)
				asked++
			}
			if a != nil && a.newer[key] {
				newer = append(newer, key)
			}
		}
		return nil
	})
	for vault, compare := range wanted {
		if compare {
			s.touch(vault)
		}
	}
	s.Opened(s.peer, asked, unasked)
	return ask, newer, err
}

// touch has a vault compared soon. If very many are to be, some are left out until they
// are touched again.
func (s *survivor) touch(vault secret.VaultID) {
	select {
	case s.touched[s.peer] <- pairing{s.peer, s.lost, vault}:
	default:
	}
}

// Run compares the vaults whose secrets are asked for, until ctx ends.
func (s *Survivors) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for peer, client := range s.Clients {
		running.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case p := <-s.touched[peer]:
					s.forget()
					one := &survivor{Survivors: s, peer: peer, lost: p.lost, client: client}
					if !one.agreement(p).isDue() || one.isSilent() != nil {
						continue
					}
					if err := one.renew(ctx, p.vault); err != nil && ctx.Err() == nil {
						s.Logger.Warn("a vault cannot be compared with a survivor; it is asked record by record", "survivor", peer, "vault", p.vault, "error", err)
					}
				}
			}
		})
	}
	<-ctx.Done()
	return ctx.Err()
}

// Compare compares what this region holds of a lost one, or of one vault of it, with each
// survivor that answers, and remembers on what they agree. It calls missing, one at a
// time, for records that the survivor alone holds and this region is meant to, and before
// them for what is deleted there. Errors: those of missing, and of the local store.
func (s *Survivors) Compare(ctx context.Context, lost secret.RegionName, only secret.VaultID, missing func([]record.Key) error) error {
	s.forget()
	var mu sync.Mutex
	var failed error
	take := func(keys []record.Key) error {
		mu.Lock()
		defer mu.Unlock()
		if len(keys) > 0 && failed == nil {
			failed = missing(keys)
		}
		return failed
	}
	s.each(lost, func(one *survivor) error {
		if err := one.isSilent(); err != nil {
			return err
		}
		if only != "" {
			return one.compareNow(ctx, only, take)
		}
		// Once is enough for a caller that tries again and again.
		done := pairing{survivor: one.peer, lost: lost}
		if !one.agreement(done).isDue() {
			return nil
		}
		list, err := one.list(ctx)
		if err == nil {
			err = take(list.missing)
		}
		if err != nil {
			return err
		}
		for _, vault := range list.alone {
			one.agree(pairing{one.peer, lost, vault}, list.at, list.there, nil)
		}
		err = one.vaults(list.shared, func(vault secret.VaultID) error { return one.compareNow(ctx, vault, take) })
		if err == nil {
			one.postpone(done, comparedAll)
		}
		return err
	})
	return failed
}

// vaults has vaults compared, some at once. It goes on after an error, and returns the
// first one.
func (s *survivor) vaults(all []secret.VaultID, compare func(secret.VaultID) error) error {
	var comparing errgroup.Group
	comparing.SetLimit(vaultsAtOnce)
	for _, vault := range all {
		comparing.Go(func() error { return compare(vault) })
	}
	return comparing.Wait()
}

// compareNow compares a vault, and remembers what that shows.
func (s *survivor) compareNow(ctx context.Context, vault secret.VaultID, missing func([]record.Key) error) error {
	p, newer := pairing{s.peer, s.lost, vault}, make(map[record.Key]bool)
	own, first, err := s.compare(ctx, vault, func(f *findings) error {
		var keys []record.Key
		for _, one := range f.newer {
			newer[one.key] = true
			if one.deleted { // what is missing may have its name
				keys = append(keys, one.key)
			}
		}
		for _, one := range f.missing {
			keys = append(keys, one.key)
		}
		return missing(keys)
	})
	if err != nil {
		s.postpone(p, comparedAgain)
		return err
	}
	s.agree(p, own.at, momentFromWire(first), newer)
	return nil
}

// renew compares a vault, or only asks what the survivor has received of it since that was
// done.
func (s *survivor) renew(ctx context.Context, vault secret.VaultID) error {
	p := pairing{s.peer, s.lost, vault}
	old := s.agreement(p)
	if old == nil || old.there.Incarnation == "" {
		return s.compareNow(ctx, vault, func([]record.Key) error { return nil })
	}
	answer, err := s.comparing().ask(ctx, vault, &peerv1.CompareDigestsRequest{SinceIncarnation: string(old.there.Incarnation), SinceRevision: old.there.Revision})
	if err != nil {
		s.postpone(p, comparedAgain)
		return err
	}
	if answer.GetIncarnation() == "" {
		return s.compareNow(ctx, vault, func([]record.Key) error { return nil })
	}
	f, err := s.find(nil, answer)
	if err != nil {
		return err
	}
	newer := make(map[record.Key]bool, len(old.newer)+len(f.newer))
	maps.Copy(newer, old.newer)
	for _, one := range f.newer {
		newer[one.key] = true
	}
	s.agree(p, old.at, momentFromWire(answer), newer)
	return nil
}

// findings are what part of a comparison shows.
type findings struct {
	// newer there, and missing here, are the survivor's; behind counts what is here and
	// older there, or not there.
	newer, missing []foundSecret
	behind         int
}

type foundSecret struct {
	key  record.Key
	name string
	// deleted is set if it is deleted there.
	deleted bool
}

func (s *survivor) compared(vault secret.VaultID) service.Compared {
	return service.Compared{Vault: vault, Home: s.lost, For: []secret.RegionName{s.Region, s.peer}}
}

func (s *survivor) comparing() *comparing {
	return &comparing{client: s.client, Digester: s.Digester, local: s.Local, lost: s.lost}
}

// compare compares a vault and calls found with what differs, part by part. Of several
// vaults no more are compared once the survivor did not answer.
func (s *survivor) compare(ctx context.Context, vault secret.VaultID, found func(*findings) error) (own *bucketDigests, first *peerv1.CompareDigestsResponse, err error) {
	if gone := s.gone.Load(); gone != nil {
		return nil, nil, gone
	}
	own, first, err = s.comparing().compare(ctx, s.compared(vault), func(own map[record.Key]digested, answer *peerv1.CompareDigestsResponse) error {
		f, err := s.find(own, answer)
		if err != nil {
			return err
		}
		return found(f)
	})
	if e, ok := errors.AsType[*connect.Error](err); ok && (e.Code() == connect.CodeUnavailable || e.Code() == connect.CodeDeadlineExceeded) {
		s.gone.Store(e)
	}
	return own, first, err
}

// find tells what the survivor holds newer, of what was compared or it has received
// since. What it holds of a secret that has moved here already is not: that counts for
// more.
func (s *survivor) find(own map[record.Key]digested, answer *peerv1.CompareDigestsResponse) (f *findings, err error) {
	err = s.Local.View(func(view record.View) error {
		f = &findings{}
		there := map[string]bool{}
		for _, r := range answer.GetReplicas() {
			there[r.GetRecord()] = true
			key, order := record.Key(r.GetRecord()), orderFromWire(r)
			mine, compared := own[key]
			held := mine.order
			if !compared {
				o, _, err := holding(view, key)
				if err != nil {
					return err
				}
				held = o.Order
			}
			switch {
			case secret.Ahead(order, held) && held == (secret.Order{}):
				f.missing = append(f.missing, foundSecret{key, r.GetName(), r.GetDeleted()})
			case secret.Ahead(order, held):
				f.newer = append(f.newer, foundSecret{key, mine.name, r.GetDeleted()})
			case order == held && compared:
				s.Logger.Error("two regions have different content under the same order", "record", key, "order", order.String(), "source", s.peer)
			case compared:
				f.behind++
			}
		}
		for _, key := range answer.GetDiffering() {
			if !there[key] && !own[record.Key(key)].deleted { // what is deleted may be forgotten there
				f.behind++
			}
		}
		return nil
	})
	return f, err
}
