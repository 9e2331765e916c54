package model

import (
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// rules are the decisions of the protocol. The functions are those that the
// sender, the receiver and the service themselves call; the switches are what only
// a mutant does.
type rules struct {
	judge       func(held, incoming secret.Ownership) secret.Verdict
	maySend     func(o secret.Ownership, from secret.RegionName) bool
	mayMutate   func(o secret.Ownership, in secret.RegionName) bool
	depart      func(o secret.Ownership, from secret.RegionName, open bool) secret.Departure
	meant       func(vault secret.Replication, own []secret.Target, region secret.RegionName) bool
	comesBack   func(givenUp, incoming secret.Ownership, meant bool) bool
	yields      func(held, incoming secret.Ownership, state secret.State) bool
	understands func(needed, reader uint32) bool
	admits      func(pin link.Pin, shown secret.Incarnation) bool
	collectable func(g secret.Grave, confirmed []secret.RegionName) bool
	confirms    func(held *secret.Ownership, live bool) bool
	forgettable func(here, meant bool) bool
	mayBring    func(horizon, read secret.Moment) bool
	mayReturn   func(horizons, origins []secret.Moment, restored bool) bool

	// doneBlindly deletes a message that was put again while it was delivered.
	doneBlindly bool
	// putsOnce leaves a message alone that is put again.
	putsOnce bool
	// enqueuesLater clears and enqueues in two transactions.
	enqueuesLater bool
	// deliversPoison delivers without a message what hosts cannot apply.
	deliversPoison bool
	// trustsOlder leaves out the message to a target that has received an older mutation.
	trustsOlder bool
	// finishesUncleared ends a synchronisation that met a state not cleared.
	finishesUncleared bool
	// forgetsReleased keeps no tombstone of a copy that is released.
	forgetsReleased bool
	// secretsFirst synchronises secrets before the vault's record is there.
	secretsFirst bool
	// takesNames gives a name to whoever comes.
	takesNames bool
	// predecessorsAtAnyTime sends a predecessor along that is not cleared.
	predecessorsAtAnyTime bool
	// keepsAnything takes an equal order for equal content.
	keepsAnything bool
	// dropsQuietly does not take note of when copies were dropped of which no
	// tombstone is kept.
	dropsQuietly bool
}

// later is after every deletion: age alone is no rule that a history can break.
var later = time.Unix(1, 0)

func production() rules {
	return rules{
		judge: secret.Judge, maySend: secret.Ownership.MaySend, mayMutate: secret.Ownership.MayMutate, depart: secret.Depart,
		meant: meant, comesBack: secret.ComesBack, yields: secret.Yields,
		understands: replication.Understands, admits: link.Pin.Admits,
		collectable: func(g secret.Grave, confirmed []secret.RegionName) bool { return g.Collectable(later, confirmed) },
		confirms:    secret.Confirms, forgettable: secret.Forgettable, mayBring: secret.MayBring, mayReturn: secret.MayReturn,
	}
}

// meant is secret.MeantFor of vaults whose home is east.
func meant(vault secret.Replication, own []secret.Target, region secret.RegionName) bool {
	return secret.MeantFor(names[east], vault, names[east], own, region)
}
