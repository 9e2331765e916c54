package model

import (
	"fmt"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The model has a home region, two regions that it may replicate to, and two
// secrets of one name: the second is created once the first has been deleted.
const (
	east, west, south = 0, 1, 2
	regions           = 3
	records           = 2
	lifetimes         = 2
	// nobody holds the name.
	nobody = records
)

var names = [regions]secret.RegionName{"east", "west", "south"}

// kind is what a region has of a secret.
type kind uint8

const (
	absent kind = iota
	live
	// purged is deleted at home; the record keeps the order.
	purged
	// released is a tombstone: not meant for this region any more.
	released
)

// copied is what a region has of a secret. It is comparable, like all of state.
type copied struct {
	kind kind
	seq  uint8
	// content says which mutation made the state.
	content uint8
	// targets is the set of the secret's targets, by bit.
	targets uint8
	// schema is the release that a reader needs.
	schema uint8
	// open is set while the mutation is not cleared; poison if hosts cannot apply it.
	open, poison bool
}

func (c copied) ownership() secret.Ownership {
	o := secret.NewOwnership(names[east], "")
	o.Order.Seq = uint64(c.seq)
	return o
}

// set is a set of regions as targets.
func set(bits uint8) (targets []secret.Target) {
	for r, name := range names {
		if bits&(1<<r) != 0 {
			targets = append(targets, secret.Target{Region: name})
		}
	}
	return targets
}

// sets are all sets of regions.
var sets = func() (all [1 << regions][]secret.Target) {
	for bits := range all {
		all[bits] = set(uint8(bits))
	}
	return all
}()

// vault is what a region has of the vault of both secrets. Every region holds it.
type vault struct {
	seq uint8
	// targets is the set of the vault's targets, by bit.
	targets uint8
	open    bool
}

// meantFor reports whether a secret is meant for a region, given the vault.
func (r *rules) meantFor(v vault, c copied, region int) bool {
	return r.meant(secret.Replication{Targets: sets[v.targets]}, sets[c.targets], names[region])
}

// shipment is a state that a sender has read and not sent, or that is on its way.
type shipment struct {
	sent        bool
	to, record  uint8
	incarnation uint8
	state       copied
	// message and sync are what of the queue it is to fulfil: the message at that
	// revision, the synchronisation at that one.
	message, sync uint8
	// direct is the mutation that is delivered without a message, 0 if none is.
	direct uint8
	// read is when the state was read: how many mutations there had been.
	read uint8
	// predecessor is the state of the other secret, sent along if with is set.
	with        bool
	predecessor copied
}

// place is one region.
type place struct {
	has   [records]copied
	vault vault
	// holder is which secret has the name.
	holder uint8
	// incarnation is that of its life, release what it runs.
	incarnation, release uint8
	// horizons are when the home last said, in each of its lives, that something may
	// be forgotten; forgotten are the highest orders of what is.
	horizons  [lifetimes]uint8
	forgotten [records]uint8
}

// waiting is what the home still has to tell a target of a secret: the revision of
// a message and of a synchronisation; 0 if there is none.
type waiting struct{ message, sync uint8 }

// durable is what a backup holds of the home.
type durable struct {
	has    [records]copied
	holder uint8
	queue  [regions][records]waiting
	// at is when it was made.
	at uint8
}

// state is everything. Equal states have the same future.
type state struct {
	places [regions]place
	queue  [regions][records]waiting
	// told is the last mutation of each secret that each target is known to have received
	// without a message.
	told [regions][records]uint8
	// vaultWaits says to whom the vault's record is still to be told.
	vaultWaits [regions]bool
	// admitted is the incarnation of the home that each region admits.
	admitted [regions]uint8
	network  [maxNetwork]shipment
	backup   durable
	backedUp bool
	// origin is when the backup was made that the home's second life came out of.
	origin uint8
	// confirmed says which regions have confirmed that they have nothing live of what
	// the home has deleted, gone what the home has forgotten: IDs are not used again.
	confirmed [regions][records]bool
	gone      [records]bool
	// timed is set if anything may be forgotten, or dropped without a tombstone:
	// otherwise it does not matter when what was read.
	timed bool
	// lossy is set once a message was lost: comparing digests will find what is lacking.
	lossy bool
	// cleared is the set of contents that were cleared, contents how many there are.
	cleared  uint32
	contents uint8
	left     budget
}

const maxNetwork = 2

// budget bounds a search: how often each thing may still happen.
type budget struct {
	mutations, poisons, purges, creations, retargets, vaults, backups, restores, upgrades, collections, losses, network uint8
	// deliveries are those without a message.
	deliveries uint8
}

// start is a home with one secret that has just been created.
func start(b budget, targets uint8) state {
	s := state{contents: 1, left: b, timed: b.collections > 0}
	for r := range s.places {
		s.places[r].holder = nobody
	}
	s.places[east].has[0] = copied{kind: live, seq: 1, content: 1, targets: targets, open: true}
	s.places[east].holder = 0
	return s
}

// String shows what matters of a state in one line.
func (s *state) String() string {
	var b strings.Builder
	for r := range s.places {
		p := &s.places[r]
		fmt.Fprintf(&b, "%s:", names[r])
		for i, c := range p.has {
			if c.kind != absent {
				fmt.Fprintf(&b, " %c=%s/%d(content %d", 'A'+i, [...]string{"", "live", "purged", "released"}[c.kind], c.seq, c.content)
				if c.open {
					b.WriteString(", open")
				}
				b.WriteString(")")
			}
			if w := s.queue[r][i]; w != (waiting{}) {
				fmt.Fprintf(&b, " waiting[%c]=%+v", 'A'+i, w)
			}
		}
		b.WriteString("; ")
	}
	return b.String()
}
