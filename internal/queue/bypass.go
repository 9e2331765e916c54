package queue

import (
	"unique"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MayBypass reports whether a mutation of a record may be delivered to a target without
// a message: none of the record waits, and nothing keeps messages from being taken. A
// target that must be compared, or was not reached, gets messages.
func (q *Queue) MayBypass(name secret.RegionName, key record.Key) bool {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	_, paused := t.paused(q.Now())
	return t.loaded && !paused && t.resync == nil && t.unreachable == 0 && t.entries[unique.Make(key)] == nil
}

// Bypassed counts mutations that were delivered without messages.
func (q *Queue) Bypassed(name secret.RegionName, n int) {
	t := q.target(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done.add(q.Now(), n)
}
