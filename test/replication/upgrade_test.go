package replication_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// build builds the program, with the tag nextformat the release after this one: it
// keeps a field more in the record of a secret.
func build(t *testing.T, dir, name string, arguments ...string) string {
	t.Helper()
	program := filepath.Join(dir, name)
	arguments = append(append([]string{"build", "-o", program}, arguments...), "../../cmd/lifeboat")
	if out, err := exec.CommandContext(t.Context(), "go", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return program
}

// tenant is an account of one region whose vault is replicated to the other.
type tenant struct {
	t    *testing.T
	name string
	home *localregion.Region
	made localregion.Tenant
}

func (u tenant) at(r *localregion.Region) *client.Client {
	u.t.Helper()
	c, err := r.Client(r.Control(), u.made.Token)
	must(u.t, err)
	u.t.Cleanup(c.Close)
	return c
}

func newTenant(t *testing.T, name string, home, target *localregion.Region) tenant {
	t.Helper()
	made, err := home.Tenant(t.Context(), name)
	must(t, err)
	u := tenant{t: t, name: name, home: home, made: made}
	_, err = u.at(home).ReplicateVault(t.Context(), &lifeboatv1.ReplicateVaultRequest{
		Vault: name, Targets: &lifeboatv1.ReplicateVaultRequest_Targets{Targets: []*lifeboatv1.Target{{Region: string(target.Name())}}},
	})
	must(t, err)
	return u
}

func (u tenant) put(name, value string) {
	u.t.Helper()
	_, err := u.at(u.home).PutSecret(u.t.Context(), &lifeboatv1.PutSecretVersionRequest{Vault: u.name, Secret: name, Value: []byte(value)})
	must(u.t, err)
}

func (u tenant) wantIn(r *localregion.Region, name, value string) {
	u.t.Helper()
	c := u.at(r)
	until(u.t, fmt.Sprintf("%s answers %s of %s", r.Name(), name, u.name), func(ctx context.Context) (bool, any) {
		got, err := c.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: u.name, Secret: name})
		return err == nil && string(got.GetValue()) == value, []any{got, err}
	})
}

// A region that is ahead by a release sends states that the other one refuses whole,
// and delivers them when that one has been upgraded; in the other direction all goes
// on. Nothing is lost, and nothing of a state is dropped to make it fit.
func TestANewerSchemaIsRefusedWholeAndDeliveredAfterTheUpgrade(t *testing.T) {
	dir, err := os.MkdirTemp("", "lb-") // short: the path of a socket is bounded
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	present, next := build(t, dir, "lifeboat"), build(t, dir, "lifeboat-next", "-tags", "nextformat")
	regions, err := localregion.PlanRegions(localregion.Options{Dir: dir, Hosts: 1}, "east", "west")
	must(t, err)
	t.Cleanup(func() { must(t, regions.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	east, west := regions.Region("east"), regions.Region("west")
	must(t, west.StartChildren(ctx, present))
	must(t, east.StartChildren(ctx, next))
	must(t, regions.WaitLinked(ctx))
	ours, theirs := newTenant(t, "ours", east, west), newTenant(t, "theirs", west, east)

	operator, err := east.OperatorToken()
	must(t, err)
	status, err := east.Client(east.Control(), operator)
	must(t, err)
	t.Cleanup(status.Close)
	until(t, "the newer format is written in east", func(ctx context.Context) (bool, any) {
		formats, err := status.GetFormats(ctx, &lifeboatv1.GetFormatsRequest{})
		return err == nil && formats.GetOpen(), []any{formats, err}
	})
	ours.put("db", "one")
	ours.put("db", "two")
	until(t, "west refuses the newer format", func(ctx context.Context) (bool, any) {
		answer, err := ours.at(east).GetSecretReplication(ctx, &lifeboatv1.GetSecretReplicationRequest{Vault: "ours", Secret: "db"})
		if err != nil || len(answer.GetTargets()) != 1 {
			return false, []any{answer, err}
		}
		s := answer.GetTargets()[0]
		return s.GetState() == failed && s.GetCode() == string(secret.CodeUnknownFormat), s
	})
	until(t, "west has the vault, and nothing of what it refused", func(ctx context.Context) (bool, any) {
		got, err := ours.at(west).GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: "ours", Secret: "db"})
		return client.CodeOf(err) == client.CodeNotFound, []any{got, err}
	})
	theirs.put("db", "old to new")
	theirs.wantIn(east, "db", "old to new")

	for _, p := range west.Processes() {
		must(t, p.Stop())
	}
	ours.put("db", "three")
	must(t, west.StartChildren(ctx, next))
	ours.wantIn(west, "db", "three")
	theirs.put("db", "both new")
	theirs.wantIn(east, "db", "both new")
}
