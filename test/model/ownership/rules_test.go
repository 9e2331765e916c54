package ownership

import "github.com/lifeboat-secrets/lifeboat/internal/secret"

// rules are the decisions of the protocol. The functions are those that the regions
// themselves call; the switches are what only a mutant does.
type rules struct {
	judge     func(held, incoming secret.Ownership) secret.Verdict
	inherit   func(held, incoming secret.Ownership, heir secret.RegionName) secret.Verdict
	maySend   func(o secret.Ownership, from secret.RegionName) bool
	mayMutate func(o secret.Ownership, in secret.RegionName) bool
	mayMoveTo func(o secret.Ownership, to secret.RegionName, behind []secret.RegionName) bool
	movedTo   func(o secret.Ownership, to secret.RegionName) secret.Ownership
	takenBy   func(o secret.Ownership, heir secret.RegionName) secret.Ownership
	missing   func(held, incoming *secret.Secret) []secret.VersionID
	ahead     func(survivor, held secret.Order) bool

	// mayPromote, sameSecret, collide and notePromoted are those of promotions.
	mayPromote   func(o secret.Ownership, in secret.RegionName, untold bool) bool
	sameSecret   func(held, incoming *secret.Secret) bool
	collide      func(held, incoming *secret.Secret, meant, pending, forced bool) secret.Collision
	notePromoted func(s *secret.Secret, m secret.Mutation, in, region secret.RegionName) bool

	// goesOn has a region that knows it was taken over accept mutations.
	goesOn bool
	// asksNobody has a region accept mutations after a start before it has asked its peers.
	asksNobody bool
	// endsEarly ends a takeover before the lost region has received what has moved.
	endsEarly bool
	// movesNothing ends a takeover before the record has moved.
	movesNothing bool
}

func production() rules {
	return rules{
		judge: secret.Judge, inherit: secret.Inherit, maySend: secret.Ownership.MaySend, mayMutate: secret.Ownership.MayMutate,
		mayMoveTo: secret.Ownership.MayMoveTo, movedTo: secret.Ownership.MovedTo, takenBy: secret.Ownership.TakenBy, missing: secret.Missing, ahead: secret.Ahead,
		mayPromote: secret.Ownership.MayPromote, sameSecret: (*secret.Secret).SameSecret, collide: secret.Collide, notePromoted: (*secret.Secret).NotePromoted,
	}
}
