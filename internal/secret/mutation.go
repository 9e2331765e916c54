package secret

import (
	"slices"
	"time"
)

// Mutation says who changes a record, when, and in which life of the region.
type Mutation struct {
	By          PrincipalID
	At          time.Time
	Incarnation Incarnation
}

func (s *Secret) advance(m Mutation) {
	s.Ownership.Advance(m.Incarnation)
	s.UpdatedAt = m.At
}

// CheckActive returns nil if the secret accepts mutations of its content.
func (s *Secret) CheckActive() error {
	switch s.State {
	case PendingDeletion:
		return Errorf(CodeWrongState, "the secret is scheduled for deletion").WithHint("restore it first")
	case Deleted:
		return Errorf(CodeNotFound, "there is no such secret")
	}
	return nil
}

// NewVersion is what PutVersion adds.
type NewVersion struct {
	ID VersionID
	// Stages move to the new version; none means CURRENT.
	Stages []Stage
	// ExpiresAt overrides Rules.VersionTTL; zero means the rule decides.
	ExpiresAt    time.Time
	RequestToken string
	MAC          MAC
	Size         int
	Binary       bool
	// Copy says that the value is that of another version, on purpose: rules do not
	// forbid that.
	Copy bool
}

// PutResult says what PutVersion did.
type PutResult struct {
	Version VersionInfo
	// Replayed is set if the version had been put before with the same token or
	// ID and content; then nothing changed.
	Replayed bool
	// Pruned are the versions that retention removed.
	Pruned []VersionID
}

// PutVersion adds a version. The same request token or version ID with the same
// content is a replay; with other content it is CodeTokenReused or CodeExists.
// Other errors: CodeWrongState, CodeInvalid, CodeLimit. On error nothing changed.
func (s *Secret) PutVersion(m Mutation, v NewVersion) (PutResult, error) {
	prior, err := s.replayOf(v)
	// What was done with the token stays done, whatever became of the secret.
	if prior == nil || v.RequestToken == "" || prior.RequestToken != v.RequestToken {
		if err := s.CheckActive(); err != nil {
			return PutResult{}, err
		}
	}
	if err != nil {
		return PutResult{}, err
	}
	if prior != nil {
		return PutResult{Version: *prior, Replayed: true}, nil
	}
	stages := v.Stages
	if len(stages) == 0 {
		stages = []Stage{Current}
	}
	if err := s.checkPut(v, stages); err != nil {
		return PutResult{}, err
	}
	info := VersionInfo{
		ID: v.ID, Number: s.LastNumber + 1, CreatedAt: m.At, CreatedBy: m.By,
		ExpiresAt: v.ExpiresAt, RequestToken: v.RequestToken, MAC: v.MAC, Size: v.Size, Binary: v.Binary,
	}
	if info.ExpiresAt.IsZero() && s.Rules.VersionTTL > 0 {
		info.ExpiresAt = m.At.Add(s.Rules.VersionTTL)
	}
	s.LastNumber++
	s.Versions = append(s.Versions, info)
	// CURRENT first, because it takes PENDING off: named with it, PENDING stays.
	if slices.Contains(stages, Current) {
		s.setStage(Current, v.ID)
	}
	for _, stage := range stages {
		if stage != Current {
			s.setStage(stage, v.ID)
		}
	}
	pruned := s.prune(m.At)
	s.advance(m)
	return PutResult{Version: info, Pruned: pruned}, nil
}

func (s *Secret) checkPut(v NewVersion, stages []Stage) error {
	if err := CheckVersionID("version_id", v.ID); err != nil {
		return err
	}
	if err := CheckRequestToken("request_token", v.RequestToken); err != nil {
		return err
	}
	if err := CheckStages("stages", stages); err != nil {
		return err
	}
	if err := s.checkReuse(v.MAC); err != nil && !v.Copy {
		return err
	}
	if s.namedVersionsWithout(stages) > MaxVersions {
		return Errorf(CodeLimit, "the secret would have more than %d versions that stages or labels name", MaxVersions).
			WithHint("remove labels that are no longer needed")
	}
	return nil
}

// replayOf returns the version that v repeats, nil if there is none. A request
// token decides before a version ID does.
func (s *Secret) replayOf(v NewVersion) (*VersionInfo, error) {
	if v.RequestToken != "" {
		for i := range s.Versions {
			prior := &s.Versions[i]
			switch {
			case prior.RequestToken != v.RequestToken:
			case !prior.MAC.Equal(v.MAC) || prior.Binary != v.Binary:
				return nil, TokenReused()
			default:
				return prior, nil
			}
		}
		// The creation may put the first version with its own token.
		if v.RequestToken == s.RequestToken && s.LastNumber > 0 {
			return nil, TokenReused()
		}
		if slices.ContainsFunc(s.Requests, func(r Request) bool { return r.Token == v.RequestToken }) {
			return nil, TokenReused()
		}
	}
	prior := s.Version(v.ID)
	if prior != nil && (!prior.MAC.Equal(v.MAC) || prior.Binary != v.Binary) {
		return nil, &Error{Code: CodeExists, Field: "version_id", Message: "version " + string(v.ID) + " exists with another value"}
	}
	return prior, nil
}

// TokenReused is the error of a request token that came with another request.
func TokenReused() *Error {
	return &Error{
		Code: CodeTokenReused, Field: "request_token",
		Message: "was used before for another request",
		Hint:    "use a new token for each new request",
	}
}

// ReplayOfCreate decides what a creation with a request token means when the
// name is taken by s: nil if it is the same creation again, CodeTokenReused if
// the token came with other content, CodeExists if it is another creation.
func (s *Secret) ReplayOfCreate(token string, mac MAC) error {
	switch {
	case token != "" && token == s.RequestToken && s.RequestMAC.Equal(mac):
		return nil
	case token != "" && token == s.RequestToken:
		return TokenReused()
	case s.State == PendingDeletion:
		return &Error{Code: CodeWrongState, Field: "name", Message: "a secret with this name is scheduled for deletion", Hint: "restore it, or choose another name"}
	}
	return &Error{Code: CodeExists, Field: "name", Message: "a secret with this name exists", Hint: "put a new version instead"}
}

func (s *Secret) checkReuse(mac MAC) error {
	if !s.Rules.ForbidReuse {
		return nil
	}
	used := slices.ContainsFunc(s.Versions, func(v VersionInfo) bool { return v.MAC.Equal(mac) }) ||
		slices.ContainsFunc(s.RetiredMACs, mac.Equal)
	if used {
		return &Error{Code: CodeInvalid, Field: "value", Message: "was the value of an earlier version, which the secret's rules forbid"}
	}
	return nil
}

// CheckStages checks stages that a caller puts on a version.
func CheckStages(field string, stages []Stage) error {
	if len(stages) > MaxLabelsPerVersion {
		return Invalid(field, "has %d entries; the limit is %d", len(stages), MaxLabelsPerVersion)
	}
	for _, stage := range stages {
		if stage == Latest || stage == Deprecated || stage == Previous {
			return Invalid(field, "%s follows from the other stages and cannot be set", stage)
		}
		if err := checkChars(field, string(stage), MaxLabelBytes, labelChars, "letters, digits and /_+=.@!-:"); err != nil {
			return err
		}
	}
	return nil
}

// setStage moves a stage. CURRENT leaves PREVIOUS on the version it left, and a
// PENDING version that becomes CURRENT is no longer pending.
func (s *Secret) setStage(stage Stage, id VersionID) {
	if s.Stages == nil {
		s.Stages = make(map[Stage]VersionID)
	}
	if stage == Current {
		if old, ok := s.Stages[Current]; ok && old != id {
			s.Stages[Previous] = old
		}
		if s.Stages[Pending] == id {
			delete(s.Stages, Pending)
		}
		if s.Stages[Previous] == id {
			delete(s.Stages, Previous)
		}
	}
	s.Stages[stage] = id
}

func (s *Secret) named(id VersionID) bool {
	for _, at := range s.Stages {
		if at == id {
			return true
		}
	}
	return false
}

// namedVersionsWithout counts the versions that would still be named after the
// stages have moved away to a new version, which it counts too.
func (s *Secret) namedVersionsWithout(moved []Stage) int {
	named := map[VersionID]bool{}
	for stage, id := range s.Stages {
		if !slices.Contains(moved, stage) && (stage != Previous || !slices.Contains(moved, Current)) {
			named[id] = true
		}
	}
	if slices.Contains(moved, Current) {
		if id, ok := s.Stages[Current]; ok {
			named[id] = true
		}
	}
	return len(named) + 1
}

// prune drops what retention allows, oldest first, at most
// MaxPrunedPerMutation, never the newest version nor a named one.
func (s *Secret) prune(now time.Time) []VersionID {
	limit := s.Retention.MaxVersions
	if limit == 0 {
		limit = DefaultMaxVersions
	}
	var pruned []VersionID
	excess := len(s.Versions) - limit
	kept := s.Versions[:0:0]
	for i, v := range s.Versions {
		tooOld := s.Retention.MaxAge > 0 && now.Sub(v.CreatedAt) > s.Retention.MaxAge
		newest := i == len(s.Versions)-1
		if newest || len(pruned) == MaxPrunedPerMutation || len(pruned) >= excess && !tooOld || s.named(v.ID) {
			kept = append(kept, v)
			continue
		}
		pruned = append(pruned, v.ID)
		if s.Rules.ForbidReuse {
			s.RetiredMACs = append(s.RetiredMACs, v.MAC)
		}
	}
	s.Versions = kept
	if n := len(s.RetiredMACs); n > MaxRetiredMACs {
		s.RetiredMACs = slices.Clone(s.RetiredMACs[n-MaxRetiredMACs:])
	}
	return pruned
}

// PruneExpired drops versions that retention, by number or by age at that time, no
// longer keeps; it returns none, and changes nothing, if there are none.
func (s *Secret) PruneExpired(m Mutation, at time.Time) []VersionID {
	if s.State == Deleted {
		return nil
	}
	pruned := s.prune(at)
	if len(pruned) > 0 {
		s.advance(m)
	}
	return pruned
}

// MoveStage puts a stage or label on version to, or takes it off if to is
// empty. If from is not empty the stage must be there now, else CodeStale.
// CURRENT can be moved but not taken off. It reports whether anything changed.
func (s *Secret) MoveStage(m Mutation, stage Stage, to, from VersionID) (bool, error) {
	if err := s.CheckActive(); err != nil {
		return false, err
	}
	if err := CheckStages("stage", []Stage{stage}); err != nil {
		return false, err
	}
	at := s.Stages[stage]
	switch {
	case from != "" && at != from:
		return false, &Error{Code: CodeStale, Field: "from_version_id", Message: "the stage " + string(stage) + " is not on that version"}
	case to == "" && stage == Current:
		return false, Invalid("stage", "CURRENT cannot be taken off a secret").WithHint("move it to another version")
	case to != "" && s.Version(to) == nil:
		return false, &Error{Code: CodeNotFound, Field: "to_version_id", Message: "the secret has no such version"}
	case at == to:
		return false, nil
	}
	if to == "" {
		delete(s.Stages, stage)
		s.advance(m)
		return true, nil
	}
	if s.stagesWith(to, stage) > MaxLabelsPerVersion {
		return false, Errorf(CodeLimit, "version %s has %d stages and labels, the limit", to, MaxLabelsPerVersion).
			WithHint("remove labels that are no longer needed")
	}
	s.setStage(stage, to)
	s.advance(m)
	return true, nil
}

// stagesWith counts the stages and labels of a version once setStage has put
// another one on it.
func (s *Secret) stagesWith(id VersionID, stage Stage) int {
	n := 1
	for other, at := range s.Stages {
		replaced := stage == Current && (other == Pending || other == Previous)
		if at == id && other != stage && !replaced {
			n++
		}
	}
	return n
}

// Changes are what Update changes; a nil field stays as it is.
type Changes struct {
	Description *Sealed
	Metadata    *Sealed
	ContentType *string
	// SetTags are added or replaced, RemoveTags taken off.
	SetTags    map[string]string
	RemoveTags []string
	Rules      *Rules
	Retention  *Retention
}

// Update changes metadata; it counts as a mutation also if what it sets was
// there before. Errors: CodeWrongState, CodeInvalid. On error nothing changed.
func (s *Secret) Update(m Mutation, c Changes) error {
	if err := s.CheckActive(); err != nil {
		return err
	}
	tags, err := editTags(s.Tags, c.SetTags, c.RemoveTags)
	if err != nil {
		return err
	}
	if c.ContentType != nil {
		if err := CheckText("content_type", *c.ContentType, MaxContentTypeBytes); err != nil {
			return err
		}
	}
	if c.Rules != nil {
		if err := c.Rules.Check(); err != nil {
			return err
		}
	}
	if c.Retention != nil {
		if err := c.Retention.Check(); err != nil {
			return err
		}
		s.Retention = *c.Retention
	}
	if c.ContentType != nil {
		s.ContentType = *c.ContentType
	}
	if c.Rules != nil {
		s.Rules = *c.Rules
		if !s.Rules.ForbidReuse {
			s.RetiredMACs = nil
		}
	}
	s.Tags = tags
	if c.Description != nil {
		s.Description = *c.Description
	}
	if c.Metadata != nil {
		s.Metadata = *c.Metadata
	}
	s.advance(m)
	return nil
}

// Check checks the limits of rules.
func (r Rules) Check() error {
	switch {
	case r.VersionTTL < 0 || r.VersionTTL > 0 && r.VersionTTL < time.Second:
		return Invalid("rules.version_ttl", "must be zero or at least one second")
	case r.VersionTTL > MaxVersionTTL:
		return Invalid("rules.version_ttl", "is longer than 100 years, the limit")
	}
	return nil
}

// Check checks the limits of retention.
func (r Retention) Check() error {
	switch {
	case r.MaxVersions < 0 || r.MaxVersions > MaxVersions:
		return Invalid("retention.max_versions", "is %d; allowed are 1 to %d, or 0 for the default of %d", r.MaxVersions, MaxVersions, DefaultMaxVersions)
	case r.MaxAge < 0 || r.MaxAge > 0 && r.MaxAge < time.Hour:
		return Invalid("retention.max_age", "must be zero or at least one hour")
	}
	return nil
}

// ScheduleDeletion plans the purge after a window of 7 to 30 days; zero means
// the default. A secret that is scheduled already is CodeWrongState.
func (s *Secret) ScheduleDeletion(m Mutation, window time.Duration) error {
	if window == 0 {
		window = DefaultDeletionWindow
	}
	if window < MinDeletionWindow || window > MaxDeletionWindow {
		return Invalid("recovery_window", "is %s; allowed are 7 to 30 days", window)
	}
	if err := s.CheckActive(); err != nil {
		return err
	}
	s.State = PendingDeletion
	s.DeleteAt = m.At.Add(window)
	s.advance(m)
	return nil
}

// Restore takes a scheduled deletion back; on a live secret it changes nothing
// and returns false.
func (s *Secret) Restore(m Mutation) (bool, error) {
	switch s.State {
	case Deleted:
		return false, Errorf(CodeNotFound, "there is no such secret")
	case PendingDeletion:
		s.State = Active
		s.DeleteAt = time.Time{}
		s.advance(m)
		return true, nil
	}
	return false, nil
}

// SetAside gives the secret's name up to another one: it gets a new name that ends
// in mark, and is scheduled for deletion so that it can still be restored.
func (s *Secret) SetAside(m Mutation, mark string) {
	suffix := "!replaced-" + mark
	s.Name = s.Name[:min(len(s.Name), MaxNameBytes-len(suffix))] + suffix
	if s.State == Active {
		s.State = PendingDeletion
		s.DeleteAt = m.At.Add(DefaultDeletionWindow)
	}
	s.advance(m)
}

// Retarget sets the regions that the secret is replicated to in addition to those
// of its vault. Errors: CodeWrongState.
func (s *Secret) Retarget(m Mutation, targets []Target) error {
	if err := s.CheckActive(); err != nil {
		return err
	}
	s.Targets = targets
	s.advance(m)
	return nil
}

// Purge turns the record into a tombstone, which keeps ID, name, order and
// targets but no content, and returns the versions whose records must go with it.
func (s *Secret) Purge(m Mutation) ([]VersionID, error) {
	if s.State == Deleted {
		return nil, Errorf(CodeNotFound, "there is no such secret")
	}
	versions := make([]VersionID, len(s.Versions))
	for i, v := range s.Versions {
		versions[i] = v.ID
	}
	*s = Secret{
		ID: s.ID, Account: s.Account, Name: s.Name, Ownership: s.Ownership, State: Deleted,
		CreatedAt: s.CreatedAt, LastNumber: s.LastNumber, Targets: s.Targets, Detached: s.Detached, Promoted: s.Promoted,
	}
	s.advance(m)
	return versions, nil
}

// MoveHome moves the home of a secret of any state, as its ownership has moved, to a
// region that it is meant for; if that is one of its own targets, the former home becomes one.
func (s *Secret) MoveHome(m Mutation, moved Ownership) {
	s.Targets = moveTargets(s.Targets, s.Ownership.Home, moved.Home, "")
	s.Ownership = moved
	s.advance(m)
}
