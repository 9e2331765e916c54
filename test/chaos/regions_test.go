//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// replicatedVault is a vault of its own account and where it goes.
type replicatedVault struct {
	name, home string
	targets    []string
}

var (
	replicatedVaults = []replicatedVault{{"shop", "east", []string{"west", "south"}}, {"harbour", "west", []string{"east"}}}
	regionNames      = []string{"east", "west", "south"}
)

// regionProcess is a process of a region; runs counts its starts.
type regionProcess struct {
	*localregion.Process
	name, region string
	runs         atomic.Int64
	clients      map[string]*client.Client // by vault
}

// regionsWorld is three regions of processes, and what their clients know.
type regionsWorld struct {
	book
	t         *testing.T
	regions   *lifeboattest.RegionProcesses
	dir       string
	canary    string
	processes []*regionProcess
	disks     map[string]*disk
	operators map[string]*client.Client
}

// TestRegions kills, pauses and separates processes of regions, fills their disks and
// changes the targets of vaults under load, and then checks what replication
// promises: all copies become equal, no reader sees a secret go back, what was
// acknowledged is there in every region, whoever was deleted is let in by none, a region
// that is no target has nothing, and nothing is on disk in the clear.
func TestRegions(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	duration := max(*durationFlag, 20*time.Second) // the first pause takes 6
	t.Logf("repeat with: go test ./test/chaos -run TestRegions -chaos.seed %d -chaos.duration %s", seed, duration)
	w := beginRegions(t)
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	reading, stop := context.WithCancel(t.Context()) // also while the regions catch up
	defer stop()
	var load, readers sync.WaitGroup
	client := uint64(0)
	next := func() *rand.Rand { client++; return rand.New(rand.NewPCG(seed, client)) }
	var stewards []*steward
	for _, v := range replicatedVaults {
		s := &steward{world: w, vault: v, r: next()}
		stewards = append(stewards, s)
		load.Go(func() { s.work(ctx) })
		for range 2 {
			r := next()
			id := int(client) //nolint:gosec // small
			load.Go(func() { (&writer{world: w, vault: v, id: id, r: r}).work(ctx) })
		}
		for _, p := range w.processes {
			if r := next(); p.clients[v.name] != nil && (v.home == p.region || slices.Contains(v.targets, p.region)) {
				readers.Go(func() { w.poll(reading, p, v, r) })
			}
		}
	}
	targets := next()
	load.Go(func() { w.changeTargets(ctx, targets) })
	w.makeFaults(ctx, rand.New(rand.NewPCG(seed, 0)))
	load.Wait()
	w.mend()
	w.replicateAll()
	w.quiet()
	stop()
	readers.Wait()
	for _, s := range stewards {
		s.check()
	}
	w.check()
}

func beginRegions(t *testing.T) *regionsWorld {
	t.Helper()
	dir, err := os.MkdirTemp("", "lb-") // short: the path of a socket is bounded
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	w := &regionsWorld{t: t, dir: dir, canary: "cnry" + ulid.Make().String(), operators: map[string]*client.Client{}, disks: map[string]*disk{}}
	for _, name := range regionNames {
		w.disks[name] = mountDisk(t, filepath.Join(dir, name))
	}
	t.Cleanup(func() { // before the disks are unmounted
		if t.Failed() && *dirFlag != "" {
			must(t, os.CopyFS(*dirFlag, os.DirFS(dir)))
		}
	})
	w.states, w.tokens, w.names, w.counts = map[[2]string][]replicaState{}, map[[2]string]string{}, map[string][]string{}, map[string]int{}
	w.regions = lifeboattest.StartRegionProcesses(t, os.Args[0], lifeboattest.ProcessOptions{Dir: dir, Controls: 2, Configure: func(_ string, c *config.Config) {
		c.Keys.BackupsKeptFor, c.Replication.CollectEvery = 0, time.Second // deleted secrets are forgotten meanwhile
	}}, regionNames...)
	tokens := map[string]client.Value{}
	for _, v := range replicatedVaults {
		tenant, err := w.regions.Region(secret.RegionName(v.home)).Tenant(t.Context(), v.name)
		must(t, err)
		tokens[v.name] = tenant.Token
	}
	for _, region := range w.regions.All() {
		operator, err := region.OperatorToken()
		must(t, err)
		w.operators[string(region.Name())] = w.newClient(region, region.Control(), operator)
		for _, p := range region.Processes() {
			one := &regionProcess{Process: p, name: string(region.Name()) + "/" + p.ID, region: string(region.Name()), clients: map[string]*client.Client{}}
			if p != region.Store() { // it has no front door
				for vault, token := range tokens {
					one.clients[vault] = w.newClient(region, p, token)
				}
			}
			w.processes = append(w.processes, one)
		}
	}
	for _, v := range replicatedVaults {
		targets := &lifeboatv1.ReplicateVaultRequest_Targets{}
		for _, target := range v.targets {
			targets.Targets = append(targets.Targets, &lifeboatv1.Target{Region: target})
		}
		_, err := w.clients(v.home, v)[0].ReplicateVault(t.Context(), &lifeboatv1.ReplicateVaultRequest{Vault: v.name, Targets: targets})
		must(t, err)
		for _, target := range v.targets {
			for _, c := range w.clients(target, v) {
				w.eventually(v.name+" has reached "+target, func(ctx context.Context) error {
					_, err := c.GetVault(ctx, &lifeboatv1.GetVaultRequest{Vault: v.name})
					return err
				})
			}
		}
	}
	return w
}

func (w *regionsWorld) logOf(p *regionProcess) string {
	log, err := os.ReadFile(p.LogPath())
	must(w.t, err)
	return string(log)
}

func (w *regionsWorld) newClient(r *localregion.Region, p *localregion.Process, token client.Value) *client.Client {
	c, err := client.New(client.Config{Address: p.URL(), Token: token, CAFile: r.CAFile(), Timeout: attemptTimeout})
	must(w.t, err)
	w.t.Cleanup(c.Close)
	return c
}

// clients are those of a vault's admin in a region, control-1 first.
func (w *regionsWorld) clients(region string, v replicatedVault) (all []*client.Client) {
	for _, p := range w.processes {
		if c := p.clients[v.name]; p.region == region && c != nil {
			all = append(all, c)
		}
	}
	return all
}

// mend makes everything whole again.
func (w *regionsWorld) mend() {
	for _, name := range regionNames {
		w.regions.Rejoin(name)
	}
	for _, p := range w.processes {
		w.eventually(p.name+" is ready", func(ctx context.Context) error {
			w.revive() // a process may take a while to end of a full disk
			return p.WaitReady(ctx)
		})
	}
	w.eventually("all regions are linked", w.regions.WaitLinked)
}

// quiet waits until nothing is under way any more.
func (w *regionsWorld) quiet() {
	w.eventually("the queues are empty", func(ctx context.Context) error {
		for _, name := range regionNames {
			operator := w.operators[name]
			queues, err := operator.ListQueues(ctx, &lifeboatv1.ListQueuesRequest{})
			if err != nil {
				return err
			}
			for _, q := range queues.GetQueues() {
				if q.GetDepth() > 0 || q.GetResynchronising() {
					_, err := operator.RetryQueue(ctx, &lifeboatv1.RetryQueueRequest{Region: q.GetRegion()})
					return errors.Join(fmt.Errorf("from %s: %v", name, q), err)
				}
			}
			status, err := operator.GetStatus(ctx, &lifeboatv1.GetStatusRequest{})
			if err == nil {
				err = lifeboattest.Cleared(status)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		for _, v := range replicatedVaults {
			at, err := w.clients(v.home, v)[0].GetVaultReplication(ctx, &lifeboatv1.GetVaultReplicationRequest{Vault: v.name})
			for _, target := range at.GetTargets() {
				if target.GetSynchronising() {
					err = errors.Join(err, fmt.Errorf("%s: %v", v.name, target))
				}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *regionsWorld) eventually(what string, check func(context.Context) error) {
	w.t.Helper()
	(&cell{t: w.t}).eventually(what, check)
}

// check looks at everything that must hold in the end. Copies are read before they
// are compared by digest: a comparison sends again what differs.
func (w *regionsWorld) check() {
	for _, v := range replicatedVaults {
		var home map[string]stored
		for _, region := range append([]string{v.home}, v.targets...) {
			for i, c := range w.clients(region, v) {
				w.eventually(fmt.Sprintf("%s has %s as its home has it, by its process %d", region, v.name, i), func(ctx context.Context) error {
					here, err := dumpVault(ctx, c, v.name)
					if err == nil && home == nil {
						home = here
					}
					return errors.Join(err, differs(here, home))
				})
			}
		}
		w.checkAcknowledged(v, home)
		for _, target := range v.targets {
			found, err := w.clients(v.home, v)[0].CompareVault(w.t.Context(), &lifeboatv1.CompareVaultRequest{Vault: v.name, Region: target})
			must(w.t, err)
			if len(found.GetDiffering())+len(found.GetSurplus())+len(found.GetDifferingIdentities()) > 0 || int(found.GetSecrets()) < len(home) { //nolint:gosec // a count, with the graves
				w.t.Errorf("%s differs in %s by digest: %v; there are %d secrets", v.name, target, found, len(home))
			}
		}
	}
	w.checkDropped()
	w.checkTraces()
	w.checkEnough()
}

// checkEnough fails the test if too little was done to show anything.
func (w *regionsWorld) checkEnough() {
	for _, name := range regionNames {
		w.counts["writes without room"] += w.refusedWrites(name)
	}
	for _, p := range w.processes {
		w.counts["collection"] += strings.Count(w.logOf(p), "collected what was left of deleted records")
	}
	w.t.Logf("provoked and seen: %v", w.counts)
	if w.counts["put "] < 10 || w.counts["purge "] < 2 || w.counts["read in east"]+w.counts["read in west"] < 50 || w.counts["targets "] < 2 || w.counts["collection"] < 2 {
		w.t.Error("too little was done to show anything")
	}
	if w.counts["fault: full disk"] > 0 && w.counts["writes without room"] == 0 {
		w.t.Error("disks were full, and no process says so")
	}
}

// checkAcknowledged compares each secret with what its writer knows of it.
func (w *regionsWorld) checkAcknowledged(v replicatedVault, home map[string]stored) {
	for _, name := range w.names[v.name] {
		may := w.states[[2]string{v.name, name}]
		s, is := home[name], replicaState{}
		for _, version := range s.description.GetVersions() {
			if slices.Contains(version.GetStages(), "CURRENT") {
				is.value = s.values[version.GetNumber()]
			}
			if slices.Contains(version.GetStages(), "LABEL") {
				is.labelled = s.values[version.GetNumber()]
			}
		}
		is.tag = s.description.GetTags()["tag"]
		if !slices.Contains(may, is) {
			w.t.Errorf("%s is %v; by what was acknowledged it must be one of %v", name, is, may)
		}
	}
}

func differs(here, home map[string]stored) error {
	if len(here) != len(home) {
		lacks := slices.DeleteFunc(slices.Sorted(maps.Keys(home)), func(name string) bool { _, there := here[name]; return there })
		surplus := slices.DeleteFunc(slices.Sorted(maps.Keys(here)), func(name string) bool { _, there := home[name]; return there })
		return fmt.Errorf("it has %d secrets, the home %d; it lacks %q, and has %q besides", len(here), len(home), lacks, surplus)
	}
	for name, want := range home {
		got := here[name]
		if !proto.Equal(got.description, want.description) || fmt.Sprint(got.values) != fmt.Sprint(want.values) {
			return fmt.Errorf("it has %s as %v, the home as %v", name, got.description, want.description)
		}
	}
	return nil
}

func dumpVault(ctx context.Context, c *client.Client, vault string) (map[string]stored, error) {
	all := map[string]stored{}
	for listed, err := range c.ListSecrets(ctx, &lifeboatv1.ListSecretsRequest{Vault: vault, PageSize: 500}) {
		if err != nil {
			return nil, err
		}
		name := listed.GetName()
		answer, err := c.DescribeSecret(ctx, &lifeboatv1.DescribeSecretRequest{Vault: vault, Secret: name})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s := stored{description: answer.GetSecret(), values: map[uint64]string{}}
		s.description.LastAccessedAt = nil // each region has its own
		for _, v := range s.description.GetVersions() {
			value, err := c.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: name, VersionId: v.GetId()})
			if err != nil {
				return nil, fmt.Errorf("%s, version %d: %w", name, v.GetNumber(), err)
			}
			s.values[v.GetNumber()] = string(value.GetValue())
		}
		all[name] = s
	}
	return all, nil
}
