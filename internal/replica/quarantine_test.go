package replica_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// unknown is a record of a format that does not exist yet.
var unknown = []byte{200, 1, 2, 3}

func (h *host) mustHold(revisions ...int64) {
	h.t.Helper()
	held := h.Quarantined()
	if len(held) != len(revisions) || h.Position().Quarantined != int64(len(revisions)) {
		h.t.Fatalf("quarantined %+v, counts %d; want revisions %d", held, h.Position().Quarantined, revisions)
	}
	for i, q := range held {
		if q.Revision != revisions[i] || q.Reason == "" || q.Code == "" || q.At.IsZero() {
			h.t.Errorf("quarantined %+v, want revision %d", q, revisions[i])
		}
	}
}

func TestQuarantineKeepsTheOlderCopy(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	h.wait(m.put(name(1), ref(1)))
	bad := m.commit(record.Write{Key: name(1), Value: unknown}, record.Write{Key: name(2), Value: ref(2)})
	h.wait(bad)
	h.mustHave(name(1), ref(1))
	h.mustHave(name(2), ref(2))
	h.mustHold(bad)
	h = h.reopen()
	h.mustHold(bad)
	h.wait(m.put(name(1), ref(3)))
	h.mustHave(name(1), ref(3))
	h.mustHold()
}

func TestQuarantineIsLiftedByADeletion(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	bad := m.put(name(1), unknown)
	h.wait(bad)
	h.mustHold(bad)
	h.wait(m.delete(name(1)))
	h.mustHold()
	h.mustLack(name(1))
}

func TestQuarantineDuringResynchronisation(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	h.wait(m.put(name(1), ref(1)))
	gone := m.put(name(3), unknown)
	h.wait(gone)
	h.mustHold(gone)
	h.end()
	bad := m.put(name(1), unknown)
	m.put("no-such-kind/x", ref(1))
	m.put(name(2), ref(2))
	m.delete(name(3))
	m.compact()
	h = h.reopen()
	h.wait(m.head())
	h.mustHave(name(1), ref(1))
	h.mustHave(name(2), ref(2))
	h.mustHold(bad+1, bad)
}

func TestRetry(t *testing.T) {
	m := newMemory()
	h := start(t, options(t, m))
	h.wait(m.put(name(1), unknown))
	if err := h.Retry(within(t), name(1)); !secret.HasCode(err, secret.CodeUnknownFormat) {
		t.Errorf("still unknown: %v", err)
	}
	h.mustHold(1)
	if err := h.Retry(within(t), name(2)); !secret.HasCode(err, secret.CodeNotFound) && err != nil {
		t.Errorf("not in quarantine: %v", err)
	}
	m.sever(errCut)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h.until("disconnected", func(p replica.Position) bool { return !p.Connected })
	if err := h.Retry(ctx, name(1)); err == nil {
		t.Error("succeeds without the source")
	}
}

func TestOutboxIsPassedOnAndNotStored(t *testing.T) {
	m := newMemory()
	opts := options(t, m)
	events := make(chan record.Change, 10)
	opts.OnApply = func(changes []record.Change) {
		for _, ch := range changes {
			if ch.Key.HasPrefix(record.OutboxPrefix) {
				events <- ch
			}
		}
	}
	h := start(t, opts)
	key := record.OutboxKey("1")
	h.wait(m.commit(record.Write{Key: key, Value: ref(1)}, record.Write{Key: name(1), Value: ref(1)}))
	if ch := <-events; ch.Key != key || ch.Deleted {
		t.Errorf("event %+v", ch)
	}
	h.mustLack(key)
	h.wait(m.delete(key))
	if ch := <-events; ch.Key != key || !ch.Deleted {
		t.Errorf("event %+v", ch)
	}
	h.mustEqual(m)
}

// A revocation that cannot be read must not leave the credential in force.
func TestQuarantineWithholdsIdentities(t *testing.T) {
	account := &secret.Account{ID: "a1", Name: "one"}
	for key, value := range map[record.Key][]byte{
		record.CredentialKey("c1"):      record.Credentials.Encode(&secret.Credential{ID: "c1", Account: "a1", Principal: "p1", Kind: secret.Token}),
		record.PrincipalKey("a1", "p1"): record.Principals.Encode(&secret.Principal{ID: "p1", Account: "a1", Kind: secret.User, Name: "p"}),
		record.PolicyKey("a1", "p"):     record.Policies.Encode(&secret.Policy{Account: "a1", Name: "p", Text: "permit(principal,action,resource);"}),
		record.AccountKey("a1"):         record.Accounts.Encode(account),
	} {
		t.Run(string(key), func(t *testing.T) {
			m := newMemory()
			opts := options(t, m)
			told := make(chan record.Key, 100)
			opts.OnApply = func(changes []record.Change) {
				for _, ch := range changes {
					told <- ch.Key
				}
			}
			h := start(t, opts)
			h.wait(m.put(name(1), ref(1)))
			h.wait(m.put(key, value))
			h.mustHave(key, value)
			for len(told) > 0 {
				<-told
			}
			bad := m.put(key, unknown)
			h.wait(bad)
			if len(told) != 1 || <-told != key {
				t.Error("who keeps what was made of the record is not told")
			}
			mustWithhold := func() {
				t.Helper()
				if _, ok, err := h.get(key); ok || !secret.HasCode(err, secret.CodeCorrupt) {
					t.Errorf("get: %v, %v", ok, err)
				}
				prefix, _, _ := strings.Cut(string(key), "/")
				if err := h.scan(record.Key(prefix+"/"), record.PrefixEnd(prefix+"/")); !secret.HasCode(err, secret.CodeCorrupt) {
					t.Errorf("scan: %v", err)
				}
				if err := h.scan(key+"x", ""); err != nil {
					t.Errorf("scan of others: %v", err)
				}
				h.mustHave(name(1), ref(1))
			}
			mustWithhold()
			h.mustHold(bad)
			h = h.reopen()
			mustWithhold()
			h.wait(m.put(key, value))
			h.mustHave(key, value)
			h.mustEqual(m)
		})
	}
}

func (h *host) scan(start, end record.Key) error {
	return h.View(func(v record.View) error {
		return v.Scan(start, end, func(record.Stored) bool { return true })
	})
}
