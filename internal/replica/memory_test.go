package replica_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// vaultName is a record of which something is kept, other than of a secret's name.
func vaultName(n int) record.Key { return record.VaultNameKey("a", fmt.Sprintf("n%05d", n)) }

func (h *host) view(fn func(record.Memory)) {
	h.t.Helper()
	if err := h.View(func(v record.View) error {
		fn(v.(record.Memory))
		return nil
	}); err != nil {
		h.t.Error(err)
	}
}

func (h *host) recall(key record.Key) (kept any) {
	h.t.Helper()
	h.view(func(m record.Memory) { kept = m.Recall(key) })
	return kept
}

func (h *host) keep(key record.Key, value any) {
	h.t.Helper()
	h.view(func(m record.Memory) { m.Keep(key, value) })
}

// What readers make of a record is kept for those who see it as it is, and for nobody
// else.
func TestWhatIsKeptEndsWithTheRecord(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	h.wait(m.put(vaultName(1), ref(1)))
	h.keep(vaultName(1), "one")
	if got := h.recall(vaultName(1)); got != "one" {
		t.Errorf("recalls %v", got)
	}
	if got := h.recall(vaultName(2)); got != nil {
		t.Errorf("of another key it recalls %v", got)
	}
	h.keep(vaultName(1), "changed")
	if got := h.recall(vaultName(1)); got != "changed" {
		t.Errorf("what was kept last is %v", got)
	}
	for i := range 5000 { // more than there is room for
		h.keep(record.Key(fmt.Sprint(i)), i)
	}
	if got := h.recall("4999"); got != 4999 {
		t.Errorf("what was kept last is %v", got)
	}
	h.keep(name(1), "never")
	if got := h.recall(name(1)); got != nil {
		t.Errorf("of a name of a secret it recalls %v", got)
	}
	h.keep(vaultName(1), "one")
	h.wait(m.put(name(1), ref(2)))
	if got := h.recall(vaultName(1)); got != "one" {
		t.Errorf("after the change of another record it recalls %v", got)
	}
	for what, change := range map[string]func() int64{
		"change": func() int64 { return m.put(vaultName(1), ref(3)) }, "deletion": func() int64 { return m.delete(vaultName(1)) },
	} {
		h.wait(m.put(vaultName(1), ref(4)))
		h.keep(vaultName(1), "one")
		h.wait(change())
		if got := h.recall(vaultName(1)); got != nil {
			t.Errorf("after the %s it recalls %v", what, got)
		}
	}
}

// The older copy of a credential in quarantine is not served, nor what was made of it.
func TestWhatIsKeptEndsWithQuarantine(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	key := record.CredentialKey("c1")
	h.wait(m.put(key, record.Credentials.Encode(&secret.Credential{ID: "c1", Account: "a1", Principal: "p1", Kind: secret.Token})))
	h.keep(key, "decoded")
	h.wait(m.put(key, unknown))
	if got := h.recall(key); got != nil {
		t.Errorf("recalls %v", got)
	}
}

// A view that began before a commit recalls nothing that was made after it, and what it
// keeps is not for those that began later.
func TestWhatIsKeptIsOfTheViewsState(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	h.wait(m.put(vaultName(1), ref(1)))
	h.view(func(older record.Memory) {
		older.Keep(vaultName(1), "old")
		h.wait(m.put(vaultName(1), ref(2)))
		h.view(func(newer record.Memory) {
			if got := newer.Recall(vaultName(1)); got != nil {
				t.Errorf("the newer view recalls %v", got)
			}
			newer.Keep(vaultName(1), "new")
			if got := older.Recall(vaultName(1)); got != nil {
				t.Errorf("the older view recalls %v", got)
			}
			older.Keep(vaultName(1), "old")
			if got := newer.Recall(vaultName(1)); got != "new" {
				t.Errorf("the newer view recalls %v", got)
			}
		})
	})
	if got := h.recall(vaultName(1)); got != "new" {
		t.Errorf("a view after both recalls %v", got)
	}
}

// Readers that remember see the same as those that do not, while records change in pairs.
func TestWhatIsRememberedIsWhatIsStored(t *testing.T) {
	const pairs, readers, commits = 3, 4, 400
	m := newMemory()
	h := start(t, options(t, m))
	pair := func(n int) (a, b record.Key) { return vaultName(2 * n), vaultName(2*n + 1) }
	change := func(n, to int) int64 {
		a, b := pair(n)
		return m.commit(record.Write{Key: a, Value: ref(to)}, record.Write{Key: b, Value: ref(to)})
	}
	for n := range pairs {
		h.wait(change(n, 0))
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	for r := range readers {
		reading.Go(func() {
			for i := r; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				a, b := pair(i % pairs)
				if err := h.View(func(v record.View) error { return sameRemembered(v, a, b) }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range commits {
		last := change(i%pairs, i)
		if i%8 == 0 {
			h.wait(last)
		}
	}
	close(done)
	reading.Wait()
}

func sameRemembered(v record.View, keys ...record.Key) error {
	first := ""
	for i, key := range keys {
		id, _, err := record.Lookup(v, key)
		if err != nil {
			return err
		}
		stored, _, err := v.Get(key)
		if err != nil {
			return err
		}
		if is, err := record.DecodeReference(stored.Value); err != nil || is != id {
			return fmt.Errorf("%s is %s, and remembered as %s, %w", key, is, id, err)
		}
		if i == 0 {
			first = id
		}
		if id != first {
			return fmt.Errorf("%s is remembered as %s, %s as %s; they change together", keys[0], first, key, id)
		}
	}
	return nil
}
