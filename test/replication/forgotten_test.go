package replication_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// forgetful regions forget deleted records as soon as that is safe.
func forgetful() lifeboattest.Options {
	return lifeboattest.Options{Configure: func(_ string, c *config.Config) {
		c.Keys.BackupsKeptFor, c.Replication.CollectEvery = 0, time.Second
	}}
}

// graves are the keys of what a region has left of deleted records.
func (s *shop) graves(ctx context.Context, region string) (keys []string, err error) {
	view := s.shards[region].View(ctx)
	var decodeErr error
	err = view.Scan("", "", func(stored record.Stored) bool {
		switch {
		case stored.Key.HasPrefix(record.TombstonePrefix):
			keys = append(keys, string(stored.Key))
		case stored.Key.HasPrefix(record.SecretPrefix):
			sec, err := record.Secrets.Decode(stored.Value)
			if decodeErr = err; err == nil && sec.State == secret.Deleted {
				keys = append(keys, string(stored.Key))
			}
		}
		return decodeErr == nil
	})
	return keys, errors.Join(err, decodeErr)
}

func (s *shop) wantGraves(region string, want ...string) {
	s.t.Helper()
	until(s.t, region+" has nothing else left of deleted records", func(ctx context.Context) (bool, any) {
		keys, err := s.graves(ctx, region)
		return err == nil && slices.Equal(keys, want), []any{keys, err}
	})
}

// wantForgotten waits until a region tells that it has forgotten records.
func (s *shop) wantForgotten(region, of string) {
	s.t.Helper()
	s.wantCounted(region, `lifeboat_collection_forgotten_records_total{of="`+of+`"}`)
}

// wantCounted waits until a series of a region's metrics is not 0.
func (s *shop) wantCounted(region, series string) {
	s.t.Helper()
	counted := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` [1-9]`)
	until(s.t, region+" tells "+series, func(ctx context.Context) (bool, any) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.regions.Region(region).Control().AdminURL()+"/metrics", nil)
		must(s.t, err)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err
		}
		defer func() { _ = answer.Body.Close() }()
		told, err := io.ReadAll(answer.Body)
		return err == nil && counted.Match(told), err
	})
}

// passRound waits until a region has forgotten what no other region ever held.
func (s *shop) passRound(region string) {
	s.t.Helper()
	before, err := s.graves(s.t.Context(), region)
	must(s.t, err)
	_, err = s.at(region).CreateVault(s.t.Context(), connect.NewRequest(&lifeboatv1.CreateVaultRequest{Name: "alone"}))
	must(s.t, err)
	_, err = s.at(region).DeleteVault(s.t.Context(), connect.NewRequest(&lifeboatv1.DeleteVaultRequest{Vault: "alone"}))
	must(s.t, err)
	s.wantGraves(region, before...)
}

// wantSynchronised waits until no target is being brought all of the vault.
func (s *shop) wantSynchronised(home string) {
	s.t.Helper()
	until(s.t, "the vault is synchronised", func(ctx context.Context) (bool, any) {
		answer, err := s.at(home).GetVaultReplication(ctx, connect.NewRequest(&lifeboatv1.GetVaultReplicationRequest{Vault: "shop"}))
		if err != nil {
			return false, err
		}
		busy := slices.ContainsFunc(answer.Msg.GetTargets(), func(t *lifeboatv1.VaultTargetStatus) bool { return t.GetSynchronising() || t.GetPending() > 0 })
		return !busy, answer.Msg
	})
}

func (s *shop) purge(region, name string) {
	s.t.Helper()
	_, err := s.at(region).DeleteSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.DeleteSecretRequest{Vault: "shop", Secret: name, Immediate: true}))
	must(s.t, err)
}

func TestDeletedRecordsAreForgottenOnceEveryRegionHasHeardOfIt(t *testing.T) {
	s := startShop(t, forgetful(), "east", "west", "south")
	s.openShards("east", "west", "south")
	admin := s.at("east")
	s.create("east", "db", "one")
	principal, err := admin.CreatePrincipal(t.Context(), connect.NewRequest(&lifeboatv1.CreatePrincipalRequest{Name: "builder", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD}))
	must(t, err)
	_, err = admin.PutPolicy(t.Context(), connect.NewRequest(&lifeboatv1.PutPolicyRequest{Name: "none", Text: "forbid(principal, action, resource) when { false };"}))
	must(t, err)
	for _, region := range []string{"west", "south"} {
		s.wantValue(region, "db", "one")
	}

	s.wantSynchronised("east") // what waits for a synchronisation is not forgotten either

	// A region that is away may hold all of it still.
	s.regions.Isolate("south")
	s.purge("east", "db")
	_, err = admin.DeletePrincipal(t.Context(), connect.NewRequest(&lifeboatv1.DeletePrincipalRequest{Principal: principal.Msg.GetPrincipal().GetId()}))
	must(t, err)
	_, err = admin.DeletePolicy(t.Context(), connect.NewRequest(&lifeboatv1.DeletePolicyRequest{Name: "none"}))
	must(t, err)
	s.wantCode("west", "db", secret.CodeNotFound)
	account := principal.Msg.GetPrincipal().GetAccountId()
	name := "tombstone/" + string(record.PolicyKey(secret.AccountID(account), "none"))
	waiting, err := s.graves(t.Context(), "east")
	must(t, err)
	s.passRound("east")
	if keys, err := s.graves(t.Context(), "east"); err != nil || !slices.Equal(keys, waiting) || len(keys) != 3 {
		t.Fatalf("east has forgotten what south may hold: of %v it has %v, %v", waiting, keys, err)
	}

	s.regions.Rejoin("south")
	for _, region := range []string{"east", "west", "south"} {
		s.wantGraves(region, name) // its name may be used again
	}
	s.wantForgotten("east", "own")
	s.wantForgotten("south", "others")
	s.create("east", "db", "anew")
	_, err = admin.PutPolicy(t.Context(), connect.NewRequest(&lifeboatv1.PutPolicyRequest{Name: "none", Text: "forbid(principal, action, resource) when { false };"}))
	must(t, err)
	for _, region := range []string{"west", "south"} {
		s.wantValue(region, "db", "anew")
		s.wantGraves(region)
	}

	// Of what is given up nothing is left either.
	s.replicate("east", "west")
	s.wantCode("south", "db", secret.CodeUnauthenticated)
	s.wantGraves("south")
	s.replicate("east", "west", "south")
	s.wantValue("south", "db", "anew")
}

// A backup that was made before a deletion holds what the other regions have forgotten.
func TestALifeOutOfABackupThatIsTooOldIsNotAdmitted(t *testing.T) {
	s := startShop(t, forgetful(), "east", "west")
	s.openShards("east", "west")
	s.create("east", "db", "one")
	s.wantValue("west", "db", "one")
	dir := t.TempDir()
	old, late := filepath.Join(dir, "old"), filepath.Join(dir, "late")
	oldTarget, lateTarget := filepath.Join(dir, "old-target"), filepath.Join(dir, "late-target")
	s.backup("east", old)
	s.backup("west", oldTarget)
	s.purge("east", "db")
	s.wantGraves("east")
	s.wantGraves("west")
	s.backup("east", late)
	s.backup("west", lateTarget)

	// Neither may a target come back that has what its home has forgotten.
	if err := s.admit("east", "west", s.restore("west", oldTarget), false); codeOf(err) != secret.CodeWrongState {
		t.Fatalf("a target that has what was deleted is admitted: %v", err)
	}
	west := s.restore("west", lateTarget)
	must(t, s.admit("east", "west", west, false))

	must(t, s.admit("west", "east", s.restore("east", late), false))
	must(t, s.admit("east", "west", west, false)) // the backup names the life before
	s.create("east", "other", "two")
	s.wantValue("west", "other", "two")

	life := s.restore("east", old)
	if err := s.admit("west", "east", life, false); codeOf(err) != secret.CodeWrongState {
		t.Fatalf("a life that has what was deleted is admitted: %v", err)
	}
	s.wantCode("west", "db", secret.CodeNotFound)
	must(t, s.admit("west", "east", life, true))
	must(t, s.admit("east", "west", west, false))
	s.put("east", "db", "two")
	s.wantValue("west", "db", "two")
}

func (s *shop) openShards(regions ...string) {
	for _, region := range regions {
		s.shards[region] = s.regions.Region(region).Shard(s.t)
	}
}

func (s *shop) socket(region string) *controlsocket.Client {
	c := controlsocket.New(s.regions.Region(region).Control().SocketPath())
	s.t.Cleanup(c.Close)
	return c
}

func (s *shop) backup(region, path string) {
	s.t.Helper()
	_, err := s.socket(region).Backup(s.t.Context(), path, nil)
	must(s.t, err)
}

// restore has a region lose its store and come back from a backup, and returns its
// new incarnation.
func (s *shop) restore(region, path string) (life secret.Incarnation) {
	s.t.Helper()
	control := s.regions.Region(region).Control()
	must(s.t, control.Stop())
	must(s.t, os.RemoveAll(filepath.Join(control.Dir(), "store")))
	must(s.t, control.Start(s.t.Context()))
	until(s.t, region+" is restored", func(ctx context.Context) (bool, any) {
		report, err := s.socket(region).Restore(ctx, path, nil)
		life = report.Incarnation
		return err == nil, err
	})
	return life
}

// admit has a region accept a life of a peer, once that answers.
func (s *shop) admit(region, peer string, life secret.Incarnation, older bool) (err error) {
	s.t.Helper()
	r := s.regions.Region(region)
	until(s.t, region+" sees another life of "+peer, func(ctx context.Context) (bool, any) {
		p, peerErr := r.Peer(ctx, peer)
		if peerErr != nil || p.GetIncarnation() != string(life) {
			return false, peerErr
		}
		_, err = r.Operator().AdmitPeer(ctx, connect.NewRequest(&lifeboatv1.AdmitPeerRequest{Region: peer, Incarnation: p.GetIncarnation(), OlderBackup: older}))
		return codeOf(err) != secret.CodeStale && codeOf(err) != secret.CodeUnavailable, err
	})
	return err
}
