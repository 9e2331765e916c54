package secret_test

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestLookups(t *testing.T) {
	s := newSecret()
	if s.VersionAt(secret.Latest) != nil || s.VersionAt(secret.Current) != nil {
		t.Error("a secret without versions has one")
	}
	put(t, s, "v1")
	put(t, s, "v2", secret.Pending)
	for stage, want := range map[secret.Stage]secret.VersionID{secret.Current: "v1", secret.Pending: "v2", secret.Latest: "v2"} {
		if got := s.VersionAt(stage); got == nil || got.ID != want {
			t.Errorf("%s is on %v, want %s", stage, got, want)
		}
	}
	for _, stage := range []secret.Stage{secret.Previous, secret.Deprecated, "label"} {
		if got := s.VersionAt(stage); got != nil {
			t.Errorf("%s is on %v", stage, got)
		}
	}
	if v := s.VersionByNumber(2); v == nil || v.ID != "v2" || s.VersionByNumber(3) != nil || s.Version("v3") != nil {
		t.Error("lookup by number or ID")
	}
}

func TestReadable(t *testing.T) {
	version := secret.VersionInfo{ID: "v1"}
	expiring := secret.VersionInfo{ID: "v1", ExpiresAt: start}
	cases := []struct {
		name    string
		state   secret.State
		rules   secret.Rules
		version secret.VersionInfo
		now     time.Time
		code    secret.Code
	}{
		{"active", secret.Active, secret.Rules{}, version, start, ""},
		{"pending deletion", secret.PendingDeletion, secret.Rules{}, version, start, secret.CodeWrongState},
		{"deleted", secret.Deleted, secret.Rules{}, version, start, secret.CodeNotFound},
		{"just before the secret expires", secret.Active, secret.Rules{ExpiresAt: start}, version, start.Add(-1), ""},
		{"when the secret expires", secret.Active, secret.Rules{ExpiresAt: start}, version, start, secret.CodeExpired},
		{"just before the version expires", secret.Active, secret.Rules{}, expiring, start.Add(-1), ""},
		{"when the version expires", secret.Active, secret.Rules{}, expiring, start, secret.CodeExpired},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &secret.Secret{State: c.state, Rules: c.rules}
			wantCode(t, s.Readable(&c.version, c.now), c.code)
		})
	}
}

func TestValidateFindsBrokenRecords(t *testing.T) {
	breaks := map[string]func(s *secret.Secret){
		"malformed ID":         func(s *secret.Secret) { s.ID = "x" },
		"numbers out of order": func(s *secret.Secret) { s.Versions[1].Number = 1 },
		"number zero":          func(s *secret.Secret) { s.Versions[0].Number = 0 },
		"version twice":        func(s *secret.Secret) { s.Versions[1].ID = "v1" },
		"number never given":   func(s *secret.Secret) { s.LastNumber = 1 },
		"stage without version": func(s *secret.Secret) {
			s.Stages["label"] = "v9"
		},
		"stored LATEST":     func(s *secret.Secret) { s.Stages[secret.Latest] = "v2" },
		"stored DEPRECATED": func(s *secret.Secret) { s.Stages[secret.Deprecated] = "v2" },
	}
	for name, damage := range breaks {
		t.Run(name, func(t *testing.T) {
			s := newSecret()
			put(t, s, "v1")
			put(t, s, "v2")
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			damage(s)
			wantCode(t, s.Validate(), secret.CodeCorrupt)
		})
	}
}

func TestClonesShareNothingThatChanges(t *testing.T) {
	s := newSecret()
	s.Tags = map[string]string{"k": "v"}
	s.Ownership.Lineage = secret.Lineage{{Began: order(1, "east", 1)}}
	s.RetiredMACs = []secret.MAC{secret.MAC("mac")}
	s.Remember(secret.Request{Token: "token"})
	put(t, s, "v1")
	c := s.Clone()
	c.Tags["k"], c.Stages["label"], c.Versions[0].Size = "changed", "v1", 99
	c.Ownership.Lineage[0].Began.Seq, c.RetiredMACs[0] = 99, secret.MAC("changed")
	c.Requests[0].Token = "changed"
	if s.Tags["k"] != "v" || s.Stages["label"] != "" || s.Versions[0].Size != 0 || s.Ownership.Lineage[0].Began.Seq != 1 || string(s.RetiredMACs[0]) != "mac" || s.Requests[0].Token != "token" {
		t.Errorf("changing the clone changed the secret: %+v", s)
	}

	v := &secret.Vault{Tags: map[string]string{"k": "v"}, Ownership: secret.Ownership{Lineage: s.Ownership.Lineage}}
	vc := v.Clone()
	vc.Tags["k"], vc.Ownership.Lineage[0].Began.Seq = "changed", 99
	p := &secret.Principal{Roles: []string{"reader"}, Ownership: v.Ownership}
	pc := p.Clone()
	pc.Roles[0], pc.Ownership.Lineage[0].Began.Seq = "changed", 99
	if v.Tags["k"] != "v" || p.Roles[0] != "reader" || v.Ownership.Lineage[0].Began.Seq != 1 {
		t.Error("changing the clone changed the vault or the principal")
	}
}

func TestCredentialUsable(t *testing.T) {
	cases := []struct {
		name       string
		credential secret.Credential
		code       secret.Code
	}{
		{"for ever", secret.Credential{}, ""},
		{"just before expiry", secret.Credential{ExpiresAt: start.Add(1)}, ""},
		{"at expiry", secret.Credential{ExpiresAt: start}, secret.CodeUnauthenticated},
		{"revoked", secret.Credential{RevokedAt: start.Add(-time.Hour)}, secret.CodeUnauthenticated},
		{"revoked by a clock ahead of ours", secret.Credential{RevokedAt: start.Add(time.Hour)}, secret.CodeUnauthenticated},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { wantCode(t, c.credential.Usable(start), c.code) })
	}
}
