package ownership

import (
	"fmt"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The model has three regions that hold one record. Its first home sorts between the
// two others, so that each of them wins against one when epochs have the same counter.
const (
	east, south, west = 0, 1, 2
	regions           = 3
)

var names = [regions]secret.RegionName{"east", "south", "west"}

// place is one region. Sets of regions and of writes are by bit.
type place struct {
	held id
	// kept is the writes that conflicts of this region keep.
	kept uint8
	// takenOver are the regions on the fence: whose record moves here when it is next
	// mutated. takeovers are those taken over that have not caught up since.
	takenOver, takeovers uint8
	// superseded are the regions that have taken this one over, as it knows; told those
	// of which it ever knew that.
	superseded, told uint8
	// asked is set when the peers were asked since the start.
	asked bool
	// waiting are the regions that are to be told what is held.
	waiting uint8
}

// shipment is a state on its way. One from a region to itself is none.
type shipment struct {
	from, to uint8
	state    id
}

const maxNetwork = 2

// state is everything. Equal states have the same future.
type state struct {
	places  [regions]place
	network [maxNetwork]shipment
	// writes is how many were acknowledged.
	writes uint8
	// warned are the writes that a region acknowledged which knew, or could have known
	// by asking, that it was taken over; heirs those of a region that took the record.
	warned, heirs uint8
	left          budget
}

// budget bounds a search: how often each thing may still happen.
type budget struct {
	writes, takeovers, moves, promotions, restarts, network uint8
}

func start(b budget) state {
	s := state{left: b}
	for at := range s.places {
		s.places[at].asked = true
	}
	return s
}

func bit(n uint8) uint8 { return 1 << n }

func has(set, n uint8) bool { return set&bit(n) != 0 }

// describe shows what matters of a state in one line.
func (h *histories) describe(s *state) string {
	var b strings.Builder
	for at := range s.places {
		p := &s.places[at]
		fmt.Fprintf(&b, "%s: %s", names[at], &h.points[p.held])
		for what, set := range map[string]uint8{"taken over": p.takenOver, "took over": p.takeovers, "superseded by": p.superseded} {
			if set != 0 {
				fmt.Fprintf(&b, ", %s %03b", what, set)
			}
		}
		if p.kept != 0 {
			fmt.Fprintf(&b, ", kept %b", p.kept)
		}
		b.WriteString("; ")
	}
	return b.String()
}
