package secret

import (
	"cmp"
	"fmt"
	"slices"
)

// Epoch numbers the spells of ownership of a record. It rises when ownership
// moves and is compared by counter, then by region, so that two survivors that
// take over at once are still ordered.
type Epoch struct {
	Counter uint64
	Region  RegionName
}

// Compare returns -1, 0 or +1 as e is before, equal to or after o.
func (e Epoch) Compare(o Epoch) int {
	return cmp.Or(cmp.Compare(e.Counter, o.Counter), cmp.Compare(e.Region, o.Region))
}

// Order places a state of a record in its history. It is a field of the
// record, never a revision of a store and never a clock.
type Order struct {
	Epoch Epoch
	// Seq rises by one with each mutation and does not restart with an epoch.
	Seq uint64
}

// Compare returns -1, 0 or +1 as o is before, equal to or after p.
func (o Order) Compare(p Order) int {
	return cmp.Or(o.Epoch.Compare(p.Epoch), cmp.Compare(o.Seq, p.Seq))
}

// String returns the order as counter:region:seq.
func (o Order) String() string {
	return fmt.Sprintf("%d:%s:%d", o.Epoch.Counter, o.Epoch.Region, o.Seq)
}

// Fork says at which order an epoch began.
type Fork struct {
	Epoch Epoch
	// Began is the last order of the previous epoch that the new one builds on.
	Began Order
}

// Lineage is the list of the epochs of a record, oldest first. The first epoch
// is not listed: a lineage of a record that never moved is empty.
type Lineage []Fork

// PastFork reports whether a copy at order held lies past the point where the
// history described by l left the epoch of held: whether it holds mutations
// that this history does not contain.
func (l Lineage) PastFork(held Order) bool {
	for _, fork := range l {
		if fork.Epoch.Compare(held.Epoch) > 0 {
			return held.Compare(fork.Began) > 0
		}
	}
	return false
}

// Successor returns the region that took the record over from the one of an epoch,
// empty if the lineage names none.
func (l Lineage) Successor(of Epoch) RegionName {
	for _, fork := range l {
		if fork.Epoch.Compare(of) > 0 {
			return fork.Epoch.Region
		}
	}
	return ""
}

// Ownership says which region may mutate a record and where in its history the
// record stands. Every record that replicates carries one.
type Ownership struct {
	// Home is the one region that accepts mutations of the record.
	Home RegionName
	// Incarnation is that of the home region when it last mutated the record.
	Incarnation Incarnation
	Order       Order
	Lineage     Lineage
}

// NewOwnership returns that of a record created at home: epoch 1, seq 1.
func NewOwnership(home RegionName, incarnation Incarnation) Ownership {
	return Ownership{
		Home:        home,
		Incarnation: incarnation,
		Order:       Order{Epoch: Epoch{Counter: 1, Region: home}, Seq: 1},
	}
}

// Advance raises the order by one mutation made at the present home.
func (o *Ownership) Advance(incarnation Incarnation) {
	o.Order.Seq++
	o.Incarnation = incarnation
}

// MovedTo returns the ownership after the record's home has moved to another
// region: the next epoch, which builds on the present order. It is no mutation yet:
// whoever moves the record also advances it.
func (o Ownership) MovedTo(home RegionName) Ownership { return o.inEpoch(1, home) }

// TakenBy is MovedTo for a region that takes the record over without its home: one
// epoch more, so that a move to the same region which is on its way, and is not what the
// heir went on from, is not taken for the same history.
func (o Ownership) TakenBy(heir RegionName) Ownership { return o.inEpoch(2, heir) }

func (o Ownership) inEpoch(later uint64, home RegionName) Ownership {
	moved := o.clone()
	epoch := Epoch{Counter: o.Order.Epoch.Counter + later, Region: home}
	moved.Lineage = append(moved.Lineage, Fork{Epoch: epoch, Began: o.Order})
	moved.Home, moved.Order.Epoch = home, epoch
	return moved
}

// WasIn reports whether the record's home was in a region before.
func (o Ownership) WasIn(region RegionName) bool {
	return slices.ContainsFunc(o.Lineage, func(f Fork) bool { return f.Began.Epoch.Region == region })
}

// Check returns CodeInvalid if the home is not the region of the epoch, which is
// so in every history: who takes a record begins an epoch of its own.
func (o Ownership) Check() error {
	n := len(o.Lineage)
	if o.Order.Epoch.Region != o.Home || n > 0 && o.Lineage[n-1].Epoch != o.Order.Epoch {
		return Invalid("ownership", "has the home %s and the order %s, which do not belong together", o.Home, o.Order)
	}
	return nil
}

func (o Ownership) clone() Ownership {
	o.Lineage = slices.Clone(o.Lineage)
	return o
}
