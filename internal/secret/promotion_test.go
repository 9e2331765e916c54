package secret_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func replica() *secret.Secret {
	return &secret.Secret{
		ID: "v/s", Name: "db", State: secret.Active, Ownership: secret.NewOwnership("east", "e"),
		Targets:  []secret.Target{{Region: "west"}},
		Rotation: &secret.Rotation{Rotator: "r", Enabled: true, NextAt: time.Unix(9, 0), Version: "v2", Step: secret.SetStep},
	}
}

func TestPromote(t *testing.T) {
	s := replica()
	before := s.Clone()
	if err := s.Promote(secret.Mutation{Incarnation: "w"}, "west", "p1"); err != nil {
		t.Fatal(err)
	}
	switch own := s.Ownership; {
	case own.Home != "west" || own.Check() != nil || own.Order.Compare(before.Ownership.Order) <= 0 || !own.Contains(before.Ownership.Order):
		t.Errorf("its ownership is %+v", own)
	case s.SameSecret(before) || !s.IsDetached() || len(s.Targets) > 0:
		t.Errorf("it is %+v", s)
	case s.Rotation.Enabled || s.Rotation.Version != "" || s.Rotation.Rotator != "r" || !before.Rotation.Enabled:
		t.Errorf("its rotation is %+v", s.Rotation)
	}
	vault := secret.Replication{Targets: []secret.Target{{Region: "west"}, {Region: "south"}}}
	if to := s.Destinations("east", vault); len(to) > 0 {
		t.Errorf("it goes to %v", to)
	}
	s.Targets = []secret.Target{{Region: "south"}}
	if to := s.Destinations("east", vault); !slices.Equal(to, []secret.RegionName{"south"}) || !s.MeantFor("east", vault, "south") || s.MeantFor("east", vault, "east") {
		t.Errorf("it goes to %v", to)
	}
	if !before.NotePromoted(secret.Mutation{}, "east", "west") || before.NotePromoted(secret.Mutation{}, "east", "west") {
		t.Error("its home must note it once")
	}
	if to := before.Destinations("east", vault); !slices.Equal(to, []secret.RegionName{"south"}) {
		t.Errorf("the home sends to %v", to)
	}
	s.State = secret.PendingDeletion
	if err := s.Promote(secret.Mutation{}, "south", "p2"); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("of what is to be deleted: %v", err)
	}
}

func TestCollide(t *testing.T) {
	plain, own := replica(), replica()
	if err := own.Promote(secret.Mutation{}, "west", "p1"); err != nil {
		t.Fatal(err)
	}
	own.Targets = nil
	deleted := func(s *secret.Secret) *secret.Secret {
		s = s.Clone()
		if _, err := s.Purge(secret.Mutation{}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	spread := own.Clone()
	spread.Targets = []secret.Target{{Region: "north"}}
	for _, c := range []struct {
		what                   string
		held, incoming         *secret.Secret
		meant, pending, forced bool
		want                   secret.Collision
	}{
		{what: "the former home sends", held: own, incoming: plain, meant: true, want: secret.StandsAlone},
		{what: "the former home releases", held: own, incoming: plain, want: secret.StandsAlone},
		{what: "the former home has deleted it", held: own, incoming: deleted(plain), meant: true, want: secret.StandsAlone},
		{what: "the former home insists", held: own, incoming: plain, meant: true, forced: true, want: secret.Overwrites},
		{what: "it insists while others have to hear", held: own, incoming: plain, meant: true, forced: true, pending: true, want: secret.StandsAlone},
		{what: "it insists on what others have", held: spread, incoming: plain, meant: true, forced: true, want: secret.StandsAlone},
		{what: "the former home is told", held: plain, incoming: own, want: secret.Passes},
		{what: "the former home is a target", held: plain, incoming: own, meant: true, want: secret.Taken},
		{what: "it is, and may be overwritten", held: plain, incoming: own, meant: true, forced: true, want: secret.Taken},
		{what: "what was promoted is deleted", held: deleted(own), incoming: plain, meant: true, want: secret.Replaces},
		{what: "it is, and others have to hear", held: deleted(own), incoming: plain, meant: true, pending: true, want: secret.Pends},
		{what: "it is, and nothing else is meant", held: deleted(own), incoming: plain, want: secret.Passes},
		{what: "the former home has none", held: deleted(plain), incoming: own, meant: true, want: secret.Replaces},
	} {
		if got := secret.Collide(c.held, c.incoming, c.meant, c.pending, c.forced); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}
