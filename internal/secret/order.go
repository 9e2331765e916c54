package secret

import (
	"cmp"
	"fmt"
	"slices"
)

// Epoch numbers the spells of ownership of a record. It rises when ownership moves,
// and is compared by counter, then by region. It names the region that began it, by a
// transaction on its own copy: the one that handed the record over, or that took it.
// A copy never goes back, so no region begins two epochs of the same counter, and no
// two histories have the same epoch, however regions were cut off from each other.
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

// Fork says at which order an epoch began, and where the record's home is in it.
type Fork struct {
	Epoch Epoch
	// Began is the last order of the previous epoch that the new one builds on.
	Began Order
	// Home is the region that accepts mutations in the epoch.
	Home RegionName
}

// Lineage is the list of the epochs of a record, oldest first. The first epoch, in
// which the home is the region of the epoch, is not listed: a lineage of a record that
// never moved is empty.
type Lineage []Fork

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

// Contains reports whether the history that o is the end of goes through the state of
// the record at an order. What it does not contain is lost when o replaces it.
func (o Ownership) Contains(at Order) bool {
	if at.Epoch == o.Order.Epoch {
		return at.Seq <= o.Order.Seq
	}
	next := slices.IndexFunc(o.Lineage, func(f Fork) bool { return f.Began.Epoch == at.Epoch })
	return next >= 0 && at.Seq <= o.Lineage[next].Began.Seq
}

// Successor returns the region that this history, which is a later one, went on in after
// an epoch.
func (o Ownership) Successor(of Epoch) RegionName {
	next := slices.IndexFunc(o.Lineage, func(f Fork) bool { return f.Epoch.Compare(of) > 0 })
	if next < 0 {
		return o.Home
	}
	return o.Lineage[next].Home
}

// HomeIn returns the region that accepted mutations in an epoch. Of one that is not of
// this history that is the region which began it, unless that handed the record over.
func (o Ownership) HomeIn(e Epoch) RegionName {
	for _, f := range o.Lineage {
		if f.Epoch == e {
			return f.Home
		}
	}
	return e.Region
}

// MovedTo returns the ownership after the record's home has handed the record over to
// another region: the next epoch, which builds on the present order. It is no mutation
// yet: whoever moves the record also advances it.
func (o Ownership) MovedTo(home RegionName) Ownership {
	return o.inEpoch(Epoch{Counter: o.Order.Epoch.Counter + 1, Region: o.Home}, home)
}

// TakenBy is MovedTo for a region that takes the record over without its home: one
// epoch more, so that it counts for more than a move which is on its way.
func (o Ownership) TakenBy(heir RegionName) Ownership {
	return o.inEpoch(Epoch{Counter: o.Order.Epoch.Counter + 2, Region: heir}, heir)
}

func (o Ownership) inEpoch(epoch Epoch, home RegionName) Ownership {
	moved := o.clone()
	moved.Lineage = append(moved.Lineage, Fork{Epoch: epoch, Began: o.Order, Home: home})
	moved.Home, moved.Order.Epoch = home, epoch
	return moved
}

// HandedOverBy reports whether the present home has the record from a region that handed
// it over as planned.
func (o Ownership) HandedOverBy(region RegionName) bool {
	return o.Home != region && o.Order.Epoch.Region == region
}

// WasIn reports whether the record's home was in a region before.
func (o Ownership) WasIn(region RegionName) bool {
	n := len(o.Lineage)
	return n > 0 && (o.Lineage[0].Began.Epoch.Region == region ||
		slices.ContainsFunc(o.Lineage[:n-1], func(f Fork) bool { return f.Home == region }))
}

// Check returns CodeInvalid if this is not the ownership of any history: each epoch
// builds on the one before, and was begun by the home of that or by its own.
func (o Ownership) Check() error {
	first := o.Order
	if len(o.Lineage) > 0 {
		first = o.Lineage[0].Began
	}
	epoch, home, seq := first.Epoch, first.Epoch.Region, first.Seq
	for _, f := range o.Lineage {
		if f.Began.Epoch != epoch || f.Began.Seq < seq || f.Epoch.Counter <= epoch.Counter || f.Epoch.Region != home && f.Epoch.Region != f.Home {
			return Invalid("ownership", "has a lineage in which %d:%s does not go on from %s", f.Epoch.Counter, f.Epoch.Region, f.Began)
		}
		epoch, home, seq = f.Epoch, f.Home, f.Began.Seq+1
	}
	if o.Order.Epoch != epoch || o.Home != home || o.Order.Seq < seq {
		return Invalid("ownership", "has the home %s and the order %s, which do not belong together", o.Home, o.Order)
	}
	return nil
}

func (o Ownership) clone() Ownership {
	o.Lineage = slices.Clone(o.Lineage)
	return o
}
