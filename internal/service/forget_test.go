package service_test

import (
	"slices"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

func TestNothingOfAForgottenLifeIsAdmitted(t *testing.T) {
	p := startPair(t)
	west, ctx := p.west, t.Context()
	if _, err := west.Forget(ctx, "east"); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("forgetting whom nobody met: %v", err)
	}
	if _, err := west.Forget(ctx, "west"); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("forgetting itself: %v", err)
	}
	must(t, west.PinPeer(ctx, "east", "first"))
	must(t, west.AdmitPeer(ctx, "east", service.PeerLife{Incarnation: "second"}, false))
	p.takeOver()
	if _, err := west.Forget(ctx, "east"); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("forgetting a region whose records are being moved: %v", err)
	}
	must(t, west.InheritAll(ctx, "east"))
	grave, err := west.Forget(ctx, "east")
	must(t, err)
	if !slices.Equal(grave.GetForgotten(), []string{"first", "second"}) || grave.GetIncarnation() != "" || !grave.GetHeir() {
		t.Errorf("the gravestone is %v", grave)
	}
	if left, err := service.Takeovers(west.shard.snapshot()); err != nil || len(left) > 0 {
		t.Errorf("takeovers are left: %v, %v", left, err)
	}
	backup := []secret.Moment{{Incarnation: "second", Revision: 1 << 40}}
	for _, life := range []service.PeerLife{{Incarnation: "first"}, {Incarnation: "second"}, {Incarnation: "restored", Restored: true, Origins: backup}} {
		if err := west.AdmitPeer(ctx, "east", life, true); !secret.HasCode(err, secret.CodeWrongState) {
			t.Errorf("%v is admitted: %v", life, err)
		}
	}
	must(t, west.PinPeer(ctx, "east", "third"))
	if pinned, err := record.PinnedIncarnation(west.shard.snapshot(), "east"); err != nil || pinned != "" {
		t.Errorf("%q is accepted because it was met, %v", pinned, err)
	}
	must(t, west.AdmitPeer(ctx, "east", service.PeerLife{Incarnation: "third"}, false))
	mark, _, err := record.Load(west.shard.snapshot(), record.Resynchronisations, record.ResynchronisationKey("east"))
	if err != nil || mark.GetForgotten() || mark.GetBegunAt() != 0 {
		t.Errorf("the new region is not sent everything: %v, %v", mark, err)
	}
	if err := west.AdmitPeer(ctx, "east", service.PeerLife{Incarnation: "second"}, true); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("after a new one, the old one is admitted: %v", err)
	}
	// A new one may go the same way.
	grave, err = west.Forget(ctx, "east")
	if err != nil || !slices.Equal(grave.GetForgotten(), []string{"first", "second", "third"}) {
		t.Errorf("all lives are forgotten: %v, %v", grave, err)
	}
}
