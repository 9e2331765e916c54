package drill

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// Vault is the drill's vault as a Loss needs it.
type Vault struct{ ID, Name string }

// Loss is how the home region is lost, and how it comes back. Its methods are called one
// after the other.
type Loss interface {
	About() About
	// Cut has nothing of the vault pass between the home region and the others. Its own
	// callers still reach it.
	Cut(ctx context.Context, v Vault) error
	// Down takes the region from its own callers too, if this is such a loss.
	Down(ctx context.Context) error
	// Noticed returns when it shows that the region is lost.
	Noticed(ctx context.Context, v Vault) (by string, err error)
	// TakeOver is what an operator does in the heir.
	TakeOver(ctx context.Context, v Vault) error
	// Return brings the region back.
	Return(ctx context.Context, v Vault) error
	// Over reports whether no region takes over another one any more, as far as the drill
	// goes.
	Over(ctx context.Context, v Vault) (bool, error)
}

// VaultCut loses a region as far as the drill's vault goes, and nothing else. It can be
// used against regions that serve.
type VaultCut struct {
	Home, Heir Region
	// Lasts bounds how long the cut stays if nobody ends it.
	Lasts time.Duration
	// NoticeAfter is how long the heir must lack a write to be taken for cut off.
	NoticeAfter time.Duration
}

// KindVaultCut is the kind of loss of a VaultCut.
const KindVaultCut = "vault_cut"

// About implements Loss.
func (c *VaultCut) About() About {
	home, heir := c.Home.Name, c.Heir.Name
	return About{
		Kind:    KindVaultCut,
		Summary: "The cut was of the drill's vault only: " + home + " went on to serve everything else.",
		Exercised: []string{
			"replication of the vault between three regions",
			"a fork: " + home + " and " + heir + " both acknowledged writes of the same secrets, and neither had those of the other",
			"the takeover in " + heir + " by one write to its fence, and the move of the records to the next epoch, limited to this vault",
			"reads in the regions that were left, all the while",
			"return: refusal by epoch, conflicts, resynchronisation",
			"adoption of conflicts, and a planned failback",
		},
		Simulated: []string{
			"the loss: the links between the regions and their processes were not touched; " + home + " dropped what it would have sent and taken of this vault",
			"noticing it: " + heir + " lacked an acknowledged write for " + c.NoticeAfter.String() + "; the links themselves never failed",
			"the takeover of a whole region, with its account and who may do what in it",
			"the fence that a returning region puts up when it learns from its peers that it was taken over",
			"clients of " + home + " that lose their region: they were answered all the while",
		},
	}
}

// Cut implements Loss.
func (c *VaultCut) Cut(ctx context.Context, v Vault) error {
	_, err := c.Home.Operator.CutDrillVault(ctx, &lifeboatv1.CutDrillVaultRequest{Vault: v.ID, Lasts: durationpb.New(c.Lasts)})
	return err
}

// Down implements Loss.
func (c *VaultCut) Down(context.Context) error { return nil }

// Noticed implements Loss.
func (c *VaultCut) Noticed(ctx context.Context, v Vault) (string, error) {
	by := c.Heir.Name + " lacked a write that " + c.Home.Name + " had acknowledged for " + c.NoticeAfter.String()
	return by, poll(ctx, func() (bool, error) {
		status, err := c.Home.Client.GetVaultReplication(ctx, &lifeboatv1.GetVaultReplicationRequest{Vault: v.ID})
		for _, t := range status.GetTargets() {
			if t.GetRegion() == c.Heir.Name && t.GetLagSeconds() >= c.NoticeAfter.Seconds() {
				return true, nil
			}
		}
		return false, err
	})
}

// TakeOver implements Loss.
func (c *VaultCut) TakeOver(ctx context.Context, v Vault) error {
	_, err := c.Heir.Operator.TakeOverRegion(ctx, &lifeboatv1.TakeOverRegionRequest{Region: c.Home.Name, DrillVault: v.ID})
	return err
}

// Return implements Loss.
func (c *VaultCut) Return(ctx context.Context, v Vault) error {
	_, err := c.Home.Operator.CutDrillVault(ctx, &lifeboatv1.CutDrillVaultRequest{Vault: v.ID})
	if client.CodeOf(err) == client.CodeNotFound { // nor is there a cut
		return nil
	}
	return err
}

// Over implements Loss.
func (c *VaultCut) Over(ctx context.Context, v Vault) (bool, error) {
	answer, err := c.Heir.Operator.ListTakeovers(ctx, &lifeboatv1.ListTakeoversRequest{})
	for _, t := range answer.GetTakeovers() {
		if t.GetDrillVault() == v.ID {
			return false, nil
		}
	}
	return err == nil, err
}

// pollEvery is how often a condition is looked at that is waited for.
const pollEvery = 20 * time.Millisecond

// poll waits until a condition holds. Its last error, and what ends ctx, are returned.
func poll(ctx context.Context, holds func() (bool, error)) error {
	for {
		ok, err := holds()
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}
