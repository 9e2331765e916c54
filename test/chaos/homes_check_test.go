//go:build !faultpoints

package chaos_test

import (
	"context"
	"errors"
	"slices"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// where is in which place of a vault a value is.
type where struct {
	inVersion  bool
	inConflict []string // of regions
}

// checkHomes looks at everything that must hold in the end.
func (w *homesWorld) checkHomes() {
	for _, v := range replicatedVaults {
		copies := w.equalCopies(v)
		values := w.valuesOf(v, copies)
		w.checkWritten(v, copies, values)
		w.checkOneHome(v, copies)
	}
	w.checkTraces()
	w.t.Logf("provoked and seen: %v", w.counts)
	if w.counts["put "] < 20 || w.counts["takeover"] < 1 || w.counts["in a conflict"]+w.counts["in a version"] < 20 {
		w.t.Error("too little was done to show anything")
	}
}

// equalCopies returns what all regions have of a vault.
func (w *homesWorld) equalCopies(v replicatedVault) (first map[string]stored) {
	for _, region := range v.holders() {
		for _, c := range w.clients(region, v) {
			w.eventually(region+" has "+v.name+" as the others have it", func(ctx context.Context) error {
				here, err := dumpVault(ctx, c, v.name)
				if err == nil && first == nil {
					first = here
				}
				return errors.Join(err, differs(here, first))
			})
		}
	}
	return first
}

// valuesOf returns where each value of a vault is.
func (w *homesWorld) valuesOf(v replicatedVault, copies map[string]stored) map[string]*where {
	values := map[string]*where{}
	at := func(value string) *where {
		if values[value] == nil {
			values[value] = &where{}
		}
		return values[value]
	}
	for _, s := range copies {
		for _, value := range s.values {
			at(value).inVersion = true
		}
	}
	for _, region := range v.holders() {
		c := w.clients(region, v)[0]
		listed, err := c.ListConflicts(w.t.Context(), &lifeboatv1.ListConflictsRequest{Vault: v.name})
		must(w.t, err)
		for _, conflict := range listed.GetConflicts() {
			shown, err := c.GetConflict(w.t.Context(), &lifeboatv1.GetConflictRequest{Id: conflict.GetId()})
			must(w.t, err)
			w.count("conflict")
			for _, version := range shown.GetConflict().GetVersions() {
				found := at(string(version.GetValue()))
				found.inConflict = append(found.inConflict, region)
			}
		}
	}
	return values
}

// checkWritten looks for acknowledged values that are gone, for what was done although
// it was refused, and asks every region about the tokens.
func (w *homesWorld) checkWritten(v replicatedVault, copies map[string]stored, values map[string]*where) {
	for _, o := range w.ledger.written {
		if _, ours := w.ledger.made[o.name]; !ours || w.ledger.made[o.name] != v.name || w.ledger.purged[o.name] {
			continue // of a purge later than it nobody can tell
		}
		found := values[o.value]
		switch {
		case found == nil && o.token != "":
			w.t.Errorf("lost: %s of %s, acknowledged in %s, is in no version and no conflict; the secret is %v", o.value, o.name, o.in, copies[o.name].description)
			continue
		case found != nil && o.refused:
			w.t.Errorf("%s of %s was refused in %s, and is there: %+v", o.value, o.name, o.in, *found)
		}
		if o.token == "" {
			continue
		}
		if found.inVersion {
			w.count("in a version")
		} else {
			w.count("in a conflict")
		}
		if !o.replayed {
			w.checkToken(v, o, found)
		}
	}
}

// checkToken reads with the token of an acknowledged write in each region: it answers
// if the write is in the history, and says that it was left behind if not.
func (w *homesWorld) checkToken(v replicatedVault, o written, found *where) {
	for _, region := range v.holders() {
		_, err := w.clients(region, v)[0].GetSecretValue(w.t.Context(), &lifeboatv1.GetSecretValueRequest{Vault: v.name, Secret: o.name, RevisionToken: o.token})
		code := client.CodeOf(err)
		if found.inVersion && code != "" || !found.inVersion && code != client.CodeSuperseded {
			w.t.Errorf("%s answers the token of %s of %s, which was acknowledged in %s and is %+v, with %q: %v", region, o.value, o.name, o.in, *found, code, err)
		}
	}
}

// checkOneHome writes each secret in every region: one accepts it, and all others name
// that one, or pass the write on to it.
func (w *homesWorld) checkOneHome(v replicatedVault, copies map[string]stored) {
	for name, s := range copies {
		home := s.description.GetOwnership().GetHomeRegion()
		if !slices.Contains(v.holders(), home) {
			w.t.Errorf("the home of %s is %s, which does not hold it", name, home)
		}
		for _, region := range v.holders() {
			answer, err := w.clients(region, v)[0].UpdateSecret(w.t.Context(), &lifeboatv1.UpdateSecretRequest{
				Vault: v.name, Secret: name, SetTags: map[string]string{"home": region},
			})
			e, _ := errors.AsType[*client.Error](err)
			switch {
			case region == home && err != nil:
				w.t.Errorf("%s is the home of %s and refuses it: %v", region, name, err)
			case err == nil && answer.GetSecret().GetOwnership().GetHomeRegion() != home:
				w.t.Errorf("the home of %s is %s; %s accepts a write as the home %s", name, home, region, answer.GetSecret().GetOwnership().GetHomeRegion())
			case region != home && err != nil && (e == nil || e.Code != client.CodeNotHome || e.Home != home):
				w.t.Errorf("the home of %s is %s; %s answers %v", name, home, region, err)
			}
		}
	}
	for name, vault := range w.ledger.made {
		if _, there := copies[name]; vault == v.name && !there && !w.ledger.purged[name] {
			w.t.Errorf("%s was made in %s and is gone", name, v.name)
		}
	}
}

// checkTraces looks for what must be in no file and no answer.
func (w *regionsWorld) checkTraces() {
	for _, err := range w.wrong[:min(20, len(w.wrong))] {
		w.t.Error(err)
	}
	for sign, of := range map[string]string{w.canary: "plaintext on disk", "DATA RACE": "trouble", "panic: ": "trouble", "fatal error: ": "trouble"} {
		found, err := search(w.dir, sign)
		must(w.t, err)
		for _, f := range found {
			w.t.Errorf("%s: %s", of, f)
		}
	}
}
