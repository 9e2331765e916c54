package replication

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// maxExamples and maxListedVaults bound what a survey names.
	maxExamples     = 3
	maxListedVaults = 20
)

// Survey is what a survivor holds of a lost region, compared with this one as before a
// takeover. It counts secrets.
type Survey struct {
	Survivor secret.RegionName
	// Compared are those of this region.
	Compared int
	Differences
	// OtherRecords are what is no secret and newer there, or there alone.
	OtherRecords int
	// Vaults are the first ones in which something differs.
	Vaults []VaultSurvey
	// Uncompared is what could not be compared, by why.
	Uncompared []Uncompared
}

// Differences between this region and a survivor.
type Differences struct {
	// Newer are newer there; Missing are there alone, and this region is meant to hold
	// them, Stranded those that it is not meant to; Behind are older there or not there.
	Newer, Missing, Stranded, Behind int
}

// VaultSurvey is the part of a Survey that is about one vault.
type VaultSurvey struct {
	Vault secret.VaultID
	Differences
	// NewerNames and MissingNames are some of those.
	NewerNames, MissingNames []string
}

// Uncompared are vaults that could not be compared; if there is none, nothing could.
type Uncompared struct {
	// Vaults are the first of Count.
	Vaults []secret.VaultID
	Count  int
	Reason string
}

// Survey compares as Compare does, and answers what each survivor holds; it neither
// receives nor remembers anything. What cannot be compared before ctx ends is named.
func (s *Survivors) Survey(ctx context.Context, lost secret.RegionName) []Survey {
	var mu sync.Mutex
	var all []Survey
	s.each(lost, func(one *survivor) error {
		found := one.survey(ctx)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, *found)
		return nil
	})
	slices.SortFunc(all, func(a, b Survey) int { return cmp.Compare(a.Survivor, b.Survivor) })
	return all
}

func (s *survivor) survey(ctx context.Context) *Survey {
	result := &surveying{Survey: Survey{Survivor: s.peer}}
	list, err := s.list(ctx)
	if err != nil {
		result.fail("", cmp.Or(context.Cause(ctx), err))
		return &result.Survey
	}
	result.OtherRecords = list.newer + len(list.missing)
	vaults := slices.Concat(list.shared, list.withheld, list.alone)
	slices.Sort(vaults)
	_ = s.vaults(vaults, func(vault secret.VaultID) error {
		v, compared, err := s.surveyVault(ctx, vault, slices.Contains(list.alone, vault))
		if err != nil {
			result.fail(vault, cmp.Or(context.Cause(ctx), err))
		} else {
			result.add(v, compared)
		}
		return nil
	})
	slices.SortFunc(result.Vaults, func(a, b VaultSurvey) int { return cmp.Compare(a.Vault, b.Vault) })
	return &result.Survey
}

func (s *survivor) surveyVault(ctx context.Context, vault secret.VaultID, alone bool) (v VaultSurvey, compared int, err error) {
	v.Vault = vault
	if alone { // nothing of it is there
		own, err := bucketDigestsOf(ctx, s.Digester, s.Local, s.compared(vault))
		v.Behind = own.secrets
		return v, own.secrets, err
	}
	own, first, err := s.compare(ctx, vault, func(f *findings) error {
		v.add(f)
		return nil
	})
	if err != nil {
		return v, 0, err
	}
	v.Stranded = int(first.GetWithheld()) //nolint:gosec // a count
	return v, own.secrets, nil
}

func (v *VaultSurvey) add(f *findings) {
	v.Newer, v.NewerNames = v.Newer+len(f.newer), examples(v.NewerNames, f.newer)
	v.Missing, v.MissingNames = v.Missing+len(f.missing), examples(v.MissingNames, f.missing)
	v.Behind += f.behind
}

func examples(named []string, found []foundSecret) []string {
	for _, one := range found[:min(len(found), maxExamples-len(named))] {
		named = append(named, one.name)
	}
	return named
}

// surveying is a survey to which vaults are added side by side.
type surveying struct {
	mu sync.Mutex
	Survey
}

func (s *surveying) add(v VaultSurvey, compared int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Compared += compared
	s.Newer, s.Missing, s.Stranded, s.Behind = s.Newer+v.Newer, s.Missing+v.Missing, s.Stranded+v.Stranded, s.Behind+v.Behind
	if v.Differences != (Differences{}) && len(s.Vaults) < maxListedVaults {
		s.Vaults = append(s.Vaults, v)
	}
}

// fail notes why a vault, or everything, could not be compared.
func (s *surveying) fail(vault secret.VaultID, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := why.Error()
	at := slices.IndexFunc(s.Uncompared, func(u Uncompared) bool { return u.Reason == reason })
	if at < 0 {
		at = len(s.Uncompared)
		s.Uncompared = append(s.Uncompared, Uncompared{Reason: reason})
	}
	if u := &s.Uncompared[at]; vault != "" {
		if u.Count++; len(u.Vaults) < maxListedVaults {
			u.Vaults = append(u.Vaults, vault)
		}
	}
}
