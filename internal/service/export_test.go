package service

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// SoundTime is what the sweep goes by.
var SoundTime = (*Service).soundTime

// AllocationsOfNote returns what it allocates to note a read that is noted already.
func AllocationsOfNote(s *Service, sec *secret.Secret) float64 {
	id, version := sec.ID, sec.VersionAt(secret.Current).ID
	return testing.AllocsPerRun(100, func() { s.accesses.note(id, version, dayOf(s.Now())) })
}
