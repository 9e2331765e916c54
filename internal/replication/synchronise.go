package replication

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// syncPage is how many records a synchronisation reads and sends at a time,
	// after each of which it notes how far it came.
	syncPage = 500
	// retryAfter is how long a synchronisation rests that could not go on.
	retryAfter = 2 * time.Second
	// clearsIn is how long it rests if the vault's own mutation is under way still.
	clearsIn = 50 * time.Millisecond
	// lookEvery bounds how late a synchronisation is noticed of which no change
	// tells.
	lookEvery = 30 * time.Second
)

// runSynchronisations does what synchronisation records of the target ask for,
// until ctx ends. Each is one vault, or one secret, that becomes the target's or
// is so no more.
func (s *Sender) runSynchronisations(ctx context.Context) {
	for ctx.Err() == nil {
		wait := lookEvery
		todo, err := s.todo()
		for _, t := range todo {
			if err != nil && !errors.Is(err, service.ErrNotCleared) && !errors.Is(err, service.ErrCutOff) {
				break
			}
			// One record that is not cleared, or cut off for a drill, does not hold up others.
			err = cmp.Or(s.synchronise(ctx, t), err)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.Logger.Info("a synchronisation cannot go on now; it will", "target", s.Target, "error", err)
			}
			wait = retryAfter
			if errors.Is(err, service.ErrNotCleared) || errors.Is(err, errReadAgain) {
				wait = clearsIn
			}
		}
		select {
		case <-ctx.Done():
		case <-s.synchronising:
		case <-time.After(wait):
		}
	}
}

// todo is a synchronisation as the local store holds it.
type todo struct {
	*recordpb.Synchronisation
	key      record.Key
	revision int64
}

func (s *Sender) todo() (all []*todo, err error) {
	prefix := record.SynchronisationPrefix + string(s.Target) + "/"
	err = s.Local.View(func(view record.View) error {
		var decodeErr error
		err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
			var sync *recordpb.Synchronisation
			if sync, decodeErr = record.Synchronisations.Decode(stored.Value); decodeErr != nil {
				return false
			}
			all = append(all, &todo{Synchronisation: sync, key: stored.Key, revision: stored.Revision})
			return true
		})
		return errors.Join(err, decodeErr)
	})
	return all, err
}

func (s *Sender) synchronise(ctx context.Context, t *todo) error {
	// The routes must know as well what the local store does.
	if err := s.Local.WaitApplied(ctx, t.revision); err != nil {
		return err
	}
	vault := record.VaultKey(secret.VaultID(t.GetVault()))
	if t.GetKind() == service.Promoted {
		if err := s.tellPromoted(ctx, record.SecretKey(secret.ID(t.GetSecret()))); err != nil {
			return err
		}
		return s.finish(ctx, t)
	}
	if err := s.count(ctx, t); err != nil {
		return err
	}
	// Who gives up one secret goes on to hold the vault, and may not have it yet: a
	// release takes the place of a synchronisation that was not done.
	if t.GetBookmark() == "" && (t.GetKind() == service.Synchronise || t.GetSecret() != "") {
		if err := s.sendAccountOf(ctx, vault); err != nil {
			return err
		}
	}
	if err := s.sendAll(ctx, []record.Key{vault}); err != nil {
		return err
	}
	switch {
	case t.GetSecret() != "" && t.GetKind() == service.Release:
		if err := s.release(ctx, record.SecretKey(secret.ID(t.GetSecret()))); err != nil {
			return err
		}
	case t.GetSecret() != "":
		if err := s.sendAll(ctx, []record.Key{record.SecretKey(secret.ID(t.GetSecret()))}); err != nil {
			return err
		}
	case t.GetKind() == service.Synchronise:
		if err := s.sendSecrets(ctx, t); err != nil {
			return err
		}
	}
	return s.finish(ctx, t)
}

// release tells the target that a secret is not meant for it any more. Clearing the
// mutation that says so does not, since the target is none by then: it is waited
// for here.
func (s *Sender) release(ctx context.Context, key record.Key) error {
	fates := s.send(ctx, parcelsOf(key))
	if err := fates[key].err; errors.Is(err, service.ErrNotCleared) {
		return err
	}
	return s.settleAll(ctx, fates, true)
}

// sendAccountOf sends who is in the vault's account. Who was deleted goes first: the
// target may not have heard of it, if it held nothing of the account for a while, and
// somebody else may have the name by now.
func (s *Sender) sendAccountOf(ctx context.Context, vault record.Key) error {
	buried, live, err := s.accountOf(vault)
	if err != nil {
		return err
	}
	for page := range slices.Chunk(buried, syncPage) {
		if err := s.settleAll(ctx, s.send(ctx, parcelsOf(page...)), false); err != nil {
			return err
		}
	}
	for page := range slices.Chunk(live, syncPage) {
		if err := s.sendAll(ctx, page); err != nil {
			return err
		}
	}
	return nil
}

// accountOf returns the keys of what is deleted of a vault's account, and of what is not.
func (s *Sender) accountOf(vault record.Key) (buried, live []record.Key, err error) {
	err = s.Local.View(func(view record.View) error {
		v, _, err := record.Load(view, record.Vaults, vault)
		if errors.Is(err, record.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if buried, err = record.BuriedIdentityKeys(view, v.Account); err == nil {
			live, err = record.IdentityKeys(view, v.Account)
		}
		live = append([]record.Key{record.AccountKey(v.Account)}, live...)
		return err
	})
	return buried, live, err
}

// sendSecrets sends the secrets of a vault from the bookmark on.
func (s *Sender) sendSecrets(ctx context.Context, t *todo) error {
	limit := rate.NewLimiter(rate.Limit(s.SynchronisePerSecond), syncPage)
	prefix := record.SecretPrefix + t.GetVault() + "/"
	for {
		keys, err := s.page(record.Key(prefix+t.GetBookmark()), record.PrefixEnd(prefix))
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := limit.WaitN(ctx, len(keys)); err != nil {
			return err
		}
		wanted, err := s.withoutParted(keys)
		if err != nil {
			return err
		}
		if err := s.sendAll(ctx, wanted); err != nil {
			return err
		}
		t.Bookmark = string(keys[len(keys)-1][len(prefix):]) + "\x00"
		t.Done += uint64(len(keys))
		if err := s.note(ctx, t); err != nil {
			return err
		}
	}
}

// count notes how much a synchronisation of a vault has to do, so that people see
// how far it is.
func (s *Sender) count(ctx context.Context, t *todo) error {
	if t.GetKind() != service.Synchronise || t.GetSecret() != "" || t.GetTotal() > 0 {
		return nil
	}
	prefix := record.SecretPrefix + t.GetVault() + "/"
	err := s.Local.View(func(view record.View) error {
		return view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(record.Stored) bool {
			t.Total++
			return ctx.Err() == nil
		})
	})
	if err != nil || t.GetTotal() == 0 {
		return err
	}
	return s.note(ctx, t)
}

// page returns the keys of the first records of a range.
func (s *Sender) page(start, end record.Key) (keys []record.Key, err error) {
	err = s.Local.View(func(view record.View) error {
		return view.Scan(start, end, func(stored record.Stored) bool {
			keys = append(keys, stored.Key)
			return len(keys) < syncPage
		})
	})
	return keys, err
}

// note stores how far a synchronisation came.
func (s *Sender) note(ctx context.Context, t *todo) error {
	var txn record.Txn
	txn.Require(t.key, t.revision)
	txn.Put(t.key, record.Synchronisations.Encode(t.Synchronisation))
	revision, err := s.Store.Commit(ctx, txn)
	if err == nil {
		t.revision = revision
	}
	return err
}

// finish deletes a synchronisation, unless it was asked for anew meanwhile.
func (s *Sender) finish(ctx context.Context, t *todo) error {
	var txn record.Txn
	txn.Require(t.key, t.revision)
	txn.Delete(t.key)
	revision, err := s.Store.Commit(ctx, txn)
	if secret.HasCode(err, secret.CodeStale) {
		signal(s.synchronising)
		return nil
	}
	if err != nil {
		return err
	}
	s.Logger.Info("synchronised", "target", s.Target, "vault", t.GetVault(), "secret", t.GetSecret(), "kind", t.GetKind(), "records", t.GetDone())
	return s.Local.WaitApplied(ctx, revision)
}

// sendAll sends records of a synchronisation. What the target refuses gets a
// message, and is from then on like any other failure. What is not cleared gets one
// too: whoever clears it may have found out before whom to tell. An error means that
// the rest must be sent again.
func (s *Sender) sendAll(ctx context.Context, keys []record.Key) error {
	return s.settleAll(ctx, s.send(ctx, parcelsOf(keys...)), true)
}

// settleAll is what sendAll does with the fates of records. needed says that what is no
// secret must be there before the rest.
func (s *Sender) settleAll(ctx context.Context, fates map[record.Key]fate, needed bool) error {
	var left []record.Key
	for key, fate := range fates {
		needed := needed && !key.HasPrefix(record.SecretPrefix)
		switch {
		case fate.err == nil:
		case errors.Is(fate.err, service.ErrNotCleared) && !needed:
			left = append(left, key)
		case fate.unreachable || fate.rest > 0:
			return fate.err
		case secret.HasCode(fate.err, secret.CodeUnavailable), needed:
			return fate.err
		default:
			left = append(left, key)
		}
	}
	return s.enqueue(ctx, left)
}

// enqueue leaves messages of records.
func (s *Sender) enqueue(ctx context.Context, keys []record.Key) error {
	for batch := range slices.Chunk(keys, batchMessages/2) {
		var txn record.Txn
		for _, key := range batch {
			s.Queue.Enqueue(&txn, []secret.RegionName{s.Target}, key, s.Now())
		}
		if _, err := s.Store.Commit(ctx, txn); err != nil {
			return err
		}
	}
	return nil
}

// runResynchronisations compares everything that the target is meant to have, when
// its queue ran over, until ctx ends.
func (s *Sender) runResynchronisations(ctx context.Context) {
	for {
		if err := s.Queue.WaitResynchronise(ctx, s.Target); err != nil {
			return
		}
		if err := s.resynchronise(ctx); err != nil && ctx.Err() == nil {
			s.Logger.Info("the resynchronisation cannot go on now; it will", "target", s.Target, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(retryAfter):
			}
		}
	}
}

func (s *Sender) resynchronise(ctx context.Context) error {
	if _, err := s.held(ctx, nil); err != nil {
		return err // not reached: a mark that has not begun takes what overflows meanwhile
	}
	revision, err := s.Queue.BeginResynchronise(ctx, s.Target)
	if err != nil {
		return err
	}
	if err := s.Local.WaitApplied(ctx, revision); err != nil {
		return err
	}
	began := s.Now()
	sent, err := s.sendLacking(ctx)
	if err != nil {
		return err
	}
	if err := s.Queue.EndResynchronise(ctx, s.Target, revision); err != nil {
		return err
	}
	s.Logger.Info("resynchronised", "target", s.Target, "records_sent", sent, "took", s.Now().Sub(began))
	return nil
}

// sendLacking sends everything of which the target has another order.
func (s *Sender) sendLacking(ctx context.Context) (sent int, err error) {
	limit := rate.NewLimiter(rate.Limit(s.SynchronisePerSecond), syncPage)
	accounts := make(map[secret.AccountID]bool)
	for _, vault := range s.Routes.SharedWith(s.Target) {
		if account := s.Routes.accountOf(vault); !accounts[account] {
			if err := s.sendAccountOf(ctx, record.VaultKey(vault)); err != nil {
				return sent, err
			}
			accounts[account] = true
		}
		if err := s.sendAll(ctx, []record.Key{record.VaultKey(vault)}); err != nil {
			return sent, err
		}
		prefix := record.SecretPrefix + string(vault) + "/"
		n, err := s.sendDiffering(ctx, limit, prefix)
		if sent += n; err != nil {
			return sent, err
		}
	}
	n, err := s.sendTombstones(ctx)
	return sent + n, err
}

func (s *Sender) sendDiffering(ctx context.Context, limit *rate.Limiter, prefix string) (sent int, err error) {
	for start := record.Key(prefix); ; {
		keys, err := s.page(start, record.PrefixEnd(prefix))
		if err != nil || len(keys) == 0 {
			return sent, err
		}
		start = keys[len(keys)-1] + "\x00"
		lacking, err := s.lacking(ctx, keys)
		if err != nil {
			return sent, err
		}
		if err := limit.WaitN(ctx, len(lacking)); err != nil {
			return sent, err
		}
		if err := s.sendAll(ctx, lacking); err != nil {
			return sent, err
		}
		sent += len(lacking)
	}
}

// lacking returns those of the records that are meant for the target and of which
// it has another order.
func (s *Sender) lacking(ctx context.Context, keys []record.Key) (lacking []record.Key, err error) {
	theirs, err := s.held(ctx, keys)
	if err != nil {
		return nil, err
	}
	err = s.Local.View(func(view record.View) error {
		for _, key := range keys {
			ours, _, err := holding(view, key)
			if err != nil {
				return err
			}
			targets, err := s.Routes.Targets(view, key)
			if err != nil {
				return err
			}
			if slices.Contains(targets, s.Target) && theirs[key].order != ours.Order.String() {
				lacking = append(lacking, key)
			}
		}
		return nil
	})
	return lacking, err
}

// held is what the target has of a record.
type held struct {
	order   string
	cleared bool
}

// held asks the target what it has of some records.
func (s *Sender) held(ctx context.Context, keys []record.Key) (map[record.Key]held, error) {
	ctx, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	req := &peerv1.GetHeldRequest{}
	for _, key := range keys {
		req.Records = append(req.Records, string(key))
	}
	answer, err := s.Client.GetHeld(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	all := make(map[record.Key]held, len(keys))
	for _, h := range answer.Msg.GetHeld() {
		all[record.Key(h.GetRecord())] = held{order: h.GetOrder(), cleared: h.GetCleared()}
	}
	return all, nil
}

// sendTombstones sends what is left of deleted records that the target may hold.
func (s *Sender) sendTombstones(ctx context.Context) (sent int, err error) {
	for start := record.Key(record.TombstonePrefix); ; {
		graves, err := s.page(start, record.PrefixEnd(record.TombstonePrefix))
		if err != nil || len(graves) == 0 {
			return sent, err
		}
		start = graves[len(graves)-1] + "\x00"
		var keys []record.Key
		err = s.Local.View(func(view record.View) error {
			for _, grave := range graves {
				key := grave[len(record.TombstonePrefix):]
				targets, err := s.Routes.Targets(view, key)
				if err != nil {
					return err
				}
				if slices.Contains(targets, s.Target) {
					keys = append(keys, key)
				}
			}
			return nil
		})
		if err != nil {
			return sent, err
		}
		if err := s.sendAll(ctx, keys); err != nil {
			return sent, err
		}
		sent += len(keys)
	}
}
