package secret_test

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// rotating returns a secret with a current version.
func rotating(t *testing.T, now time.Time) *secret.Secret {
	t.Helper()
	s := &secret.Secret{State: secret.Active}
	if _, err := s.PutVersion(secret.Mutation{At: now}, secret.NewVersion{ID: "one", MAC: secret.MAC("1")}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRotationGoesStepByStep, keeps what failed, and is done once the new version is
// current.
func TestRotationGoesStepByStep(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC)
	s := rotating(t, now)
	m := func() secret.Mutation { return secret.Mutation{At: now} }
	if _, err := s.ConfigureRotation(m(), secret.RotationSettings{Begin: "two"}); !secret.HasCode(err, secret.CodeWrongState) || s.Rotation != nil {
		t.Fatalf("without a rotator: %v", err)
	}
	rotator := "arn:rotator"
	settings := secret.RotationSettings{Rotator: &rotator, Schedule: &secret.Schedule{AfterDays: 10, Window: 3 * time.Hour}, Begin: "two"}
	if changed, err := s.ConfigureRotation(m(), settings); err != nil || !changed || s.Rotation.Step != secret.CreateStep || s.Rotation.Due() != now {
		t.Fatalf("%v %+v", err, s.Rotation)
	}
	if changed, err := s.ConfigureRotation(m(), settings); err != nil || changed {
		t.Errorf("repeated it counts as a change: %v", err)
	}
	if _, err := s.ConfigureRotation(m(), secret.RotationSettings{Begin: "three"}); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("a second one was begun: %v", err)
	}
	if s.FinishRotationStep(m(), "two", secret.SetStep, "", now) || s.FinishRotationStep(m(), "three", secret.CreateStep, "", now) {
		t.Error("what is not under way was finished")
	}
	retry := now.Add(time.Minute)
	if !s.FinishRotationStep(m(), "two", secret.CreateStep, "it is down", retry) || s.Rotation.Due() != retry || s.Rotation.Attempts != 1 || s.Rotation.Failure != "it is down" {
		t.Errorf("after a failure: %+v", s.Rotation)
	}
	for _, step := range []secret.RotationStep{secret.CreateStep, secret.SetStep, secret.TestStep} {
		if !s.FinishRotationStep(m(), "two", step, "", now) || s.Rotation.Step == step || s.Rotation.Attempts != 0 || s.Rotation.Failure != "" {
			t.Fatalf("after %s: %+v", step, s.Rotation)
		}
	}
	if s.FinishRotationStep(m(), "two", secret.FinishStep, "", retry); s.Rotation.Version != "two" || s.Rotation.Failure == "" {
		t.Errorf("it is done although the version is not current: %+v", s.Rotation)
	}
	if _, err := s.PutVersion(m(), secret.NewVersion{ID: "two", MAC: secret.MAC("2")}); err != nil {
		t.Fatal(err)
	}
	if s.FinishRotationStep(m(), "two", secret.FinishStep, "", retry); s.Rotation.Version != "" || s.Rotation.LastAt != now || s.Rotation.NextAt != now.Add(10*24*time.Hour) {
		t.Errorf("done: %+v", s.Rotation)
	}

	if now = now.Add(9 * 24 * time.Hour); s.BeginDueRotation(m(), "three") {
		t.Error("a rotation began too early")
	}
	now = now.Add(24*time.Hour + 2*time.Hour)
	if !s.BeginDueRotation(m(), "three") || s.Rotation.Version != "three" {
		t.Errorf("within its window it did not begin: %+v", s.Rotation)
	}
	if err := s.CancelRotation(m()); err != nil || s.Rotation.Version != "" || s.Rotation.Enabled || !s.Rotation.Due().IsZero() || s.Rotation.Rotator != rotator {
		t.Errorf("cancelled: %v %+v", err, s.Rotation)
	}
	if _, err := s.ConfigureRotation(m(), secret.RotationSettings{}); err != nil || !s.Rotation.Enabled {
		t.Fatalf("turned on again: %v %+v", err, s.Rotation)
	}
	due := s.Rotation.NextAt
	now = due.Add(4 * time.Hour)
	if !s.BeginDueRotation(m(), "four") || s.Rotation.Version != "" || !s.Rotation.NextAt.After(now) {
		t.Errorf("after its window: %+v", s.Rotation)
	}
}

// TestARotatorIsTriedOut with a copy of the current value, which goes afterwards.
func TestARotatorIsTriedOut(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 0, 0, 0, time.UTC)
	m := secret.Mutation{At: now}
	rotator := "arn:rotator"
	trying := func() *secret.Secret {
		s := rotating(t, now)
		s.ID, s.Rules.ForbidReuse = "00000000000000000000000001.00000000000000000000000002", true
		if changed, err := s.ConfigureRotation(m, secret.RotationSettings{Rotator: &rotator, Try: "copy"}); err != nil || !changed {
			t.Fatal(changed, err)
		}
		if _, err := s.PutVersion(m, secret.NewVersion{ID: "copy", MAC: secret.MAC("1"), Stages: []secret.Stage{secret.Pending}, Copy: true}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for what, end := range map[string]func(*secret.Secret){
		"it works":  func(s *secret.Secret) { s.FinishRotationStep(m, "copy", secret.TestStep, "", now) },
		"it fails":  func(s *secret.Secret) { s.FinishRotationStep(m, "copy", secret.TestStep, "down", now) },
		"cancelled": func(s *secret.Secret) { _ = s.CancelRotation(m) },
	} {
		s := trying()
		if r := s.Rotation; r.Step != secret.TestStep || r.Due() != now || !r.Enabled {
			t.Errorf("%s: it begins as %+v", what, r)
		}
		if changed, err := s.ConfigureRotation(m, secret.RotationSettings{Try: "copy"}); changed || err != nil {
			t.Errorf("%s: asked for again: %t, %v", what, changed, err)
		}
		end(s)
		if r := s.Rotation; r.Version != "" || r.Trial || !r.Due().IsZero() || !r.LastAt.IsZero() || (r.Failure != "") != (what == "it fails") {
			t.Errorf("%s: it ends as %+v", what, r)
		}
		if len(s.Versions) != 1 || len(s.Stages) != 1 || s.Stages[secret.Current] != "one" || s.Validate() != nil {
			t.Errorf("%s: it leaves %+v, %v", what, s.Versions, s.Stages)
		}
	}
	s := trying()
	if _, err := s.MoveStage(m, "mine", "copy", ""); err != nil {
		t.Fatal(err)
	}
	s.FinishRotationStep(m, "copy", secret.TestStep, "", now)
	if s.Version("copy") == nil || s.Stages[secret.Pending] != "" {
		t.Errorf("a copy that somebody uses: %+v, %v", s.Versions, s.Stages)
	}
}
