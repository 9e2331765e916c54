package cli

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// targetEvent is how far a vault is at a target, as -o json prints it.
type targetEvent struct {
	Vault  string `json:"vault"`
	Target string `json:"target"`
	// State is pending, paused, failed, which some secrets may be for good, or
	// received, which ends it.
	State string `json:"state"`
	// Synchronised and Total count secrets: those that the synchronisation has
	// brought, and all that it has to bring, as far as is known.
	Synchronised uint64 `json:"synchronised"`
	Total        uint64 `json:"total"`
	// Pending are the secrets whose last mutation waits to be sent, Failed those of
	// them that the target has refused.
	Pending uint32 `json:"pending"`
	Failed  uint32 `json:"failed"`
	// PerSecond is how many secrets the synchronisation brought per second since it
	// is watched, RemainingSeconds how long the rest takes at that rate; 0 if that is
	// not known.
	PerSecond        float64 `json:"perSecond"`
	RemainingSeconds float64 `json:"remainingSeconds"`
}

// followedTarget is one target being watched.
type followedTarget struct {
	event targetEvent
	bar   *mpb.Bar
	// label is what the bar says behind the counts.
	label atomic.Value
	began time.Time
	from  uint64
}

// update takes in what the home says, and reports whether that is new.
func (f *followedTarget) update(vault string, t *lifeboatv1.VaultTargetStatus, now time.Time) (changed bool) {
	before := f.event
	f.event = targetEvent{
		Vault: vault, Target: t.GetRegion(), State: enum(t.GetState(), "REPLICATION_STATE_"),
		Pending: t.GetPending(), Failed: t.GetFailed(), Synchronised: before.Synchronised, Total: before.Total,
		PerSecond: before.PerSecond,
	}
	e := &f.event
	switch {
	case t.GetSynchronising():
		e.Synchronised, e.Total = t.GetSynchronised(), max(t.GetToSynchronise(), t.GetSynchronised())
		if f.began.IsZero() && e.Total > 0 {
			f.began, f.from = now, e.Synchronised
		}
		if passed := now.Sub(f.began).Seconds(); !f.began.IsZero() && passed > 0 {
			e.PerSecond = float64(e.Synchronised-min(f.from, e.Synchronised)) / passed
		}
		if e.PerSecond > 0 {
			e.RemainingSeconds = float64(e.Total-e.Synchronised) / e.PerSecond
		}
	default:
		e.Synchronised = e.Total // it is over, or there was none
	}
	return e.State != before.State || e.Synchronised != before.Synchronised || e.Total != before.Total ||
		e.Pending != before.Pending || e.Failed != before.Failed
}

func (f *followedTarget) text() string {
	var parts []string
	if f.event.PerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%.0f/s", f.event.PerSecond))
	}
	if left := f.event.RemainingSeconds; left > 0 {
		parts = append(parts, (time.Duration(left)*time.Second).String()+" left")
	}
	if f.event.State != "pending" || len(parts) == 0 {
		parts = append(parts, f.event.State)
	}
	return " " + strings.Join(parts, ", ")
}

// followReplication waits until every target has all secrets of a vault, as far as
// it does not refuse them. It shows how far that is: as bars on a terminal, as
// events with -o json. Errors: those of the client; some secrets were refused.
func (a *app) followReplication(ctx context.Context, cl *client.Client, vault string) (*lifeboatv1.GetVaultReplicationResponse, error) {
	bars := a.newBars()
	defer bars.end()
	targets := make(map[string]*followedTarget)
	for {
		answer, err := cl.GetVaultReplication(ctx, &lifeboatv1.GetVaultReplicationRequest{Vault: vault})
		if err != nil {
			return nil, err
		}
		done := true
		var refusing []string
		for _, t := range answer.GetTargets() {
			f := targets[t.GetRegion()]
			if f == nil {
				f = &followedTarget{}
				targets[t.GetRegion()] = f
			}
			if f.update(vault, t, time.Now()) && a.flags.output == outputJSON {
				if err := writeJSONLine(a.Stdout, f.event); err != nil {
					return nil, err
				}
			}
			bars.show(f)
			done = done && !t.GetSynchronising() && t.GetPending() <= t.GetFailed()
			if t.GetFailed() > 0 {
				refusing = append(refusing, t.GetRegion())
			}
		}
		switch {
		case done && len(refusing) > 0:
			return answer, withHint(fmt.Errorf("%s refused secrets of the vault", strings.Join(refusing, ", ")),
				"see why: lifeboat replication failed "+refusing[0])
		case done:
			return answer, nil
		}
		if err := wait(ctx, followEvery); err != nil {
			return answer, err
		}
	}
}

// bars shows how far several targets are, on a terminal only.
type bars struct {
	progress *mpb.Progress
	all      []*mpb.Bar
}

func (a *app) newBars() *bars {
	if !isTerminal(a.Stderr) || a.flags.output == outputJSON {
		return &bars{}
	}
	return &bars{progress: mpb.New(mpb.WithOutput(a.Stderr), mpb.WithWidth(40))}
}

func (b *bars) show(f *followedTarget) {
	if b.progress == nil {
		return
	}
	f.label.Store(f.text())
	if f.bar == nil {
		name := f.event.Target + " "
		f.bar = b.progress.AddBar(0, mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CountersNoUnit("%d / %d"), decor.Any(func(decor.Statistics) string { return f.label.Load().(string) })))
		b.all = append(b.all, f.bar)
	}
	f.bar.SetTotal(int64(max(f.event.Total, f.event.Synchronised+1)), false) //nolint:gosec // counts
	f.bar.SetCurrent(int64(f.event.Synchronised))                            //nolint:gosec // a count
}

func (b *bars) end() {
	if b.progress == nil {
		return
	}
	for _, bar := range b.all {
		bar.Abort(true)
	}
	b.progress.Wait()
}
