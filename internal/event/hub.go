// Package event hands the events of mutations to those who watch. An event is an
// outbox record, committed in the transaction of the mutation itself; a process
// learns of it from the change feed.
package event

import (
	"cmp"
	"slices"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Event is one mutation, at the revision of the store that committed it. Mutations
// that committed together share a revision; then the order is that of their IDs.
type Event struct {
	*recordpb.Event
	Revision int64
}

// Compare is negative if e comes before the event of that revision and ID.
func (e *Event) Compare(revision int64, id string) int {
	return cmp.Or(cmp.Compare(e.Revision, revision), cmp.Compare(e.GetId(), id))
}

// subscriptionBuffer bounds the events that wait for one watcher. A watcher that
// falls further behind is cut off and resumes from its last event, so that it
// never holds up the feed.
const subscriptionBuffer = 1024

// Hub passes events on to subscriptions. The zero value is ready. Safe for
// concurrent use.
type Hub struct {
	mu            sync.Mutex
	subscriptions map[*Subscription]struct{}
	revision      int64
	// last and lastID are the revision and the ID of the last event.
	last   int64
	lastID string
	// dropped counts the subscriptions that the hub ended.
	dropped uint64
}

// Subscription receives the events of one vault.
type Subscription struct {
	// Events are in the order of their commits. The channel is closed when the
	// subscription ends; Overflow tells why.
	Events <-chan Event
	// Start is the last revision whose events are not in Events.
	Start int64

	hub      *Hub
	vault    secret.VaultID
	events   chan Event
	overflow bool
}

// Changed passes on the events among what the local store applied.
func (h *Hub) Changed(changes []record.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var events []Event
	for _, c := range changes {
		h.revision = max(h.revision, c.Revision)
		if c.Deleted || len(h.subscriptions) == 0 || !c.Key.HasPrefix(record.OutboxPrefix) {
			continue
		}
		if e, err := record.Events.Decode(c.Value); err == nil { // else the local store reports it
			events = append(events, Event{Event: e, Revision: c.Revision})
		}
	}
	h.sort(events)
	for _, e := range events {
		for s := range h.subscriptions {
			if string(s.vault) == e.GetVault() {
				h.deliver(s, e)
			}
		}
	}
}

// sort brings events that committed together into the order of their IDs. If they
// come before what was passed on already, the local store resynchronises and shows
// events again, in the order of their keys, or shows those of one revision one by
// one: watchers resume from the store, which has them in order.
func (h *Hub) sort(events []Event) {
	for first := 0; first < len(events); {
		n := 1
		for first+n < len(events) && events[first+n].Revision == events[first].Revision {
			n++
		}
		slices.SortFunc(events[first:first+n], func(a, b Event) int { return cmp.Compare(a.GetId(), b.GetId()) })
		first += n
	}
	for i := range events {
		if events[i].Compare(h.last, h.lastID) < 0 {
			h.dropAll()
		}
		h.last, h.lastID = events[i].Revision, events[i].GetId()
	}
}

func (h *Hub) deliver(s *Subscription, e Event) {
	select {
	case s.events <- e:
	default:
		h.cutOff(s)
	}
}

func (h *Hub) dropAll() {
	for s := range h.subscriptions {
		h.cutOff(s)
	}
}

func (h *Hub) cutOff(s *Subscription) {
	s.overflow = true
	h.dropped++
	h.drop(s)
}

// Counts returns how many subscriptions there are, and how many the hub has ended
// so that their readers resume.
func (h *Hub) Counts() (subscriptions int, dropped uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subscriptions), h.dropped
}

// Reset ends every subscription, as Overflow does, and forgets the revisions
// seen: the store has begun a new life, which counts anew, or the local store
// compares itself with all of it, which does not show events that are gone.
func (h *Hub) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropAll()
	h.revision, h.last, h.lastID = 0, 0, ""
}

func (h *Hub) drop(s *Subscription) {
	if _, ok := h.subscriptions[s]; ok {
		delete(h.subscriptions, s)
		close(s.events)
	}
}

// Subscribe returns the events of a vault from now on. Close it after use.
func (h *Hub) Subscribe(vault secret.VaultID) *Subscription {
	events := make(chan Event, subscriptionBuffer)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Subscription{Events: events, Start: h.revision, hub: h, vault: vault, events: events}
	if h.subscriptions == nil {
		h.subscriptions = make(map[*Subscription]struct{})
	}
	h.subscriptions[s] = struct{}{}
	return s
}

// Overflow reports whether the hub ended the subscription, because its reader
// was too slow, events came out of order or the hub was reset; the reader
// resumes.
func (s *Subscription) Overflow() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.overflow
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.drop(s)
}
