package secret

import (
	"cmp"
	"slices"
	"time"
)

// RotationStep is what a rotator is asked to do, in this order. It may be asked
// again for a step that it has done, and must then answer as before.
type RotationStep string

// The steps.
const (
	CreateStep RotationStep = "CREATE" // put a new value, as a version at PENDING
	SetStep    RotationStep = "SET"    // set it where it is used
	TestStep   RotationStep = "TEST"   // test it there
	FinishStep RotationStep = "FINISH" // move CURRENT to the version
)

var nextStep = map[RotationStep]RotationStep{CreateStep: SetStep, SetStep: TestStep, TestStep: FinishStep}

// MaxRotatorBytes bounds the name of a rotator, MaxRotationFailureBytes what is kept
// of why one failed.
const (
	MaxRotatorBytes         = 2048
	MaxRotationFailureBytes = 512
)

// Rotation says how a secret's value is replaced, and how far that is. All of it is
// in the record, so that whoever goes on after a crash finds where to.
type Rotation struct {
	// Rotator is the name of what makes and sets new values.
	Rotator string
	// Enabled is set while the schedule counts.
	Enabled  bool
	Schedule Schedule
	// LastAt is when the last one finished, NextAt when the next is due; zero for none.
	LastAt, NextAt time.Time
	// Version is the one being made, empty between rotations, and Step what is to be
	// done next for it.
	Version VersionID
	Step    RotationStep
	// Attempts have failed at the step; it is tried again at RetryAt.
	Attempts int
	RetryAt  time.Time
	// Failure is why the last attempt failed.
	Failure string
	// Trial is set while the rotator is tried out: it is asked to test a copy of the
	// current value, once, and nothing is replaced.
	Trial bool
}

func (r *Rotation) clone() *Rotation {
	if r == nil {
		return nil
	}
	c := *r
	return &c
}

// Due returns when there is something to do, zero for never.
func (r *Rotation) Due() time.Time {
	switch {
	case r == nil:
		return time.Time{}
	case r.Version != "":
		return r.RetryAt
	case !r.Enabled:
		return time.Time{}
	}
	return r.NextAt
}

// RotationSettings are what ConfigureRotation changes; nil stays as it is.
type RotationSettings struct {
	Rotator  *string
	Schedule *Schedule
	// Begin is the version that a rotation is to make at once, empty for none.
	Begin VersionID
	// Try is the copy of the current value with which the rotator is to be tried out
	// instead, empty for no trial. The caller puts it at PENDING in the same mutation.
	Try VersionID
}

// ConfigureRotation sets how the secret is rotated, and turns that on. The same
// version to begin with again is a repetition. Errors: CodeInvalid, CodeWrongState
// without a rotator or while a rotation is under way.
func (s *Secret) ConfigureRotation(m Mutation, c RotationSettings) (changed bool, err error) {
	if err := s.CheckActive(); err != nil {
		return false, err
	}
	r := s.Rotation.clone()
	if r == nil {
		r = &Rotation{}
	}
	if version := cmp.Or(c.Begin, c.Try); version != "" && (r.Version == version || s.Version(version) != nil) {
		return false, nil
	}
	if c.Rotator != nil {
		if err := CheckText("rotator", *c.Rotator, MaxRotatorBytes); err != nil {
			return false, err
		}
		r.Rotator = *c.Rotator
	}
	if c.Schedule != nil {
		if err := c.Schedule.Check(); err != nil {
			return false, err
		}
		r.Schedule = *c.Schedule
	}
	switch {
	case r.Rotator == "":
		return false, &Error{Code: CodeWrongState, Field: "rotator", Message: "the secret has no rotator"}
	case r.Version != "" || s.Stages[Pending] != "" && s.Stages[Pending] != s.Stages[Current]:
		return false, &Error{Code: CodeWrongState, Field: "version_id", Message: "a rotation is under way"}
	}
	r.Enabled, r.NextAt = true, r.Schedule.Next(m.At)
	if version := cmp.Or(c.Begin, c.Try); version != "" {
		if err := CheckVersionID("version_id", version); err != nil {
			return false, err
		}
		r.begin(m.At, version)
		if c.Begin == "" {
			r.Step, r.Trial = TestStep, true
		}
	}
	s.Rotation = r
	s.advance(m)
	return true, nil
}

func (r *Rotation) begin(at time.Time, version VersionID) {
	r.Version, r.Step, r.Attempts, r.RetryAt, r.Failure, r.Trial = version, CreateStep, 0, at, "", false
}

// CancelRotation turns rotation off, and gives up the one that is under way.
func (s *Secret) CancelRotation(m Mutation) error {
	if err := s.CheckActive(); err != nil {
		return err
	}
	if s.Rotation == nil {
		return &Error{Code: CodeWrongState, Field: "rotator", Message: "the secret was never rotated"}
	}
	s.rotateNoMore()
	s.advance(m)
	return nil
}

// rotateNoMore turns rotation off, with what is under way given up.
func (s *Secret) rotateNoMore() {
	s.dropTrial()
	s.Rotation = s.Rotation.off()
}

// dropTrial removes the version with which a rotator is tried out, unless somebody has
// found another use for it.
func (s *Secret) dropTrial() {
	r := s.Rotation
	if !r.Trial {
		return
	}
	if s.Stages[Pending] == r.Version {
		delete(s.Stages, Pending)
	}
	if !s.named(r.Version) {
		s.Versions = slices.DeleteFunc(slices.Clone(s.Versions), func(v VersionInfo) bool { return v.ID == r.Version })
	}
}

// off is the rotation turned off, with the one that is under way given up.
func (r *Rotation) off() *Rotation {
	c := r.clone()
	c.Enabled, c.NextAt, c.Version, c.Step, c.Attempts, c.RetryAt, c.Trial = false, time.Time{}, "", "", 0, time.Time{}, false
	return c
}

// BeginDueRotation begins the rotation that the schedule has due, with a new version.
// One whose window has passed is left out. It reports whether anything changed.
func (s *Secret) BeginDueRotation(m Mutation, version VersionID) bool {
	r := s.Rotation.clone()
	if s.State != Active || r == nil || !r.Enabled || r.Version != "" || r.NextAt.IsZero() || m.At.Before(r.NextAt) {
		return false
	}
	missed := r.Schedule.Window > 0 && m.At.After(r.NextAt.Add(r.Schedule.Window))
	r.NextAt = r.Schedule.Next(m.At)
	if !missed {
		r.begin(m.At, version)
	}
	s.Rotation = r
	s.advance(m)
	return true
}

// FinishRotationStep notes that a step of making a version is done, or why it
// failed, and when it is to be tried again; a trial is not. What was given up meanwhile, or is at
// another step, is left as it is. It reports whether anything changed.
func (s *Secret) FinishRotationStep(m Mutation, version VersionID, step RotationStep, failure string, retryAt time.Time) bool {
	r := s.Rotation.clone()
	if r == nil || r.Version != version || r.Step != step || s.State != Active {
		return false
	}
	if failure == "" && step == FinishStep && s.Stages[Current] != version {
		failure = "the rotator has finished, but the new version is not CURRENT"
	}
	switch {
	case r.Trial:
		s.dropTrial()
		r.Version, r.Step, r.RetryAt, r.Trial, r.Failure = "", "", time.Time{}, false, failure[:min(len(failure), MaxRotationFailureBytes)]
	case failure != "":
		r.Attempts++
		r.Failure, r.RetryAt = failure[:min(len(failure), MaxRotationFailureBytes)], retryAt
	case step == FinishStep:
		r.Version, r.Step, r.Attempts, r.RetryAt, r.Failure, r.LastAt = "", "", 0, time.Time{}, "", m.At
		if r.Schedule.AfterDays > 0 || r.NextAt.IsZero() {
			r.NextAt = r.Schedule.Next(m.At)
		}
	default:
		r.Step, r.Attempts, r.RetryAt, r.Failure = nextStep[step], 0, m.At, ""
	}
	s.Rotation = r
	s.advance(m)
	return true
}
