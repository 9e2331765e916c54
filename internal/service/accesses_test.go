package service_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

func (h *harness) flush() int {
	h.t.Helper()
	n, err := h.FlushAccesses(h.t.Context(), h.NoteAccesses)
	must(h.t, err)
	return n
}

func (h *harness) accessed(name string) service.Accessed {
	h.t.Helper()
	d, err := h.DescribeSecret(h.ctx(), ref(name), service.RevisionToken{})
	must(h.t, err)
	return d.Accessed
}

func (h *harness) readValue(name string, version secret.VersionID) {
	h.t.Helper()
	_, err := h.GetSecretValue(h.ctx(), service.ValueRef{SecretRef: ref(name), VersionID: version})
	must(h.t, err)
}

func TestWhatWasReadIsNotedByTheDay(t *testing.T) {
	h := start(t)
	first := h.create(service.NewSecret{Name: "a"}).Version.ID
	o, err := h.PutSecretVersion(h.ctx(), service.NewValue{SecretRef: ref("a"), Value: secret.NewPlaintext([]byte("two"))})
	must(t, err)
	second, order := o.Version.ID, o.Secret.Ownership.Order
	h.create(service.NewSecret{Name: "b"})
	today := h.now().UTC().Truncate(24 * time.Hour)
	before := h.shard.snapshot().Revision()
	for range 3 {
		h.readValue("a", "")
	}
	if h.shard.snapshot().Revision() != before {
		t.Error("a read writes")
	}
	if n := h.flush(); n != 1 {
		t.Errorf("three reads of a version are told %d times", n)
	}
	if a := h.accessed("a"); a.At() != today || a.Of(second) != today || !a.Of(first).IsZero() {
		t.Errorf("read on %s, its versions on %s and %s; today is %s", a.At(), a.Of(first), a.Of(second), today)
	}
	if !h.accessed("b").At().IsZero() {
		t.Error("what was never read was read")
	}
	before = h.shard.snapshot().Revision()
	h.readValue("a", "")
	if h.flush() != 0 || h.shard.snapshot().Revision() != before {
		t.Error("a second read of the day is stored")
	}
	// Another process, which does not know that, tells it again.
	must(t, h.NoteAccesses(t.Context(), []service.Access{{Secret: o.Secret.ID, Version: second, Day: today.Unix() / 86400}}))
	if h.shard.snapshot().Revision() != before {
		t.Error("what is known is stored again")
	}
	h.pass(24 * time.Hour)
	h.readValue("a", first)
	h.flush()
	if a := h.accessed("a"); a.At() != today.AddDate(0, 0, 1) || a.Of(second) != today || a.Of(first) != a.At() {
		t.Errorf("a day later: %s, %s, %s", a.At(), a.Of(first), a.Of(second))
	}
	d, err := h.DescribeSecret(h.ctx(), ref("a"), service.RevisionToken{})
	must(t, err)
	if d.Secret.Ownership.Order != order {
		t.Errorf("being read is a mutation: %s", d.Secret.Ownership.Order)
	}
	list, err := h.ListSecrets(h.ctx(), service.ListQuery{Vault: "v"})
	must(t, err)
	if list.Items[0].Accessed.At() != today.AddDate(0, 0, 1) || !list.Items[1].Accessed.At().IsZero() {
		t.Errorf("the list says %s and %s", list.Items[0].Accessed.At(), list.Items[1].Accessed.At())
	}
}

func TestWhatCannotBeNotedIsNotedLater(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a"})
	h.readValue("a", "")
	lost := errors.New("no control process")
	if _, err := h.FlushAccesses(t.Context(), func(context.Context, []service.Access) error { return lost }); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if n := h.flush(); n != 1 || h.accessed("a").At().IsZero() {
		t.Errorf("told %d times", n)
	}
}

func TestWhatIsDeletedLeavesNoAccesses(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a"})
	h.readValue("a", "")
	h.flush()
	h.pass(24 * time.Hour)
	h.readValue("a", "") // told after the secret is gone
	_, err := h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref("a"), Immediate: true})
	must(t, err)
	h.flush()
	must(t, h.shard.snapshot().Scan(record.AccessPrefix, record.PrefixEnd(record.AccessPrefix), func(s record.Stored) bool {
		t.Errorf("%s is left", s.Key)
		return true
	}))
	if err := h.NoteAccesses(t.Context(), []service.Access{{Secret: "nonsense"}}); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("of what is no ID: %v", err)
	}
}

func TestReadsAllocateNothingToBeNoted(t *testing.T) {
	h := start(t)
	h.create(service.NewSecret{Name: "a"})
	h.readValue("a", "")
	if n := service.AllocationsOfNote(h.Service, h.secretNamed("a")); n > 0 {
		t.Errorf("a read that is noted already allocates %v times more", n)
	}
}
