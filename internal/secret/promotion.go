package secret

import "slices"

// Promote makes a replica a secret of its own in a region: from here on its history is
// another one than that of the secret which it was a copy of, whose ID it keeps. The
// promotion needs a name that none had before. The secret has no targets, and is rotated by nobody, since the other one still may be. Errors:
// CodeWrongState.
func (s *Secret) Promote(m Mutation, region RegionName, promotion string) error {
	if err := s.CheckActive(); err != nil {
		return err
	}
	s.Ownership = s.Ownership.TakenBy(region)
	s.Detached = promotion
	s.Targets, s.Promoted = nil, nil
	if s.Rotation != nil {
		s.rotateNoMore()
	}
	s.advance(m)
	return nil
}

// MayPromote reports whether a region may make its replica a secret of its own: it is
// not the home, and not the one before either, as long as the home has not heard that
// it is. untold says that somebody still has to hear of the state.
func (o Ownership) MayPromote(in RegionName, untold bool) bool {
	return !o.MayMutate(in) && !(untold && o.handedOverBy(in))
}

// Insists reports whether a region is a target of the secret itself although it was
// known that it had promoted its replica: then its refusal is a failure as any other,
// until what it has is deleted.
func (s *Secret) Insists(region RegionName) bool {
	return TargetIn(s.Targets, region) != nil && slices.Contains(s.Promoted, region)
}

// NotePromoted takes a region off the targets of a secret, and keeps it out of them
// whatever its vault says: what it holds is a secret of its own. A home that was moving
// there stays where it was, which is in. It reports whether anything changed.
func (s *Secret) NotePromoted(m Mutation, in, region RegionName) bool {
	leaving := s.Ownership.Home == region && s.Ownership.handedOverBy(in)
	known := slices.Contains(s.Promoted, region) && TargetIn(s.Targets, region) == nil
	if s.State == Deleted || s.Ownership.Home != in && !leaving || known && !leaving {
		return false
	}
	if leaving {
		s.Ownership = s.Ownership.TakenBy(in)
	}
	s.Targets = withoutTarget(s.Targets, region)
	s.Promoted = append(slices.Clone(s.Promoted), region)
	slices.Sort(s.Promoted)
	s.Promoted = slices.Compact(s.Promoted)
	s.advance(m)
	return true
}

func withoutTarget(targets []Target, region RegionName) []Target {
	return slices.DeleteFunc(slices.Clone(targets), func(t Target) bool { return t.Region == region })
}

// IsDetached reports whether the secret, or the one that it is a replica of, became a
// secret of its own by a promotion.
func (s *Secret) IsDetached() bool { return s.Detached != "" }

// SameSecret reports whether two states of one ID belong to one secret: neither has
// been promoted since the other was. The orders of those that do not are not compared.
func (s *Secret) SameSecret(o *Secret) bool { return s.Detached == o.Detached }

// PartedFrom reports whether a promotion parted the secret from a region, whatever its
// vault says: the secret was promoted, or its replica in that region was.
func (s *Secret) PartedFrom(region RegionName) bool {
	return TargetIn(s.Targets, region) == nil && (s.IsDetached() || slices.Contains(s.Promoted, region))
}

// PromotedElsewhere returns the regions that have promoted their replica and are no
// targets of the secret itself since.
func (s *Secret) PromotedElsewhere() []RegionName {
	return slices.DeleteFunc(slices.Clone(s.Promoted), func(r RegionName) bool { return TargetIn(s.Targets, r) != nil })
}

// MeantFor is the function MeantFor for a secret: one that was promoted goes to its own
// targets alone, and no secret to a region that has promoted its copy.
func (s *Secret) MeantFor(vaultHome RegionName, vault Replication, region RegionName) bool {
	switch {
	case s.IsDetached():
		return TargetIn(s.Targets, region) != nil
	case s.PartedFrom(region):
		return false
	}
	return MeantFor(vaultHome, vault, s.Ownership.Home, s.Targets, region)
}

// Destinations is the function Destinations for a secret, by the rule of its MeantFor.
func (s *Secret) Destinations(vaultHome RegionName, vault Replication) []RegionName {
	if s.IsDetached() {
		vaultHome, vault = s.Ownership.Home, Replication{}
	}
	to := Destinations(vaultHome, vault, s.Ownership.Home, s.Targets)
	return slices.DeleteFunc(to, func(r RegionName) bool { return !s.IsDetached() && s.PartedFrom(r) })
}

// Collision is what a region does with a state of a secret where what it holds under
// the same ID is another secret, because one of the two was promoted.
type Collision string

// The collisions.
const (
	// StandsAlone: the region has promoted its copy. The source must be told, and
	// counts it among its targets no more.
	StandsAlone Collision = "STANDS_ALONE"
	// Taken: the region has another secret of that ID, and nothing is overwritten.
	Taken Collision = "TAKEN"
	// Passes: the state is not meant for the region. It only says that there is a
	// secret of its own elsewhere.
	Passes Collision = "PASSES"
	// Overwrites: the state replaces what the region has promoted, which is kept as a
	// conflict, because the target says so.
	Overwrites Collision = "OVERWRITES"
	// Replaces: what is held is deleted, or a replica that was given up, and gives way.
	Replaces Collision = "REPLACES"
	// Pends: what is held is deleted, but others still have to hear of that.
	Pends Collision = "PENDS"
)

// Collide decides on an incoming state where held is another secret of the same ID.
// pending says that somebody still has to hear of what is held, forced that the target
// may be overwritten.
func Collide(held, incoming *Secret, meant, pending, forced bool) Collision {
	live := held.State != Deleted
	switch {
	case !meant && incoming.IsDetached():
		return Passes
	case live && held.IsDetached() && meant && forced && !pending && len(held.Targets) == 0 && held.Name == incoming.Name:
		return Overwrites
	case live && held.IsDetached():
		return StandsAlone
	case live:
		return Taken
	case !meant:
		return Passes
	case pending:
		return Pends
	}
	return Replaces
}
