package drill

import (
	"context"
	"fmt"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// verify looks for every acknowledged write, with its value, and compares the regions.
func (d *drill) verify(ctx context.Context, s *Step) error {
	names := append([]string{newSecret, strandedSecret}, d.names...)
	versions := map[string]map[string]bool{} // by secret; true if it is current
	for _, name := range names {
		described, err := d.Home.Client.DescribeSecret(ctx, &lifeboatv1.DescribeSecretRequest{Vault: d.vault.ID, Secret: name})
		if err != nil {
			return err
		}
		versions[name] = map[string]bool{}
		for _, v := range described.GetSecret().GetVersions() {
			versions[name][v.GetId()] = contains(v.GetStages(), "CURRENT")
		}
	}
	for _, w := range d.ledger.all() {
		if err := d.lookFor(ctx, w, versions[w.Secret]); err != nil {
			return err
		}
	}
	d.countEnds()
	ends := map[string]int{}
	for _, w := range d.ledger.all() {
		ends[w.End]++
	}
	s.saw("of %d acknowledged writes %d are versions, %d became that by adoption, %d are nowhere",
		len(d.ledger.all()), ends[EndCurrent]+ends[EndHistory], ends[EndAdopted], ends[EndLost])
	return d.compareAll(ctx, s, names)
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// lookFor says where a write is: as the version it was, or the one that it became, if
// that has its value.
func (d *drill) lookFor(ctx context.Context, w *Write, versions map[string]bool) error {
	w.End = EndLost
	for _, place := range []struct {
		version string
		end     string
	}{{w.Version, EndHistory}, {w.AdoptedAs, EndAdopted}} {
		current, is := versions[place.version]
		if place.version == "" || !is {
			continue
		}
		got, err := d.Home.Client.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: d.vault.ID, Secret: w.Secret, VersionId: place.version})
		if err != nil && client.CodeOf(err) != client.CodeNotFound {
			return fmt.Errorf("version %s of %s: %w", place.version, w.Secret, err)
		}
		if err != nil || string(got.GetValue()) != w.value {
			continue
		}
		if w.End = place.end; current && w.End == EndHistory {
			w.End = EndCurrent
		}
		return nil
	}
	return nil
}

// countEnds says what became of what the heir lacked, and how many writes are lost.
func (d *drill) countEnds() {
	r := &d.report.RecoveryPoint
	for _, w := range d.ledger.all() {
		switch {
		case w.End == EndLost:
			r.LostSilently++
		case !w.LackedByHeir:
		case w.Conflict != "":
			r.KeptAsConflict++
		default:
			r.ArrivedLater++
		}
	}
}

// compareAll compares the regions by digest, by their homes and by what they answer, and
// counts the conflicts that are left.
func (d *drill) compareAll(ctx context.Context, s *Step, names []string) error {
	for _, to := range d.targets() {
		c, err := d.compare(ctx, d.Home, to)
		if err != nil {
			return err
		}
		d.report.Comparisons = append(d.report.Comparisons, c)
	}
	d.oneHome = true
	for _, region := range d.all() {
		for _, name := range append([]string{""}, names...) {
			home, err := d.homeOf(ctx, region.Client, name)
			if err != nil {
				return err
			}
			d.oneHome = d.oneHome && home == d.Home.Name
		}
		left, err := region.Client.ListConflicts(ctx, &lifeboatv1.ListConflictsRequest{Vault: d.vault.ID})
		if err != nil {
			return err
		}
		d.leftover += len(left.GetConflicts())
	}
	for _, c := range d.report.Comparisons {
		s.saw("%s and %s: %d secrets, %d differ by digest", c.From, c.To, c.Secrets, c.Differing+c.Surplus)
	}
	return nil
}

// finish says how the drill ended and which promises were kept.
func (d *drill) finish(ctx context.Context, err error) {
	r := &d.report
	r.EndedAt = r.Steps[len(r.Steps)-1].EndedAt
	for _, s := range r.Steps {
		if s.EndedAt.After(r.EndedAt) {
			r.EndedAt = s.EndedAt
		}
	}
	r.Writes, r.Unacknowledged = d.ledger.all(), d.ledger.unacknowledged
	secrets := map[string]bool{}
	for _, w := range r.Writes {
		secrets[w.Secret] = true
	}
	r.Vault.Secrets = len(secrets)
	r.Promises = d.promises()
	switch {
	case ctx.Err() != nil:
		r.Outcome = Interrupted
	case err != nil || len(r.Broken()) > 0:
		r.Outcome = Failed
	default:
		r.Outcome = Passed
	}
}

// passed reports whether a step did.
func (d *drill) passed(name string) bool {
	for _, s := range d.report.Steps {
		if s.Name == name {
			return s.Outcome == Passed
		}
	}
	return false
}

// promises judges what was seen. Each is tested only if the drill came to it.
func (d *drill) promises() []Promise {
	r := &d.report
	verified := d.passed("verify")
	var failed, wrong, back, reads int
	for _, read := range r.Reads {
		reads += read.Reads
		failed, wrong, back = failed+read.Failed, wrong+read.Wrong, back+read.WentBack
	}
	differ := 0
	for _, c := range r.Comparisons {
		differ += c.Differing + c.Surplus
	}
	m := r.Measures
	return []Promise{
		{
			Promise: "No acknowledged write is lost silently", Tested: verified, Kept: r.RecoveryPoint.LostSilently == 0,
			Detail: fmt.Sprintf("%d of %d are nowhere", r.RecoveryPoint.LostSilently, len(r.Writes)),
		},
		{
			Promise: "What the heir lacked is kept as a conflict, or arrives later", Tested: verified, Kept: d.lackedIsSafe(),
			Detail: fmt.Sprintf("%d lacked: %d conflicts, %d arrived later", r.RecoveryPoint.LackedFromBefore+r.RecoveryPoint.LackedFromAfter,
				r.RecoveryPoint.KeptAsConflict, r.RecoveryPoint.ArrivedLater),
		},
		{
			Promise: fmt.Sprintf("The heir accepts writes within %s of the decision", d.RecoverWithin), Tested: d.passed("takeover"),
			Kept: m.DecisionToFirstWrite <= d.RecoverWithin.Seconds(), Detail: fmt.Sprintf("%.3f s", m.DecisionToFirstWrite),
		},
		{
			Promise: "Reads are answered where the vault is replicated, all the while", Tested: d.read && reads > 0, Kept: failed == 0,
			Detail: fmt.Sprintf("%d of %d reads failed", failed, reads),
		},
		{
			Promise: "No region that is left answers an older value than before, or one that nobody wrote", Tested: d.read && reads > 0, Kept: wrong+back == 0,
			Detail: fmt.Sprintf("%d older, %d of nobody", back, wrong),
		},
		{
			Promise: "Who holds the token of a write that was left behind gets an error, not an older value", Tested: d.tokens > 0, Kept: d.explicit == d.tokens,
			Detail: fmt.Sprintf("%d of %d reads", d.explicit, d.tokens),
		},
		{
			Promise: "The lost region returns and is in sync without anyone editing anything", Tested: d.returned, Kept: d.passed("return"),
			Detail: fmt.Sprintf("%.2f s after its return", m.ReturnToInSync),
		},
		{
			Promise: "A planned failback leaves no conflict", Tested: verified, Kept: d.leftover == 0,
			Detail: fmt.Sprintf("%d conflicts; longest pause of a write %.0f ms", d.leftover, 1000*m.FailbackWritePause),
		},
		{
			Promise: "There is exactly one home in the end, the same for every region", Tested: verified, Kept: d.oneHome, Detail: d.Home.Name,
		},
		{
			Promise: "All regions hold the same in the end", Tested: verified, Kept: differ == 0, Detail: fmt.Sprintf("%d secrets differ by digest", differ),
		},
	}
}

// lackedIsSafe reports whether every write that the heir lacked is somewhere.
func (d *drill) lackedIsSafe() bool {
	for _, w := range d.ledger.all() {
		if w.LackedByHeir && w.End == EndLost {
			return false
		}
	}
	return true
}
