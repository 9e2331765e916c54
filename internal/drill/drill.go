package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// MaxSecrets bounds the secrets of a drill, each of which is written all the time.
	MaxSecrets = 50
	// minSecrets leaves some that the heir does not write.
	minSecrets = 3
	// cleanTimeout bounds how long the drill's vault is tried to be removed.
	cleanTimeout = time.Minute
	// linkTimeout bounds how long a drill waits for its regions to be linked.
	linkTimeout = 10 * time.Second
)

// Region is one that takes part in a drill.
type Region struct {
	Name string
	// Client acts in the region as a principal that may make, replicate, move and delete
	// vaults of its account and all in them.
	Client *client.Client
	// Operator acts in the region as an operator; only the heir, and with a VaultCut the
	// home region, need one.
	Operator *client.Client
}

// Options of a drill. Those without a default are required.
type Options struct {
	// Home is lost, Heir takes over, Third goes on too. They must know each other.
	Home, Heir, Third Region
	// All, if set, reads through whichever region answers.
	All  *client.Client
	Loss Loss
	// Secrets is how many the vault has; default 8, 3 to MaxSecrets.
	Secrets int
	// WriteFor is how long the home region is written to before it is lost, and after
	// that; default 1 s.
	WriteFor time.Duration
	// RecoverWithin is how soon after the decision the heir must accept a write; default
	// 2 s.
	RecoverWithin time.Duration
	// StepTimeout bounds each step; default 2 min.
	StepTimeout time.Duration
	// Keep leaves the vault as it is in the end.
	Keep    bool
	Release string
	// Told, if set, is told of each step when it begins, with no outcome, and when it has
	// ended.
	Told func(Step)
}

// drill is one that is under way.
type drill struct {
	Options
	report Report
	vault  Vault
	// made is set if there may be a vault to remove.
	made bool
	// names are the secrets that are written all the time.
	names           []string
	ledger          ledger
	lostAt          atomic.Pointer[time.Time]
	noticed, back   time.Time
	writer, reading *activity
	readers         []*reader
	// returned is set once the loss has ended.
	returned bool
	// oneHome is set if all regions named the same home in the end, and leftover counts the
	// conflicts that were there then.
	oneHome  bool
	leftover int
	// tokens and explicit count reads with the revision token of a write that a takeover
	// left behind, and those of them that got an error which says so.
	tokens, explicit int
	// read is set once the readers went on through all of the loss.
	read bool
}

// Run runs a drill and cleans up after it, also if ctx ends. The report is never nil, and
// says what came of it: a broken promise is no error, what kept the drill from going on
// is.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.Secrets = cmp.Or(o.Secrets, 8)
	o.WriteFor = cmp.Or(o.WriteFor, time.Second)
	o.RecoverWithin = cmp.Or(o.RecoverWithin, 2*time.Second)
	o.StepTimeout = cmp.Or(o.StepTimeout, 2*time.Minute)
	if o.Told == nil {
		o.Told = func(Step) {}
	}
	id := ulid.Make().String()
	d := &drill{Options: o, vault: Vault{Name: secret.DrillVaultPrefix + strings.ToLower(id)}}
	d.report = Report{
		SchemaVersion: SchemaVersion, ID: id, StartedAt: time.Now().UTC(), Release: o.Release, Loss: o.Loss.About(),
		Vault: VaultReport{Name: d.vault.Name}, Conflicts: []ConflictReport{}, Reads: []ReadReport{}, Comparisons: []Comparison{},
	}
	for i := range o.Secrets {
		d.names = append(d.names, fmt.Sprintf("secret-%02d", i+1))
	}
	if o.Secrets < minSecrets || o.Secrets > MaxSecrets {
		return &d.report, fmt.Errorf("a drill has %d to %d secrets, not %d", minSecrets, MaxSecrets, o.Secrets)
	}
	err := d.runSteps(ctx)
	d.writer.stop()
	d.stopReading()
	err = errors.Join(err, d.runClean(ctx))
	d.finish(ctx, err)
	return &d.report, err
}

// step is a part of the drill.
type step struct {
	name, title string
	run         func(ctx context.Context, s *Step) error
}

func (d *drill) steps() []step {
	home, heir, third := d.Home.Name, d.Heir.Name, d.Third.Name
	return []step{
		{"prepare", fmt.Sprintf("Make a vault with %d secrets in %s, for this drill alone", len(d.names), home), d.prepare},
		{"replicate", fmt.Sprintf("Replicate it to %s and %s", heir, third), d.replicate},
		{"write", fmt.Sprintf("Write in %s all the time, and read in %s and %s", home, heir, third), d.startLoad},
		{"lose", "Lose " + home + ", which goes on to acknowledge writes at first", d.lose},
		{"notice", "Notice it", d.notice},
		{"takeover", fmt.Sprintf("Decide: %s takes over; write there as soon as it accepts that", heir), d.takeOver},
		{"write_on", fmt.Sprintf("Go on in %s, and see it in %s", heir, third), d.writeOn},
		{"return", home + " returns", d.comeBack},
		{"conflicts", fmt.Sprintf("Show what %s held that %s lacked, and adopt it", home, heir), d.settle},
		{"failback", "Move the home back to " + home + ", as planned, while it is written to", d.failBack},
		{"verify", "Look for every write that was acknowledged, and compare all regions", d.verify},
	}
}

// runSteps runs them until one fails; the rest are skipped.
func (d *drill) runSteps(ctx context.Context) (err error) {
	for i, step := range d.steps() {
		s := Step{Number: i + 1, Name: step.name, Title: step.title, Outcome: Skipped, Seen: []string{}}
		if err == nil {
			err = d.runStep(ctx, &s, step.run)
		}
		d.report.Steps = append(d.report.Steps, s)
	}
	return err
}

func (d *drill) runStep(ctx context.Context, s *Step, run func(context.Context, *Step) error) error {
	s.StartedAt, s.Outcome = time.Now().UTC(), ""
	d.Told(*s)
	bounded, cancel := context.WithTimeout(ctx, d.StepTimeout)
	defer cancel()
	err := run(bounded, s)
	s.EndedAt, s.Outcome = time.Now().UTC(), Passed
	if err != nil {
		s.Outcome, s.Error = Failed, err.Error()
		if errors.Is(ctx.Err(), context.Canceled) {
			s.Outcome, s.Error = Interrupted, "interrupted"
		}
		err = fmt.Errorf("step %d, %s: %w", s.Number, s.Name, err)
	}
	d.Told(*s)
	return err
}

// saw notes what a step saw.
func (s *Step) saw(format string, args ...any) { s.Seen = append(s.Seen, fmt.Sprintf(format, args...)) }

// runClean removes the vault, with a time of its own if the drill was interrupted.
func (d *drill) runClean(ctx context.Context) error {
	s := Step{Number: len(d.report.Steps) + 1, Name: "clean", Title: "Remove the vault of the drill from all regions", Outcome: Skipped, Seen: []string{}}
	var err error
	if d.Keep {
		s.Title = "End what is under way, and keep the vault"
	}
	if d.made {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		err = d.runStep(clean, &s, d.clean)
	}
	d.report.Steps = append(d.report.Steps, s)
	return err
}

// whoActs notes who runs the drill where, and refuses to run it between regions that do
// not know each other.
func (d *drill) whoActs(ctx context.Context) error {
	me, err := d.Home.Client.WhoAmI(ctx, &lifeboatv1.WhoAmIRequest{})
	if err != nil {
		return fmt.Errorf("%s: %w", d.Home.Name, err)
	}
	d.report.Principal = identity(me)
	peers, err := d.linked(ctx)
	if err != nil {
		return err
	}
	for i, region := range d.all() {
		r := RegionReport{Name: region.Name, Role: []string{"home", "heir", "third"}[i], Incarnation: peers.GetIncarnation()}
		if region.Name != d.Heir.Name {
			if r.Incarnation, r.Release, err = peerOf(peers, region.Name); err != nil {
				return err
			}
		}
		if region.Operator != nil {
			who, err := region.Operator.WhoAmI(ctx, &lifeboatv1.WhoAmIRequest{})
			if err != nil {
				return fmt.Errorf("%s, as operator: %w", region.Name, err)
			}
			operator := identity(who)
			r.Operator = &operator
		}
		d.report.Regions = append(d.report.Regions, r)
	}
	return nil
}

// linked returns the peers of the heir, as soon as both others are linked with it.
func (d *drill) linked(ctx context.Context) (peers *lifeboatv1.ListPeersResponse, err error) {
	bounded, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	for {
		peers, err = d.Heir.Operator.ListPeers(ctx, &lifeboatv1.ListPeersRequest{})
		if err != nil {
			return nil, fmt.Errorf("%s, as operator: %w", d.Heir.Name, err)
		}
		if peers.GetRegion() != d.Heir.Name {
			return nil, fmt.Errorf("where %s should answer, %s does", d.Heir.Name, peers.GetRegion())
		}
		_, _, errHome := peerOf(peers, d.Home.Name)
		_, _, errThird := peerOf(peers, d.Third.Name)
		err := errors.Join(errHome, errThird)
		if err == nil || errors.Is(err, errNoPeer) || !rest(bounded, pollEvery) {
			return peers, err
		}
	}
}

func peerOf(peers *lifeboatv1.ListPeersResponse, region string) (incarnation, release string, err error) {
	for _, p := range peers.GetPeers() {
		switch {
		case p.GetRegion() != region:
		case !p.GetReachable() || p.GetIncarnation() != p.GetPinnedIncarnation() || p.GetIncarnation() == "":
			return "", "", fmt.Errorf("%s is not linked with %s now: look at lifeboat region status there; a drill begins with regions that are well", peers.GetRegion(), region)
		default:
			return p.GetIncarnation(), p.GetRelease(), nil
		}
	}
	return "", "", fmt.Errorf("%s %w %s", region, errNoPeer, peers.GetRegion())
}

var errNoPeer = errors.New("is no peer of")

func identity(w *lifeboatv1.WhoAmIResponse) Identity {
	return Identity{ID: w.GetPrincipal().GetId(), Name: w.GetPrincipal().GetName(), Account: w.GetAccount().GetName()}
}
