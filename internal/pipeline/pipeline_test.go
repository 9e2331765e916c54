package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const someRecord = record.Key("secret/V/S")

func report(t testing.TB, p *pipeline.Pipeline, host string, applied int64, quarantined ...record.Key) {
	t.Helper()
	r := pipeline.Report{Host: host, Cell: "base", Address: host + ":1", Applied: applied}
	for _, key := range quarantined {
		r.Quarantined = append(r.Quarantined, pipeline.Quarantined{Record: key, Revision: applied, Reason: "bad"})
	}
	if err := p.Report(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

// settle lets the pipeline do all it can.
func settle() {
	time.Sleep(time.Second + time.Millisecond)
	synctest.Wait()
}

func TestAnItemWaitsForEveryLiveHostAndAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		revision := m.mutate(someRecord)
		settle()
		if !m.open(someRecord) {
			t.Fatal("cleared without any host")
		}
		report(t, p, "a", 0)
		report(t, p, "b", revision)
		report(t, p, "c", revision)
		settle()
		if !m.open(someRecord) {
			t.Fatal("cleared although the live host a has not applied it")
		}
		time.Sleep(2500 * time.Millisecond) // a is silent for longer than the others
		report(t, p, "b", revision)
		report(t, p, "c", revision)
		settle()
		if m.open(someRecord) {
			t.Fatal("not cleared although a is no longer live")
		}
		next := m.mutate(someRecord)
		time.Sleep(4 * time.Second)
		report(t, p, "b", next)
		settle()
		if !m.open(someRecord) {
			t.Fatal("cleared by one of three hosts")
		}
		if err := p.Forget(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		report(t, p, "b", next)
		settle()
		if !m.open(someRecord) {
			t.Fatal("cleared by one of two hosts")
		}
		if err := p.Forget(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		report(t, p, "b", next)
		settle()
		if m.open(someRecord) {
			t.Fatal("not cleared although the one registered host has it")
		}
		if err := p.Forget(t.Context(), "c"); !secret.HasCode(err, secret.CodeNotFound) {
			t.Fatalf("forgotten twice: %v", err)
		}
	})
}

func TestWhoWaitsIsToldWhenADeadHostNoLongerCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		report(t, p, "dead", 0)
		for _, host := range []string{"a", "b"} {
			report(t, p, host, 0)
		}
		revision := m.mutate(someRecord)
		began := time.Now()
		for range 3 {
			for _, host := range []string{"a", "b"} {
				report(t, p, host, revision)
			}
			time.Sleep(time.Second)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.WaitCleared(ctx, "", revision); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("told after %s", waited)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.WaitCleared(ctx, "", revision+1000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited for a revision that does not exist: %v", err)
		}
	})
}

func TestAQuarantinedRecordIsMarkedAndNotCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		revision := m.mutate(someRecord)
		other := record.Key("secret/V/other")
		revision = max(revision, m.mutate(other))
		keepReporting := func(quarantined ...record.Key) {
			for range 3 {
				report(t, p, "a", revision, quarantined...)
				report(t, p, "b", revision)
				settle()
			}
		}
		keepReporting(someRecord)
		if !m.open(someRecord) || !m.has(record.QuarantineKey(someRecord)) {
			t.Fatal("a record that a host cannot apply is cleared, or not marked")
		}
		if m.open(other) {
			t.Fatal("one bad record holds up another one")
		}
		failed, err := p.Failed(m.snapshot())
		if err != nil || len(failed) != 1 || failed[0].GetHost() != "a" || failed[0].GetReason() != "bad" || p.Status().Failed != 1 {
			t.Fatalf("failed: %v, %v", failed, err)
		}
		keepReporting()
		if m.open(someRecord) || m.has(record.QuarantineKey(someRecord)) {
			t.Fatal("not cleared, or still marked, although no host fails on it any more")
		}
	})
}

// A host that holds the secret but not the value of its version has not applied
// the mutation, which is of the secret.
func TestAValueThatAHostLacksFailsItsSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		version := record.VersionKey("V.S", "W")
		revision := m.mutate(someRecord)
		for range 3 {
			report(t, p, "a", revision, version)
			report(t, p, "b", revision)
			settle()
		}
		if !m.open(someRecord) || !m.has(record.QuarantineKey(someRecord)) {
			t.Fatal("the mutation of a secret whose value a host lacks is cleared, or not marked")
		}
		if err := p.WaitCleared(t.Context(), someRecord, revision); !secret.HasCode(err, secret.CodeUnavailable) {
			t.Fatalf("who waits for it is told %v", err)
		}
		for range 3 {
			report(t, p, "a", revision)
			report(t, p, "b", revision)
			settle()
		}
		if m.open(someRecord) || m.has(record.QuarantineKey(someRecord)) {
			t.Fatal("not cleared, or still marked, although every host has the value")
		}
	})
}

// A marked record stays so while it is not known that its host is well.
func TestAMarkStaysWhileTooFewHostsAreLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		revision := m.mutate(someRecord)
		report(t, p, "a", revision, someRecord)
		report(t, p, "b", revision)
		settle()
		time.Sleep(5 * time.Second)
		settle()
		if !m.has(record.QuarantineKey(someRecord)) || !m.open(someRecord) {
			t.Fatal("the mark is gone although nobody is live")
		}
	})
}

func TestAnItemThatIsPutAgainMeanwhileIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		report(t, p, "a", 0)
		first := m.mutate(someRecord)
		var second int64
		m.mu.Lock()
		m.before = func() { second = m.mutate(someRecord) }
		m.mu.Unlock()
		report(t, p, "a", first)
		settle()
		if !m.open(someRecord) || m.cleared[second] {
			t.Fatal("an item was cleared for which no host has reported")
		}
		report(t, p, "a", second)
		settle()
		if m.open(someRecord) {
			t.Fatal("the newer item is not cleared")
		}
	})
}

func TestAStoreThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		report(t, p, "a", 0)
		revision := m.mutate(someRecord)
		m.mu.Lock()
		m.down = secret.Errorf(secret.CodeUnavailable, "down")
		m.mu.Unlock()
		report(t, p, "a", revision)
		settle()
		if err := p.Report(t.Context(), pipeline.Report{Host: "new"}); err == nil || p.Registered("new") {
			t.Error("a host is registered that is not in the durable set")
		}
		m.mu.Lock()
		m.down = nil
		m.mu.Unlock()
		report(t, p, "a", revision)
		settle()
		if m.open(someRecord) {
			t.Fatal("not cleared after the store came back")
		}
	})
}

func TestWhatTheLocalStoreHoldsIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		item := func(key record.Key) record.Write {
			return record.Write{Key: record.WorkKey(key), Value: record.WorkItems.Encode(&recordpb.WorkItem{Record: string(key)})}
		}
		var load []record.Write
		for i := range 200 {
			load = append(load, item(record.Key(fmt.Sprintf("secret/V/%03d", 199-i))))
		}
		host := record.Hosts.Encode(&recordpb.Host{Id: "a", Address: "a:1", Cell: "base"})
		load = append(load, record.Write{Key: record.HostKey("a"), Value: host})
		m, p := start(t, load...)
		if s := p.Status(); s.Open != 200 || len(s.Hosts) != 1 || s.Hosts[0].Live {
			t.Fatalf("took up %+v", s)
		}
		report(t, p, "a", 1000)
		settle()
		if s := p.Status(); s.Open != 0 || len(m.keys()) != 1 {
			t.Fatalf("left over: %+v, %v", s, m.keys())
		}
	})
}

func TestOldEventsAreTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := start(t)
		put := func() record.Key {
			key := record.OutboxKey(ulid.MustNewDefault(time.Now()).String())
			m.write(record.Write{Key: key, Value: record.Events.Encode(&recordpb.Event{Type: "created"})})
			return key
		}
		old := put()
		time.Sleep(50 * time.Minute)
		young := put()
		if !m.has(old) {
			t.Error("an event is gone before its time")
		}
		time.Sleep(15 * time.Minute)
		settle()
		if !m.has(old) {
			t.Error("an event is gone before who is late can resume")
		}
		time.Sleep(10 * time.Minute)
		settle()
		if m.has(old) || !m.has(young) {
			t.Error("the events are not trimmed by their age")
		}
		if p.Status().Open != 0 {
			t.Error("events are taken for work")
		}
	})
}

// What tells other regions is written with the clearing or not at all; where it
// depends on something that changed, the mutation is cleared later.
func TestWhatTellsOtherRegionsIsPartOfTheClearing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mark, message := record.ResynchronisationKey("west"), record.MessageKey("west", someRecord)
		var marked int64
		tries := 0
		m, p := startWith(t, pipeline.Options{Enqueue: func(_ record.View, txn *record.Txn, mutation pipeline.Mutation, _ []secret.RegionName) error {
			if tries++; tries == 1 {
				return errors.New("it is not known yet whom to tell")
			}
			txn.Require(mark, marked)
			txn.Put(record.MessageKey("west", mutation.Record), record.Messages.Encode(&recordpb.Message{
				Record: string(mutation.Record), CommittedAt: mutation.Committed.UnixNano(),
			}))
			return nil
		}})
		report(t, p, "a", 0)
		now := m.write(record.Write{Key: mark, Value: record.Resynchronisations.Encode(&recordpb.Resynchronisation{Target: "west"})})
		revision := m.mutate(someRecord)
		for range 2 {
			report(t, p, "a", revision)
			settle()
			if !m.open(someRecord) || m.has(message) {
				t.Fatal("cleared, or told, although the condition does not hold")
			}
		}
		if tries > 6 {
			t.Errorf("%d transactions were tried in two seconds", tries)
		}
		marked = now
		for range 2 {
			report(t, p, "a", revision)
			settle()
		}
		if m.open(someRecord) || !m.has(message) {
			t.Fatal("not cleared, or not told, once the condition holds")
		}
	})
}
