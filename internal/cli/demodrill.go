package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/drill"
	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// In the drill of the demonstration demoFirst is lost, and demoLost takes over.
const (
	drillHome  = demoFirst
	drillHeir  = demoLost
	drillThird = demoThird
)

// drill runs a drill in which a region is really lost.
func (d *demo) drill(ctx context.Context, reportDir string) error {
	o := drill.Options{
		Release: d.app.Release, WriteFor: 500 * time.Millisecond,
		RecoverWithin: 10 * time.Second, // the machine may do much else
		Told:          d.app.drillProgress(d.steps),
	}
	var clients []*client.Client
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for name, to := range map[secret.RegionName]*drill.Region{drillHome: &o.Home, drillHeir: &o.Heir, drillThird: &o.Third} {
		r := d.regions.Region(name)
		operator, err := r.OperatorToken()
		if err != nil {
			return err
		}
		to.Name = string(name)
		for p, c := range map[*localregion.Process]struct {
			token client.Value
			to    **client.Client
		}{r.Hosts()[0]: {d.tenant.Token, &to.Client}, r.Control(): {operator, &to.Operator}} {
			made, err := client.New(client.Config{Address: p.URL(), Token: c.token, CAFile: r.CAFile(), Timeout: drillCallTimeout})
			if err != nil {
				return err
			}
			clients = append(clients, made)
			*c.to = made
		}
	}
	all, err := client.New(client.Config{Regions: d.regions.ForClients(), Token: d.tenant.Token, Timeout: drillCallTimeout})
	if err != nil {
		return err
	}
	clients = append(clients, all)
	o.All, o.Loss = all, &regionLoss{demo: d, home: o.Home, heir: o.Heir}
	report, err := drill.Run(ctx, o)
	return d.app.endDrill(reportDir, report, err)
}

// regionLoss loses a whole region: its network first, then its processes.
type regionLoss struct {
	demo       *demo
	home, heir drill.Region
}

// About implements drill.Loss.
func (*regionLoss) About() drill.About {
	home, heir, third := string(drillHome), string(drillHeir), string(drillThird)
	return drill.About{
		Kind:    "region_killed",
		Summary: "The whole region was lost: it was cut off, then all of its processes were killed.",
		Exercised: []string{
			"replication of a vault between three regions",
			"the network of " + home + ": every connection between it and the others was broken, and none was let through",
			"a fork: " + home + ", cut off, acknowledged writes that nobody else had",
			"kill -9 of every process of " + home + ": its store, its control plane and its three hosts",
			"noticing it, by the links",
			"the takeover of the whole region in " + heir + ", which refuses one that is reachable",
			"reads in " + heir + ", in " + third + " and through a client of all regions, all the while",
			"return: its processes started on the disks that they had, learnt that it was taken over, were refused by epoch, kept conflicts and caught up",
			"adoption of conflicts, and a planned failback",
		},
		Simulated: []string{
			"distance: all regions were on one machine",
			"the loss of a disk: those of " + home + " were whole when it returned",
		},
	}
}

// Cut implements drill.Loss.
func (l *regionLoss) Cut(context.Context, drill.Vault) error {
	l.demo.each(drillHome, (*faultproxy.Proxy).Cut)
	return nil
}

func (l *regionLoss) processes() []*localregion.Process {
	r := l.demo.regions.Region(drillHome)
	return append([]*localregion.Process{r.Control()}, r.Hosts()...)
}

// Down implements drill.Loss.
func (l *regionLoss) Down(context.Context) error {
	for _, p := range l.processes() {
		if err := p.Kill(); err != nil {
			return err
		}
	}
	return nil
}

// Noticed implements drill.Loss.
func (l *regionLoss) Noticed(ctx context.Context, _ drill.Vault) (string, error) {
	err := l.demo.waitPeer(ctx, drillHeir, drillHome, func(p *lifeboatv1.Peer) bool { return peerState(p) == stateUnreachable })
	return fmt.Sprintf("%s says that %s is unreachable", drillHeir, drillHome), err
}

// TakeOver implements drill.Loss.
func (l *regionLoss) TakeOver(ctx context.Context, _ drill.Vault) error {
	_, err := l.heir.Operator.TakeOverRegion(ctx, &lifeboatv1.TakeOverRegionRequest{Region: string(drillHome)})
	return err
}

// Return implements drill.Loss.
func (l *regionLoss) Return(ctx context.Context, _ drill.Vault) error {
	l.demo.each(drillHome, (*faultproxy.Proxy).Heal)
	var errs []error
	for _, p := range l.processes() {
		errs = append(errs, p.Start(ctx))
	}
	for _, p := range l.processes() {
		errs = append(errs, p.WaitReady(ctx))
	}
	return errors.Join(errs...)
}

// Over implements drill.Loss.
func (l *regionLoss) Over(ctx context.Context, _ drill.Vault) (bool, error) {
	for _, r := range []drill.Region{l.home, l.heir} {
		answer, err := r.Operator.ListTakeovers(ctx, &lifeboatv1.ListTakeoversRequest{})
		if err != nil || len(answer.GetTakeovers())+len(answer.GetSupersededBy()) > 0 {
			return false, err
		}
	}
	return true, nil
}
