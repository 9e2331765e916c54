package replication

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Outbound is one control process's part in telling other regions. Safe for
// concurrent use.
type Outbound struct {
	Region  secret.RegionName
	Queue   *queue.Queue
	Routes  *Routes
	Senders map[secret.RegionName]*Sender
	Local   Copy
	direct  deliveries
}

// NewOutbound returns the part of a region. delivered is told what came of what Deliver
// brings to targets.
func NewOutbound(region secret.RegionName, q *queue.Queue, routes *Routes, local Copy, delivered func([]pipeline.Delivery)) *Outbound {
	return &Outbound{Region: region, Queue: q, Routes: routes, Local: local, Senders: make(map[secret.RegionName]*Sender), direct: deliveries{ended: delivered}}
}

// Changed takes note of what the local store applied. Call it before the
// pipeline's, which enqueues what it hears of.
func (o *Outbound) Changed(changes []record.Change) error {
	err := o.Routes.Changed(changes) // before a Sender sends what goes other ways now
	o.Queue.Changed(changes)
	for _, s := range o.Senders {
		s.Changed(changes)
	}
	return err
}

// Load takes up what the local store holds. Call it when the local store has been
// opened and whenever it has resynchronised, before the pipeline's.
func (o *Outbound) Load() error {
	if err := o.Local.View(o.Routes.Load); err != nil {
		return err
	}
	if err := o.Queue.Load(); err != nil {
		return err
	}
	for _, s := range o.Senders {
		signal(s.synchronising)
	}
	return nil
}

// Enqueue adds to the transaction that finishes a mutation what tells its targets, but
// those that have received it. It implements pipeline.Options.
func (o *Outbound) Enqueue(view record.View, txn *record.Txn, m pipeline.Mutation, received []secret.RegionName) error {
	targets, err := o.Routes.Targets(view, m.Record)
	if err == nil {
		lacking := slices.DeleteFunc(slices.Clone(targets), func(r secret.RegionName) bool { return slices.Contains(received, r) })
		o.Queue.Enqueue(txn, lacking, m.Record, m.Committed)
	}
	return err
}

// WaitReceived waits until at least n targets have received the state of a record
// that committed at revision, or ctx ends. It answers which have, and of which that
// is not known.
func (o *Outbound) WaitReceived(ctx context.Context, key record.Key, revision int64, n int) (received, outstanding []secret.RegionName) {
	if o.Local.WaitApplied(ctx, revision) != nil {
		return nil, nil
	}
	for {
		var seen int64
		var changed <-chan struct{}
		var err error
		received, outstanding, seen, changed, err = o.received(key)
		if err == nil && (len(received) >= n || len(outstanding) == 0) {
			return received, outstanding
		}
		if o.wait(ctx, max(seen, revision)+1, changed); ctx.Err() != nil {
			return received, outstanding
		}
	}
}

// wait returns when the local store has reached a revision, changed is closed or ctx
// ends.
func (o *Outbound) wait(ctx context.Context, revision int64, changed <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	})
	_ = o.Local.WaitApplied(ctx, revision)
}

// received answers which targets lack nothing of a record, as of a revision that
// the local store had reached before.
func (o *Outbound) received(key record.Key) (received, outstanding []secret.RegionName, seen int64, changed <-chan struct{}, err error) {
	seen = o.Local.Applied()
	err = o.Local.View(func(view record.View) error {
		received, outstanding = nil, nil
		targets, err := o.Routes.Targets(view, key)
		if err != nil {
			return err
		}
		work, open, err := view.Get(record.WorkKey(key))
		if err != nil {
			return err
		}
		var directly []secret.RegionName
		directly, changed = o.direct.receivedBy(key, work.Revision)
		for _, target := range targets {
			_, waiting, err := view.Get(record.MessageKey(target, key))
			if err != nil {
				return err
			}
			if open && !slices.Contains(directly, target) || waiting || o.Queue.Status(target).Resynchronisation != nil {
				outstanding = append(outstanding, target)
			} else {
				received = append(received, target)
			}
		}
		return nil
	})
	return received, outstanding, seen, changed, err
}

// State is how far the last mutation of a record is at a target.
type State string

// The states.
const (
	Pending    State = "PENDING"
	InProgress State = "IN_PROGRESS"
	Received   State = "RECEIVED"
	InSync     State = "IN_SYNC"
	Failed     State = "FAILED"
	Paused     State = "PAUSED"
	// Promoted: the target has promoted its replica, and is none any more.
	Promoted State = "PROMOTED"
)

// TargetStatus is how far a record, or a vault, is at a target.
type TargetStatus struct {
	Region secret.RegionName
	State  State
	// Code, Reason, Attempts and NextTryAt are those of the last failure.
	Code      secret.Code
	Reason    string
	Attempts  int
	NextTryAt time.Time
	// Since is when the oldest mutation committed that the target lacks; zero if it
	// lacks none.
	Since time.Time
	// PendingSecrets and FailedSecrets count those of a vault, up to about countMost.
	PendingSecrets, FailedSecrets int
	// Synchronising is set while the whole vault is synchronised, with how many
	// secrets that has sent, of how many that there were when it began.
	Synchronising               bool
	Synchronised, ToSynchronise uint64
}

// RecordStatus answers how far a record is at each target. Targets that have
// received it are asked, within the context, whether all their hosts have it.
func (o *Outbound) RecordStatus(ctx context.Context, view record.View, key record.Key) ([]TargetStatus, error) {
	targets, err := o.Routes.Targets(view, key)
	if err != nil {
		return nil, err
	}
	work, open, err := view.Get(record.WorkKey(key))
	if err != nil {
		return nil, err
	}
	all := make([]TargetStatus, 0, len(targets))
	for _, target := range targets {
		s, err := o.messageStatus(view, target, key)
		if err != nil {
			return nil, err
		}
		if open && s.State == Received {
			item, err := record.WorkItems.Decode(work.Value)
			if err != nil {
				return nil, err
			}
			s.State, s.Since = Pending, record.FromNanos(item.GetCommittedAt())
		}
		if s.State == Received && o.cleared(ctx, target, key) {
			s.State = InSync
		}
		all = append(all, s)
	}
	promoted, err := o.promotedIn(view, key)
	return append(all, promoted...), err
}

// promotedIn are the regions that have promoted their replica of a secret.
func (o *Outbound) promotedIn(view record.View, key record.Key) (all []TargetStatus, err error) {
	if !key.HasPrefix(record.SecretPrefix) {
		return nil, nil
	}
	sec, _, err := record.Load(view, record.Secrets, key)
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, region := range sec.PromotedElsewhere() {
		all = append(all, TargetStatus{Region: region, State: Promoted})
	}
	return all, nil
}

func (o *Outbound) messageStatus(view record.View, target secret.RegionName, key record.Key) (TargetStatus, error) {
	s := TargetStatus{Region: target, State: Received}
	stored, waiting, err := view.Get(record.MessageKey(target, key))
	if mark := o.Queue.Status(target).Resynchronisation; err == nil && !waiting && mark != nil {
		s.State, s.Since, s.Reason = Pending, record.FromNanos(mark.GetWantedAt()), mark.GetReason()
	}
	if err != nil || !waiting {
		return s, err
	}
	m, err := record.Messages.Decode(stored.Value)
	if err != nil {
		return s, err
	}
	queued := o.Queue.Status(target)
	s.Since, s.Attempts = record.FromNanos(m.GetSince()), int(m.GetAttempts())
	s.Code, s.Reason, s.NextTryAt = secret.Code(m.GetFailureCode()), m.GetFailureReason(), record.FromNanos(m.GetNextTryAt())
	switch {
	case queued.Paused:
		s.State = Paused
	case s.Attempts > 0:
		s.State = Failed
	case o.Queue.InFlight(target, key):
		s.State = InProgress
	default:
		s.State = Pending
	}
	return s, nil
}

// cleared asks a target whether all its hosts have a record; an answer that does
// not come is no.
func (o *Outbound) cleared(ctx context.Context, target secret.RegionName, key record.Key) bool {
	s := o.Senders[target]
	if s == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	held, err := s.held(ctx, []record.Key{key})
	return err == nil && held[key].cleared
}

// countMost bounds the messages that are counted for the status of a vault.
const countMost = 10_000

// VaultStatus answers how far the secrets of a vault are at each region that holds
// it.
func (o *Outbound) VaultStatus(view record.View, vault *secret.Vault) ([]TargetStatus, error) {
	open, err := o.openItems(view, vault.ID)
	if err != nil {
		return nil, err
	}
	var all []TargetStatus
	for _, region := range vault.Replication.Holders() {
		s := TargetStatus{Region: region, State: Received}
		if err := o.countMessages(view, vault.ID, &s); err != nil {
			return nil, err
		}
		if err := s.countOpen(view, open[region]); err != nil {
			return nil, err
		}
		sync, _, err := record.Load(view, record.Synchronisations, record.SynchronisationKey(region, vault.ID, ""))
		if err == nil {
			s.Synchronising, s.Synchronised, s.ToSynchronise = true, sync.GetDone(), sync.GetTotal()
			if s.Since.IsZero() {
				s.Since = record.FromNanos(sync.GetStartedAt())
			}
		}
		queued := o.Queue.Status(region)
		if mark := queued.Resynchronisation; mark != nil {
			s.Synchronising, s.Reason = true, cmp.Or(s.Reason, mark.GetReason())
			if s.Since.IsZero() {
				s.Since = record.FromNanos(mark.GetWantedAt())
			}
		}
		switch {
		case queued.Paused:
			s.State = Paused
		case s.FailedSecrets > 0:
			s.State = Failed
		case s.PendingSecrets > 0 || s.Synchronising:
			s.State = Pending
		}
		all = append(all, s)
	}
	return all, nil
}

// openItem is a secret with an open work item.
type openItem struct {
	secret    record.Key
	committed time.Time
}

// openItems returns, for each target, the secrets of a vault that have no message yet,
// up to countMost.
func (o *Outbound) openItems(view record.View, vault secret.VaultID) (open map[secret.RegionName][]openItem, err error) {
	open = make(map[secret.RegionName][]openItem)
	prefix := record.WorkKey(record.Key(record.SecretPrefix + string(vault) + "/"))
	n := 0
	var inner error
	err = view.Scan(prefix, record.PrefixEnd(string(prefix)), func(stored record.Stored) bool {
		item, err := record.WorkItems.Decode(stored.Value)
		if inner = err; err != nil {
			return false
		}
		key := stored.Key[len(record.WorkPrefix):]
		targets, err := o.Routes.Targets(view, key)
		if inner = err; err != nil {
			return false
		}
		for _, target := range targets {
			open[target] = append(open[target], openItem{key, record.FromNanos(item.GetCommittedAt())})
		}
		n++
		return n < countMost
	})
	return open, errors.Join(err, inner)
}

// countOpen adds the items of secrets for which no message waits.
func (s *TargetStatus) countOpen(view record.View, open []openItem) error {
	for _, item := range open {
		_, waiting, err := view.Get(record.MessageKey(s.Region, item.secret))
		if err != nil {
			return err
		}
		if waiting {
			continue
		}
		s.PendingSecrets++
		if s.Since.IsZero() || item.committed.Before(s.Since) {
			s.Since = item.committed
		}
	}
	return nil
}

func (o *Outbound) countMessages(view record.View, vault secret.VaultID, s *TargetStatus) error {
	prefix := record.MessageKey(s.Region, record.Key(record.SecretPrefix+string(vault)+"/"))
	var decodeErr error
	err := view.Scan(prefix, record.PrefixEnd(string(prefix)), func(stored record.Stored) bool {
		m, err := record.Messages.Decode(stored.Value)
		if decodeErr = err; err != nil {
			return false
		}
		if since := record.FromNanos(m.GetSince()); s.Since.IsZero() || since.Before(s.Since) {
			s.Since = since
		}
		s.PendingSecrets++
		if m.GetAttempts() > 0 {
			s.FailedSecrets++
			s.Code, s.Reason = secret.Code(m.GetFailureCode()), m.GetFailureReason()
		}
		return s.PendingSecrets < countMost
	})
	if err == nil {
		err = decodeErr
	}
	return err
}

// Targets returns the regions that this one can send to, sorted.
func (o *Outbound) Targets() []secret.RegionName {
	var all []secret.RegionName
	for region := range o.Senders {
		all = append(all, region)
	}
	slices.Sort(all)
	return all
}
