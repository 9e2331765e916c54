package drill

import (
	"context"
	"fmt"
	"slices"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// The secrets that are made while a region is lost.
const (
	strandedSecret = "made-in-the-lost-region"
	newSecret      = "made-in-the-heir"
)

// targets are where the vault is replicated to.
func (d *drill) targets() []Region { return []Region{d.Heir, d.Third} }

func (d *drill) all() []Region { return []Region{d.Home, d.Heir, d.Third} }

func (d *drill) prepare(ctx context.Context, s *Step) error {
	if err := d.whoActs(ctx); err != nil {
		return err
	}
	d.made = true
	made, err := d.Home.Client.CreateVault(ctx, &lifeboatv1.CreateVaultRequest{
		Name: d.vault.Name, Description: "made by lifeboat drill; may be deleted", DefaultRetention: &lifeboatv1.Retention{MaxVersions: 100},
	})
	if err != nil {
		return err
	}
	d.vault.ID = made.GetVault().GetId()
	d.report.Vault.ID = d.vault.ID
	for _, name := range d.names {
		if _, err := d.put(ctx, d.Home, name, in(BeforeLoss), true); err != nil {
			return err
		}
	}
	s.saw("the vault is %s, with %d secrets", d.vault.Name, len(d.names))
	return nil
}

func (d *drill) replicate(ctx context.Context, s *Step) error {
	began := time.Now()
	request := &lifeboatv1.ReplicateVaultRequest{Vault: d.vault.ID, Targets: &lifeboatv1.ReplicateVaultRequest_Targets{}}
	for _, r := range d.targets() {
		request.Targets.Targets = append(request.Targets.Targets, &lifeboatv1.Target{Region: r.Name})
	}
	if _, err := d.Home.Client.ReplicateVault(ctx, request); err != nil {
		return err
	}
	if err := d.waitInSync(ctx, d.Home, d.targets()); err != nil {
		return err
	}
	for _, r := range d.targets() {
		if err := d.waitValues(ctx, r, d.names); err != nil {
			return err
		}
	}
	d.report.Measures.Replicated = time.Since(began).Seconds()
	s.saw("both hold the same %d secrets after %.2f s, by digest", len(d.names), d.report.Measures.Replicated)
	return nil
}

func (d *drill) startLoad(ctx context.Context, s *Step) error {
	d.readers = d.newReaders()
	var run []func(context.Context)
	for _, r := range d.readers {
		run = append(run, func(ctx context.Context) { r.run(ctx, d) })
	}
	// They outlive the step.
	d.reading = beside(context.WithoutCancel(ctx), run...)
	d.writer = beside(context.WithoutCancel(ctx), d.writeAtHome)
	before := len(d.ledger.all())
	if !rest(ctx, d.WriteFor) {
		return ctx.Err()
	}
	s.saw("%s acknowledged %d writes in %s", d.Home.Name, len(d.ledger.all())-before, d.WriteFor)
	return nil
}

// forked are secrets that surely have a fork: the heir goes on to write the first, and not
// the second.
func (d *drill) forked() []string { return []string{d.names[0], d.names[len(d.names)-1]} }

func (d *drill) lose(ctx context.Context, s *Step) error {
	defer d.writer.stop()
	before := d.count(BeforeLoss)
	now := time.Now()
	d.lostAt.Store(&now)
	if err := d.Loss.Cut(ctx, d.vault); err != nil {
		return err
	}
	if _, err := d.put(ctx, d.Home, strandedSecret, d.phaseAtHome, true); err != nil {
		return err
	}
	for _, name := range d.forked() {
		if _, err := d.put(ctx, d.Home, name, d.phaseAtHome, false); err != nil {
			return err
		}
	}
	if !rest(ctx, d.WriteFor) {
		return ctx.Err()
	}
	if err := d.Loss.Down(ctx); err != nil {
		return err
	}
	d.writer.stop()
	s.saw("%s had acknowledged %d writes before, and acknowledged %d after", d.Home.Name, before, d.count(AfterLoss))
	return nil
}

// count counts the writes of a phase.
func (d *drill) count(p Phase) (n int) {
	for _, w := range d.ledger.all() {
		if w.Phase == p {
			n++
		}
	}
	return n
}

func (d *drill) notice(ctx context.Context, s *Step) error {
	by, err := d.Loss.Noticed(ctx, d.vault)
	if err != nil {
		return err
	}
	d.noticed = time.Now()
	d.report.Measures.LossToNoticed = d.noticed.Sub(*d.lostAt.Load()).Seconds()
	s.saw("after %.2f s: %s", d.report.Measures.LossToNoticed, by)
	return nil
}

func (d *drill) takeOver(ctx context.Context, s *Step) error {
	decided := time.Now()
	if err := d.Loss.TakeOver(ctx, d.vault); err != nil {
		return err
	}
	for {
		_, err := d.put(ctx, d.Heir, d.names[0], in(AfterTakeover), false)
		if err == nil {
			break
		}
		if !rest(ctx, tryEvery) {
			return fmt.Errorf("%s accepts no write: %w", d.Heir.Name, err)
		}
	}
	now := time.Now()
	m := &d.report.Measures
	m.DecisionToFirstWrite, m.NoticedToFirstWrite = now.Sub(decided).Seconds(), now.Sub(d.noticed).Seconds()
	m.LossToFirstWrite = now.Sub(*d.lostAt.Load()).Seconds()
	s.saw("%s accepted a write %.0f ms after the decision, %.2f s after the loss", d.Heir.Name, 1000*m.DecisionToFirstWrite, m.LossToFirstWrite)
	return nil
}

// writeOn writes to all secrets but the last two, whose forks differ in that the heir
// changed nothing.
func (d *drill) writeOn(ctx context.Context, s *Step) error {
	written := d.names[:len(d.names)-2]
	for range 2 {
		for _, name := range written {
			if _, err := d.put(ctx, d.Heir, name, in(AfterTakeover), false); err != nil {
				return err
			}
		}
	}
	if _, err := d.put(ctx, d.Heir, newSecret, in(AfterTakeover), true); err != nil {
		return err
	}
	for _, name := range append([]string{newSecret}, d.names...) {
		if err := d.waitHome(ctx, d.Heir, name, d.Heir.Name); err != nil {
			return err
		}
	}
	if err := d.noteLacked(ctx); err != nil {
		return err
	}
	for _, name := range append([]string{newSecret}, written...) {
		if err := d.waitValue(ctx, d.Third, name, d.ledger.last(name).value); err != nil {
			return err
		}
	}
	r := d.report.RecoveryPoint
	s.saw("%d writes in %s, all seen in %s", d.count(AfterTakeover), d.Heir.Name, d.Third.Name)
	s.saw("of what %s acknowledged, %s lacked %d of %d writes before the loss, and %d after it",
		d.Home.Name, d.Heir.Name, r.LackedFromBefore, r.AcknowledgedBefore, r.LackedFromAfter)
	return nil
}

// noteLacked notes which acknowledged writes of the home region the heir does not have.
func (d *drill) noteLacked(ctx context.Context) error {
	has := map[string]bool{}
	for _, name := range d.names {
		described, err := d.Heir.Client.DescribeSecret(ctx, &lifeboatv1.DescribeSecretRequest{Vault: d.vault.ID, Secret: name})
		if err != nil {
			return err
		}
		for _, v := range described.GetSecret().GetVersions() {
			has[v.GetId()] = true
		}
	}
	r := &d.report.RecoveryPoint
	for _, w := range d.ledger.all() {
		if w.Phase == BeforeLoss {
			r.AcknowledgedBefore++
		}
		if w.Region != d.Home.Name || has[w.Version] {
			continue
		}
		w.LackedByHeir = true
		if w.Phase == BeforeLoss {
			r.LackedFromBefore++
			r.Seconds = max(r.Seconds, d.lostAt.Load().Sub(w.AcknowledgedAt).Seconds())
		} else {
			r.LackedFromAfter++
		}
	}
	return nil
}

func (d *drill) comeBack(ctx context.Context, s *Step) error {
	began := time.Now()
	if err := d.Loss.Return(ctx, d.vault); err != nil {
		return err
	}
	d.back, d.returned = time.Now(), true
	d.report.Measures.LossToReturn = d.back.Sub(*d.lostAt.Load()).Seconds()
	if err := poll(ctx, func() (bool, error) { return d.Loss.Over(ctx, d.vault) }); err != nil {
		return fmt.Errorf("the takeover does not end: %w", err)
	}
	if err := d.waitInSync(ctx, d.Heir, []Region{d.Home, d.Third}); err != nil {
		return err
	}
	for _, region := range []Region{d.Home, d.Third} {
		if err := d.waitHeirsValues(ctx, region); err != nil {
			return err
		}
	}
	d.report.Measures.ReturnToInSync = time.Since(d.back).Seconds()
	s.saw("back after %.2f s; %.2f s later no region lacks anything, by digest", d.back.Sub(began).Seconds(), d.report.Measures.ReturnToInSync)
	stranded := d.ledger.last(strandedSecret)
	for _, region := range d.targets() {
		if err := d.waitValue(ctx, region, strandedSecret, stranded.value); err != nil {
			return err
		}
	}
	s.saw("a secret made in %s after the loss has arrived in %s and %s", d.Home.Name, d.Heir.Name, d.Third.Name)
	d.stopReading()
	d.read = true
	return d.askWithTokens(ctx, s)
}

// askWithTokens reads in every region with the revision tokens of writes that the takeover
// left behind.
func (d *drill) askWithTokens(ctx context.Context, s *Step) error {
	for _, name := range d.forked() {
		var left *Write
		for _, w := range d.ledger.all() {
			if w.Secret == name && w.LackedByHeir {
				left = w
			}
		}
		if left == nil {
			continue
		}
		for _, region := range d.all() {
			_, err := region.Client.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: d.vault.ID, Secret: name, RevisionToken: left.token})
			d.tokens++
			switch client.CodeOf(err) {
			case client.CodeSuperseded, client.CodeNotReached:
				d.explicit++
			case "":
			default:
				return err
			}
		}
	}
	s.saw("of %d reads with the token of a write that was left behind, %d got an error that says so", d.tokens, d.explicit)
	return nil
}

// waitHeirsValues waits until a region answers what the heir does of every secret.
func (d *drill) waitHeirsValues(ctx context.Context, region Region) error {
	for _, name := range append([]string{newSecret}, d.names...) {
		got, err := d.Heir.Client.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: d.vault.ID, Secret: name})
		if err != nil {
			return err
		}
		if err := d.waitValue(ctx, region, name, string(got.GetValue())); err != nil {
			return err
		}
	}
	return nil
}

func (d *drill) stopReading() {
	d.reading.stop()
	if d.reading == nil {
		return
	}
	d.report.Reads = d.report.Reads[:0]
	for _, r := range d.readers {
		d.report.Reads = append(d.report.Reads, r.result())
	}
}

// settle shows and adopts every conflict that the returned region lists.
func (d *drill) settle(ctx context.Context, s *Step) error {
	found, err := d.Home.Client.ListConflicts(ctx, &lifeboatv1.ListConflictsRequest{Vault: d.vault.ID})
	if err != nil {
		return err
	}
	for _, c := range found.GetConflicts() {
		if err := d.adopt(ctx, c); err != nil {
			return fmt.Errorf("conflict %s: %w", c.GetId(), err)
		}
	}
	versions := 0
	for _, c := range d.report.Conflicts {
		versions += len(c.AdoptedAs)
	}
	s.saw("%s listed %d conflicts with %d versions; all are versions in %s now", d.Home.Name, len(d.report.Conflicts), versions, d.Heir.Name)
	return d.waitInSync(ctx, d.Heir, []Region{d.Home, d.Third})
}

func (d *drill) adopt(ctx context.Context, listed *lifeboatv1.Conflict) error {
	shown, err := d.Home.Client.GetConflict(ctx, &lifeboatv1.GetConflictRequest{Id: listed.GetId()})
	if err != nil {
		return err
	}
	c := shown.GetConflict()
	report := ConflictReport{ID: c.GetId(), Region: d.Home.Name, Secret: c.GetName(), At: c.GetAt().AsTime(), Versions: []string{}, AdoptedAs: []string{}}
	for _, v := range c.GetVersions() {
		report.Versions = append(report.Versions, v.GetId())
	}
	began := time.Now()
	puts, err := d.Heir.Client.AdoptConflict(ctx, c)
	for i, put := range puts {
		version := c.GetVersions()[i]
		report.AdoptedAs = append(report.AdoptedAs, put.GetVersion().GetId())
		d.noteAdopted(c, version, put.GetVersion().GetId())
		d.ledger.acknowledged(&Write{
			Secret: c.GetName(), Version: put.GetVersion().GetId(), Region: d.Heir.Name, Phase: Adopted,
			AcknowledgedAt: time.Now(), Seconds: time.Since(began).Seconds(), value: string(version.GetValue()),
		})
	}
	d.report.Conflicts = append(d.report.Conflicts, report)
	if err != nil {
		return err
	}
	_, err = d.Home.Client.DiscardConflict(ctx, &lifeboatv1.DiscardConflictRequest{Id: c.GetId()})
	return err
}

// noteAdopted notes of a write that a conflict keeps it, if it keeps its value.
func (d *drill) noteAdopted(c *lifeboatv1.Conflict, v *lifeboatv1.ConflictVersion, as string) {
	for _, w := range d.ledger.all() {
		if w.Version == v.GetId() && w.Secret == c.GetName() && w.value == string(v.GetValue()) {
			w.Conflict, w.AdoptedAs = c.GetId(), as
		}
	}
}

func (d *drill) failBack(ctx context.Context, s *Step) error {
	var writers []func(context.Context)
	for _, name := range d.names {
		writers = append(writers, func(ctx context.Context) { d.writeInFailback(ctx, name) })
	}
	writing := beside(ctx, writers...)
	defer writing.stop()
	began := time.Now()
	_, err := d.Heir.Client.MoveVault(ctx, &lifeboatv1.MoveVaultRequest{Vault: d.vault.ID, To: d.Home.Name})
	if err != nil {
		return err
	}
	names := append([]string{"", newSecret, strandedSecret}, d.names...)
	for _, region := range d.all() {
		for _, name := range names {
			if err := d.waitHome(ctx, region, name, d.Home.Name); err != nil {
				return err
			}
		}
	}
	d.report.Measures.Failback = time.Since(began).Seconds()
	writing.stop()
	for _, name := range d.names {
		if _, err := d.put(ctx, d.Home, name, in(AfterFailback), false); err != nil {
			return err
		}
	}
	s.saw("after %.2f s every region names %s as the home of all of it", d.report.Measures.Failback, d.Home.Name)
	s.saw("%d writes were acknowledged meanwhile, the slowest after %.0f ms", d.count(InFailback), 1000*d.report.Measures.FailbackWritePause)
	return d.waitInSync(ctx, d.Home, d.targets())
}

// waitInSync waits until no target lacks anything that has its home in a region, and the
// digests are equal.
func (d *drill) waitInSync(ctx context.Context, from Region, targets []Region) error {
	err := poll(ctx, func() (bool, error) {
		status, err := from.Client.GetVaultReplication(ctx, &lifeboatv1.GetVaultReplicationRequest{Vault: d.vault.ID})
		behind := slices.ContainsFunc(status.GetTargets(), func(t *lifeboatv1.VaultTargetStatus) bool {
			return t.GetPending() > 0 || t.GetFailed() > 0 || t.GetSynchronising()
		})
		return len(status.GetTargets()) == len(targets) && !behind, err
	})
	if err != nil {
		return fmt.Errorf("a target of %s still lacks something: %w", from.Name, err)
	}
	for _, to := range targets {
		err := poll(ctx, func() (bool, error) {
			c, err := d.compare(ctx, from, to)
			return c.Differing+c.Surplus == 0, err
		})
		if err != nil {
			return fmt.Errorf("%s and %s differ: %w", from.Name, to.Name, err)
		}
	}
	return nil
}

func (d *drill) compare(ctx context.Context, from, to Region) (Comparison, error) {
	found, err := from.Client.CompareVault(ctx, &lifeboatv1.CompareVaultRequest{Vault: d.vault.ID, Region: to.Name})
	return Comparison{From: from.Name, To: to.Name, Secrets: found.GetSecrets(), Differing: len(found.GetDiffering()), Surplus: len(found.GetSurplus())}, err
}

// waitValues waits until a region answers the last value of secrets.
func (d *drill) waitValues(ctx context.Context, at Region, names []string) error {
	for _, name := range names {
		if err := d.waitValue(ctx, at, name, d.ledger.last(name).value); err != nil {
			return err
		}
	}
	return nil
}

func (d *drill) waitValue(ctx context.Context, at Region, name, want string) error {
	err := poll(ctx, func() (bool, error) {
		got, err := at.Client.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: d.vault.ID, Secret: name})
		return string(got.GetValue()) == want, err
	})
	if err != nil {
		return fmt.Errorf("%s does not show the last value of %s: %w", at.Name, name, err)
	}
	return nil
}

// waitHome waits until a region says that the home of a secret, or of the vault if name is
// empty, is another one.
func (d *drill) waitHome(ctx context.Context, at Region, name, want string) error {
	err := poll(ctx, func() (bool, error) {
		home, err := d.homeOf(ctx, at.Client, name)
		return home == want, err
	})
	if err != nil {
		return fmt.Errorf("%s does not take %s for the home of %q: %w", at.Name, want, name, err)
	}
	return nil
}

func (d *drill) homeOf(ctx context.Context, at *client.Client, name string) (string, error) {
	if name == "" {
		answer, err := at.GetVault(ctx, &lifeboatv1.GetVaultRequest{Vault: d.vault.ID})
		return answer.GetVault().GetOwnership().GetHomeRegion(), err
	}
	answer, err := at.DescribeSecret(ctx, &lifeboatv1.DescribeSecretRequest{Vault: d.vault.ID, Secret: name})
	return answer.GetSecret().GetOwnership().GetHomeRegion(), err
}
