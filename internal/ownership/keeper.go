package ownership

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Service is what the keeper needs of the service.
type Service interface {
	InheritAll(ctx context.Context, lost secret.RegionName) error
	EndTakeover(ctx context.Context, lost secret.RegionName) error
	HoldUp(ctx context.Context, lost secret.RegionName, records []string) error
	Supersede(ctx context.Context, by secret.RegionName, superseded bool, heldUp []string) error
	ContinueMove(ctx context.Context, key record.Key) error
	InheritDrill(ctx context.Context, lost secret.RegionName, vault secret.VaultID) error
	EndDrillTakeover(ctx context.Context, lost secret.RegionName, vault secret.VaultID) error
}

// Peer is another region as it answered last.
type Peer struct {
	Region secret.RegionName
	// Known is set if the accepted life of the region has answered, now.
	Known bool
	// TookOver is set if it says that it has taken this region over.
	TookOver bool
	// HeldUp are the records that this region refuses of it, if that is all it lacks.
	HeldUp []string
}

// Options of a Keeper. Those without a default are required.
type Options struct {
	Service Service
	// Local runs fn on this process's copy of the shard.
	Local func(fn func(record.View) error) error
	Peers func(context.Context) []Peer
	// Untold reports whether a region may lack something that committed until then, and
	// which records it refuses if they are all that it lacks.
	Untold func(region secret.RegionName, until time.Time, refused []string) (missing bool, heldUp []string, err error)
	Logger *slog.Logger
	// Every is how often it looks; default 1 s.
	Every time.Duration
}

// Keeper is one region's part. One process should run it at a time, which saves work.
type Keeper struct{ Options }

// New returns a Keeper.
func New(o Options) *Keeper {
	o.Every = cmp.Or(o.Every, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{o}
}

// Run looks again and again until ctx ends, and returns its error. Planned moves go on
// beside the rest, which must not wait for them.
func (k *Keeper) Run(ctx context.Context) error {
	var planned sync.WaitGroup
	defer planned.Wait()
	planned.Go(func() { k.again(ctx, k.Move) })
	k.again(ctx, k.Look)
	return ctx.Err()
}

func (k *Keeper) again(ctx context.Context, look func(context.Context) error) {
	tick := time.NewTicker(k.Every)
	defer tick.Stop()
	for {
		if err := look(ctx); err != nil && ctx.Err() == nil {
			k.Logger.Warn("moves of ownership cannot go on now; they will", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Move has the planned moves go on. It returns the first error, after trying the rest.
func (k *Keeper) Move(ctx context.Context) error {
	var moves []record.Key
	err := k.Local(func(view record.View) error {
		moves = nil
		return view.Scan(record.MovePrefix, record.PrefixEnd(record.MovePrefix), func(s record.Stored) bool {
			moves = append(moves, s.Key[len(record.MovePrefix):])
			return true
		})
	})
	for _, key := range moves {
		err = cmp.Or(err, k.Service.ContinueMove(ctx, key))
	}
	return err
}

// Look does once what takeovers need. It returns the first error, after trying the
// rest.
func (k *Keeper) Look(ctx context.Context) error {
	var takeovers []*recordpb.Takeover
	superseded := map[secret.RegionName][]string{}
	err := k.Local(func(view record.View) (err error) {
		if takeovers, err = service.Takeovers(view); err != nil {
			return err
		}
		superseded, err = service.HeldUp(view)
		return err
	})
	if err != nil {
		return err
	}
	err = k.learn(ctx, superseded)
	for _, t := range takeovers {
		err = cmp.Or(err, k.goOn(ctx, t))
	}
	return err
}

// learn notes which peers have taken this region over.
func (k *Keeper) learn(ctx context.Context, superseded map[secret.RegionName][]string) (err error) {
	for _, p := range k.Peers(ctx) {
		heldUp, noted := superseded[p.Region]
		if !p.Known || p.TookOver == noted && slices.Equal(heldUp, p.HeldUp) {
			continue
		}
		switch {
		case p.TookOver && len(p.HeldUp) > 0:
			k.Logger.Warn("this region refuses records that a peer has taken over; all others are here", "peer", p.Region, "records", p.HeldUp)
		case p.TookOver:
			k.Logger.Error("a peer has taken this region over; what it holds is changed there from now on", "peer", p.Region)
		default:
			k.Logger.Info("this region has caught up with the peer that took it over", "peer", p.Region)
		}
		err = cmp.Or(err, k.Service.Supersede(ctx, p.Region, p.TookOver, p.HeldUp))
	}
	return err
}

// goOn moves the records of a region that was taken over. When all have moved, and
// the region has received them, the takeover is over.
func (k *Keeper) goOn(ctx context.Context, t *recordpb.Takeover) error {
	lost, drill := secret.RegionName(t.GetRegion()), secret.VaultID(t.GetVault())
	switch {
	case t.GetMovedAt() == 0 && drill != "":
		return k.Service.InheritDrill(ctx, lost, drill)
	case t.GetMovedAt() == 0:
		return k.Service.InheritAll(ctx, lost)
	}
	missing, heldUp, err := k.Untold(lost, record.FromNanos(t.GetMovedAt()), t.GetHeldUp())
	switch {
	case err != nil:
		return err
	case missing && drill == "" && !slices.Equal(heldUp, t.GetHeldUp()):
		return k.Service.HoldUp(ctx, lost, heldUp)
	case missing:
		return nil
	}
	if drill != "" {
		return k.Service.EndDrillTakeover(ctx, lost, drill)
	}
	return k.Service.EndTakeover(ctx, lost)
}
