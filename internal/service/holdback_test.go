package service_test

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// After a restore the sweep leaves secrets alone for a day; callers may purge.
func TestNothingIsPurgedForADayAfterARestore(t *testing.T) {
	h := start(t)
	for _, name := range []string{"due", "on-purpose"} {
		h.create(service.NewSecret{Name: name})
	}
	_, err := h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref("due"), Window: 7 * day})
	must(t, err)
	revoked, _, err := h.CreateToken(h.ctx(), service.NewCredential{})
	must(t, err)
	_, err = h.RevokeCredential(h.ctx(), revoked.ID)
	must(t, err)
	h.pass(7 * day)
	region, revision, err := record.Load(h.shard.snapshot(), record.Regions, record.RegionKey)
	must(t, err)
	region.RestoredAt = h.now().UnixNano()
	var txn record.Txn
	txn.Require(record.RegionKey, revision)
	txn.Put(record.RegionKey, record.Regions.Encode(region))
	_, err = h.shard.Commit(t.Context(), txn)
	must(t, err)
	h.sweep(service.Swept{Credentials: 1})
	h.pass(day - time.Second)
	h.sweep(service.Swept{})
	_, err = h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref("on-purpose"), Immediate: true})
	must(t, err)
	if _, err := h.GetSecretValue(h.ctx(), service.ValueRef{SecretRef: ref("on-purpose")}); !secret.HasCode(err, secret.CodeNotFound) {
		t.Errorf("purged on purpose: %v", err)
	}
	h.pass(time.Second)
	h.sweep(service.Swept{Purged: 1})
}

// A clock that jumps ahead makes nothing due for a day.
func TestNothingIsPurgedForADayAfterTheClockJumped(t *testing.T) {
	h := start(t)
	var passed time.Duration
	h.Passed = func() time.Duration { return passed }
	h.create(service.NewSecret{Name: "due"})
	_, err := h.DeleteSecret(h.ctx(), service.Deletion{SecretRef: ref("due"), Window: 7 * day})
	must(t, err)
	h.sweep(service.Swept{})
	h.pass(30 * day)
	passed += 10 * time.Minute
	h.sweep(service.Swept{})
	h.pass(day - time.Second)
	passed += day - time.Second
	h.sweep(service.Swept{})
	h.pass(time.Second)
	passed += time.Second
	h.sweep(service.Swept{Purged: 1})
}
