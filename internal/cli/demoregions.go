package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The regions of the demonstration. lost is the one that is cut off.
const (
	demoFirst secret.RegionName = "east"
	demoLost  secret.RegionName = "west"
	demoThird secret.RegionName = "south"
)

// way is the network from one region to another.
type way struct {
	from, to secret.RegionName
	*faultproxy.Proxy
}

// plan prepares the regions, with a network between them that can fail.
func (d *demo) plan(dir string) (err error) {
	d.regions, err = localregion.PlanRegions(localregion.Options{
		Dir: dir, Hosts: 1, HostsIn: map[secret.RegionName]int{demoFirst: 3}, Release: d.app.Release,
		Via: func(from, to secret.RegionName, target string) (string, error) {
			proxy, err := faultproxy.Start(faultproxy.Options{Target: target})
			if err != nil {
				return "", err
			}
			d.ways = append(d.ways, way{from, to, proxy})
			return proxy.Address(), nil
		},
	}, demoFirst, demoLost, demoThird)
	if err == nil {
		d.region = d.regions.Region(demoFirst)
	}
	return err
}

func (d *demo) close() error {
	for _, c := range d.clients {
		c.Close()
	}
	var errs []error
	if d.regions != nil {
		errs = append(errs, d.regions.Close())
	}
	for _, w := range d.ways {
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}

// each does something with the network between a region and all others.
func (d *demo) each(region secret.RegionName, do func(*faultproxy.Proxy)) {
	for _, w := range d.ways {
		if w.from == region || w.to == region {
			do(w.Proxy)
		}
	}
}

// others are the regions that the vault is replicated to.
func (d *demo) others() []*localregion.Region { return d.regions.All()[1:] }

func (d *demo) replicate(ctx context.Context, _ string) error {
	d.title("Replicate the vault to %s and %s, and read there with the same token", demoLost, demoThird)
	began := time.Now()
	request := &lifeboatv1.ReplicateVaultRequest{Vault: d.tenant.Vault, Targets: &lifeboatv1.ReplicateVaultRequest_Targets{}}
	for _, r := range d.others() {
		request.Targets.Targets = append(request.Targets.Targets, &lifeboatv1.Target{Region: string(r.Name())})
	}
	if _, err := d.clients[0].ReplicateVault(ctx, request); err != nil {
		return err
	}
	for _, r := range d.others() {
		for _, e := range d.entries {
			if err := d.waitValue(ctx, r, e.Name, string(e.Value.Reveal())); err != nil {
				return err
			}
		}
		d.saw("%s: %d values are the same, %.1f s after", r.Name(), len(d.entries), time.Since(began).Seconds())
	}
	return nil
}

func (d *demo) refuseAtReplica(ctx context.Context, _ string) error {
	d.title("Try to write in %s: only the home of a secret changes it", demoThird)
	c, err := d.in(d.regions.Region(demoThird))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.PutSecret(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: d.tenant.Vault, Secret: demoWrite, Value: []byte("elsewhere")})
	refused, ok := errors.AsType[*client.Error](err)
	if !ok || refused.Code != client.CodeNotHome {
		return fmt.Errorf("the write was not refused as not at home: %w", errors.Join(errors.New("wanted a refusal"), err))
	}
	d.saw("refused: %s", refused.Message)
	return nil
}

// The value of demoWrite while one region is cut off, and the one before.
const (
	demoBefore = "v"
	demoAfter  = "changed-while-one-region-was-cut-off"
)

func (d *demo) cutOff(ctx context.Context, _ string) error {
	d.title("Cut %s off from %s and %s", demoLost, demoFirst, demoThird)
	began := time.Now()
	d.each(demoLost, (*faultproxy.Proxy).Cut)
	for _, name := range []secret.RegionName{demoFirst, demoThird} {
		if err := d.waitPeer(ctx, name, demoLost, func(p *lifeboatv1.Peer) bool { return peerState(p) == stateUnreachable }); err != nil {
			return err
		}
	}
	if err := d.waitPeer(ctx, demoFirst, demoThird, func(p *lifeboatv1.Peer) bool { return peerState(p) == stateLinked }); err != nil {
		return err
	}
	d.saw("both know after %.1f s that it is unreachable, and still reach each other", time.Since(began).Seconds())
	began = time.Now()
	if _, err := d.clients[0].PutSecret(ctx, &lifeboatv1.PutSecretVersionRequest{
		Vault: d.tenant.Vault, Secret: demoWrite, Value: []byte(demoAfter),
	}); err != nil {
		return err
	}
	d.saw("%s takes a write in %.1f ms", demoFirst, float64(time.Since(began).Microseconds())/1000)
	if err := d.waitValue(ctx, d.regions.Region(demoThird), demoWrite, demoAfter); err != nil {
		return err
	}
	d.saw("%s has it after %.1f ms", demoThird, float64(time.Since(began).Microseconds())/1000)
	if err := d.waitValue(ctx, d.regions.Region(demoLost), demoWrite, demoBefore); err != nil {
		return err
	}
	d.saw("%s answers what it had", demoLost)
	return nil
}

func (d *demo) heal(ctx context.Context, _ string) error {
	d.title("Heal the network")
	began := time.Now()
	d.each(demoLost, (*faultproxy.Proxy).Heal)
	if err := d.waitValue(ctx, d.regions.Region(demoLost), demoWrite, demoAfter); err != nil {
		return err
	}
	d.saw("%s has caught up after %.1f s", demoLost, time.Since(began).Seconds())
	return d.waitReplicated(ctx)
}

// waitReplicated waits until no target lacks anything of the vault.
func (d *demo) waitReplicated(ctx context.Context) error {
	for {
		answer, err := d.clients[0].GetVaultReplication(ctx, &lifeboatv1.GetVaultReplicationRequest{Vault: d.tenant.Vault})
		if err != nil {
			return err
		}
		behind := slices.ContainsFunc(answer.GetTargets(), func(t *lifeboatv1.VaultTargetStatus) bool {
			return t.GetPending() > 0 || t.GetFailed() > 0 || t.GetSynchronising()
		})
		if len(answer.GetTargets()) == len(d.others()) && !behind {
			d.saw("no region lacks anything")
			return nil
		}
		if err := shortPause(ctx); err != nil {
			return fmt.Errorf("some region still lacks something: %v: %w", answer, err)
		}
	}
}

// waitValue waits until a host of a region answers a value.
func (d *demo) waitValue(ctx context.Context, r *localregion.Region, name, want string) error {
	c, err := d.in(r)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		got, err := c.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: d.tenant.Vault, Secret: name})
		if err == nil && string(got.GetValue()) == want {
			return nil
		}
		if err == nil {
			err = errors.New("the value differs")
		}
		if paused := shortPause(ctx); paused != nil {
			return fmt.Errorf("%s: read %s: %w", r.Name(), name, errors.Join(err, paused))
		}
	}
}

// in returns a client of a region's first host. Close it after use.
func (d *demo) in(r *localregion.Region) (*client.Client, error) {
	return r.Client(r.Hosts()[0], d.tenant.Token)
}

// shortPause lets a moment pass. It returns ctx's error if that has ended.
func shortPause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

// waitPeer waits until one region sees another as wanted.
func (d *demo) waitPeer(ctx context.Context, region, peer secret.RegionName, wanted func(*lifeboatv1.Peer) bool) error {
	r := d.regions.Region(region)
	token, err := r.OperatorToken()
	if err != nil {
		return err
	}
	c, err := r.Client(r.Control(), token)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		answer, err := c.ListPeers(ctx, &lifeboatv1.ListPeersRequest{})
		if err != nil {
			return fmt.Errorf("%s: %w", region, err)
		}
		for _, p := range answer.GetPeers() {
			if p.GetRegion() == string(peer) && wanted(p) {
				return nil
			}
		}
		if err := shortPause(ctx); err != nil {
			return fmt.Errorf("%s does not see %s as it should: %w", region, peer, err)
		}
	}
}
