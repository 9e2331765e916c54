package model

import (
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// rules are the decisions of the protocol. The functions are those that the
// sender, the receiver and the service themselves call; the switches are what only
// a mutant does.
type rules struct {
	judge       func(held, incoming secret.Ownership) secret.Verdict
	maySend     func(o secret.Ownership, from secret.RegionName) bool
	mutable     func(o secret.Ownership, region secret.RegionName) error
	depart      func(known bool, o secret.Ownership, from secret.RegionName, open bool) departure
	understands func(needed, reader uint32) bool
	admits      func(admitted, shown uint8) bool
	// yields says whether a copy gives its name up to its successor.
	yields func(held, incoming secret.Ownership, purged bool) bool

	// doneBlindly deletes a message that was put again while it was delivered.
	doneBlindly bool
	// putsOnce leaves a message alone that is put again.
	putsOnce bool
	// enqueuesLater clears and enqueues in two transactions.
	enqueuesLater bool
	// finishesUncleared ends a synchronisation that met a state not cleared.
	finishesUncleared bool
	// forgetsReleased keeps no tombstone of a copy that is released.
	forgetsReleased bool
	// takesNames gives a name to whoever comes.
	takesNames bool
	// predecessorsAtAnyTime sends a predecessor along that is not cleared.
	predecessorsAtAnyTime bool
	// keepsAnything takes an equal order for equal content.
	keepsAnything bool
	// collects forgets purged secrets at once.
	collects bool
}

type departure uint8

const (
	leaves departure = iota
	waits
	stays
)

func production() rules {
	return rules{
		judge:   secret.Judge,
		maySend: secret.Ownership.MaySend,
		mutable: func(o secret.Ownership, region secret.RegionName) error {
			if o.Home == region {
				return nil
			}
			return secret.Errorf(secret.CodeNotHome, "")
		},
		depart: func(known bool, o secret.Ownership, from secret.RegionName, open bool) departure {
			switch {
			case open:
				return waits
			case !known || o.Home != from:
				return stays
			}
			return leaves
		},
		understands: func(needed, reader uint32) bool { return needed <= reader },
		admits:      func(admitted, shown uint8) bool { return admitted == shown },
		yields: func(held, incoming secret.Ownership, purged bool) bool {
			return purged && secret.Judge(held, incoming) == secret.Apply
		},
	}
}
