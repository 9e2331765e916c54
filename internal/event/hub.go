// Package event hands the events of mutations to those who watch. An event is an
// outbox record, committed in the transaction of the mutation itself; a process
// learns of it from the change feed.
package event

import (
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Event is one mutation, at the revision of the store that committed it.
type Event struct {
	*recordpb.Event
	Revision int64
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
	// last is the revision of the last event.
	last int64
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
	for _, c := range changes {
		h.revision = max(h.revision, c.Revision)
		if c.Deleted || len(h.subscriptions) == 0 || !c.Key.HasPrefix(record.OutboxPrefix) {
			continue
		}
		e, err := record.Events.Decode(c.Value)
		if err != nil {
			continue // the local store reports what it cannot decode
		}
		if c.Revision < h.last {
			// The local store resynchronises and shows events again, in the order of
			// their keys. Watchers resume from the store, which has them in order.
			h.dropAll()
		}
		h.last = c.Revision
		for s := range h.subscriptions {
			if string(s.vault) == e.GetVault() {
				h.deliver(s, Event{Event: e, Revision: c.Revision})
			}
		}
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
	h.revision, h.last = 0, 0
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
