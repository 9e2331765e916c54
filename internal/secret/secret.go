package secret

import (
	"maps"
	"slices"
	"time"
)

// Stage names a version of a secret: one of the stages below or a label made by
// a user. A stage is on at most one version at a time.
type Stage string

// The stages. Latest and Deprecated follow from the others and are never
// stored: Latest is the version with the highest number, Deprecated every
// version that no stage or label names.
const (
	Current    Stage = "CURRENT"
	Pending    Stage = "PENDING"
	Previous   Stage = "PREVIOUS"
	Latest     Stage = "LATEST"
	Deprecated Stage = "DEPRECATED"
)

// Secret is a named value of a vault with its versions. The record holds no
// value: those are in the Version records.
type Secret struct {
	ID        ID
	Account   AccountID
	Name      string
	Ownership Ownership
	State     State
	CreatedAt time.Time
	UpdatedAt time.Time
	// DeleteAt is when a secret in PENDING_DELETION is purged.
	DeleteAt    time.Time
	ContentType string
	Tags        map[string]string
	Description Sealed
	// Metadata is the sealed JSON object of custom metadata.
	Metadata  Sealed
	Rules     Rules
	Retention Retention
	// RequestToken and RequestMAC are those of the creation.
	RequestToken string
	RequestMAC   MAC
	// Versions are in ascending order of number.
	Versions []VersionInfo
	// LastNumber is the highest number ever given to a version.
	LastNumber uint64
	// Stages maps stages and labels to versions.
	Stages map[Stage]VersionID
	// RetiredMACs are those of pruned versions, newest last; kept only under
	// Rules.ForbidReuse.
	RetiredMACs []MAC
	// Requests are the last mutations with a request token, newest last. A purged
	// secret has only the one that purged it.
	Requests []Request
	// Targets are regions that the secret is replicated to in addition to those
	// of its vault.
	Targets []Target
	// Detached names the promotion since which the secret is another one than that of
	// which it was a replica. It is empty of any other secret.
	Detached string
	// Promoted are regions that have promoted their copy, sorted: it is not meant for
	// them any more.
	Promoted []RegionName
	// Rotation is nil unless it was ever set up.
	Rotation *Rotation
	// Next is what only a later release keeps here.
	Next Next
}

// VersionInfo is what the record of a secret knows of a version.
type VersionInfo struct {
	ID        VersionID
	Number    uint64
	CreatedAt time.Time
	CreatedBy PrincipalID
	// ExpiresAt is when it can no longer be read; zero means never.
	ExpiresAt time.Time
	// RequestToken is the idempotency token it was put with.
	RequestToken string
	MAC          MAC
	// Size is the length of the value in bytes.
	Size int
	// Binary says that the value is bytes even if they happen to be text, for
	// dialects that tell the two apart.
	Binary bool
}

// Version is the immutable sealed value of a version.
type Version struct {
	Secret ID
	ID     VersionID
	Value  Sealed
	MAC    MAC
}

// Rules restrict what may become of a secret.
type Rules struct {
	// ExpiresAt is when the secret can no longer be read; zero means never.
	ExpiresAt time.Time
	// VersionTTL is how long each new version can be read; zero means for ever.
	VersionTTL time.Duration
	// ForbidReuse refuses a value that a kept version, or one of the last
	// MaxRetiredMACs pruned ones, already had.
	ForbidReuse bool
}

// Retention says which versions are pruned. A version that a stage or label
// names, and the newest one, never is.
type Retention struct {
	// MaxVersions is how many versions are kept; zero means DefaultMaxVersions.
	MaxVersions int
	// MaxAge prunes versions older than this; zero means that age does not matter.
	MaxAge time.Duration
}

// Clone returns a deep copy, except that sealed bytes and MACs, which nobody
// changes in place, are shared.
func (s *Secret) Clone() *Secret {
	c := *s
	c.Ownership = s.Ownership.clone()
	c.Tags = maps.Clone(s.Tags)
	c.Versions = slices.Clone(s.Versions)
	c.Stages = maps.Clone(s.Stages)
	c.RetiredMACs = slices.Clone(s.RetiredMACs)
	c.Requests = slices.Clone(s.Requests)
	c.Targets = slices.Clone(s.Targets)
	c.Promoted = slices.Clone(s.Promoted)
	c.Rotation = s.Rotation.clone()
	return &c
}

// Version returns what is known of a version, nil if the secret lacks it.
func (s *Secret) Version(id VersionID) *VersionInfo {
	for i := len(s.Versions) - 1; i >= 0; i-- {
		if s.Versions[i].ID == id {
			return &s.Versions[i]
		}
	}
	return nil
}

// VersionByNumber returns the version with that number, nil if there is none.
func (s *Secret) VersionByNumber(number uint64) *VersionInfo {
	for i := len(s.Versions) - 1; i >= 0; i-- {
		if s.Versions[i].Number == number {
			return &s.Versions[i]
		}
	}
	return nil
}

// VersionAt returns the version that a stage or label names, nil if none does.
// Deprecated names no single version.
func (s *Secret) VersionAt(stage Stage) *VersionInfo {
	if stage == Latest {
		if len(s.Versions) == 0 {
			return nil
		}
		return &s.Versions[len(s.Versions)-1]
	}
	id, ok := s.Stages[stage]
	if !ok {
		return nil
	}
	return s.Version(id)
}

// StagesOf returns the stages and labels of a version, sorted, with LATEST and
// DEPRECATED where they apply.
func (s *Secret) StagesOf(id VersionID) []Stage {
	stages := make([]Stage, 0, 4) // a version seldom has more
	for stage, at := range s.Stages {
		if at == id {
			stages = append(stages, stage)
		}
	}
	if len(stages) == 0 {
		stages = append(stages, Deprecated)
	}
	if n := len(s.Versions); n > 0 && s.Versions[n-1].ID == id {
		stages = append(stages, Latest)
	}
	slices.Sort(stages)
	return stages
}

// Readable returns nil if the version may be read at now, else a
// CodeWrongState or CodeExpired error.
func (s *Secret) Readable(v *VersionInfo, now time.Time) error {
	switch {
	case s.State == PendingDeletion:
		return Errorf(CodeWrongState, "the secret is scheduled for deletion at %s", s.DeleteAt.UTC().Format(time.RFC3339)).
			WithHint("restore it first")
	case s.State == Deleted:
		return Errorf(CodeNotFound, "there is no such secret")
	case !s.Rules.ExpiresAt.IsZero() && !now.Before(s.Rules.ExpiresAt):
		return Errorf(CodeExpired, "the secret expired at %s", s.Rules.ExpiresAt.UTC().Format(time.RFC3339))
	case !v.ExpiresAt.IsZero() && !now.Before(v.ExpiresAt):
		return Errorf(CodeExpired, "version %s expired at %s", v.ID, v.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return nil
}

// Validate reports whether the record obeys the invariants that every mutation
// keeps; a violation is a bug or corrupted data.
func (s *Secret) Validate() error {
	if !s.ID.Valid() {
		return Errorf(CodeCorrupt, "secret ID %q is malformed", s.ID)
	}
	last := uint64(0)
	seen := make(map[VersionID]bool, len(s.Versions))
	for _, v := range s.Versions {
		if v.Number <= last || seen[v.ID] {
			return Errorf(CodeCorrupt, "secret %s: versions out of order at %s", s.ID, v.ID)
		}
		last, seen[v.ID] = v.Number, true
	}
	if last > s.LastNumber {
		return Errorf(CodeCorrupt, "secret %s: version number %d above the last given, %d", s.ID, last, s.LastNumber)
	}
	for stage, id := range s.Stages {
		if stage == Latest || stage == Deprecated {
			return Errorf(CodeCorrupt, "secret %s: stage %s is stored, but it follows from the others", s.ID, stage)
		}
		if !seen[id] {
			return Errorf(CodeCorrupt, "secret %s: stage %s is on the missing version %s", s.ID, stage, id)
		}
	}
	return nil
}
