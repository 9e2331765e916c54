package localregion

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxHosts and maxControls bound a local region; more than that teach nothing on
// one machine.
const (
	maxHosts    = 9
	maxControls = 3
)

// maxSocketPath is what every system allows; Linux allows 107 bytes.
const maxSocketPath = 103

// Options of a local region. Dir is required.
type Options struct {
	// Dir keeps everything, secrets too. It is made if it is missing.
	Dir string
	// Name of the region; default "east".
	Name secret.RegionName
	// Hosts is how many data-plane hosts it has, 1 to 9; default 3.
	Hosts int
	// HostsIn is how many some regions of PlanRegions have instead.
	HostsIn map[secret.RegionName]int
	// Controls is how many control processes it has, 1 to 3; default 1. One alone
	// also is the store, several have it in a process of its own, which they survive.
	Controls int
	// Release is what processes inside this one show as theirs.
	Release string
	// Logger takes the log of processes inside this one; default none. Children
	// log into Dir.
	Logger *slog.Logger
	// Via, if set, returns where one region reaches another, of which a control
	// process listens at target: for tests that put something between them.
	Via func(from, to secret.RegionName, target string) (address string, err error)
	// Configure, if set, changes a process's configuration before each start.
	Configure func(process string, c *config.Config)

	// taken are ports that other regions beside this one have.
	taken map[int]bool
}

// Region is a region on this machine. Its methods are for one goroutine.
type Region struct {
	options   Options
	authority *pki.Authority
	ca        *tls.Config
	// store is the process with the store: the one control process, or one that is
	// nothing else.
	store    *Process
	controls []*Process
	hosts    []*Process
	peers    []config.Peer
}

// layout is what the directory remembers, so that addresses stay the same.
type layout struct {
	Format    int               `json:"format"`
	Region    secret.RegionName `json:"region"`
	Processes []processLayout   `json:"processes"`
}

type processLayout struct {
	ID    string `json:"id"`
	Ports ports  `json:"ports"`
}

const (
	layoutFormat = 1
	layoutName   = "region.json"
	storeID      = "store-1"
	controlName  = "control-"
	hostName     = "host-"
)

// Plan prepares a directory: an authority and certificates, a key file, and a
// configuration for each process. What is there already stays, so that a region
// keeps its data and its addresses between starts; a directory of a region of
// another name or size is refused, and one whose ports another process keeps.
func Plan(o Options) (*Region, error) {
	r, err := open(o)
	if err != nil {
		return nil, err
	}
	return r, r.prepare()
}

// open makes or reads what does not depend on other regions.
func open(o Options) (*Region, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the region: %w", err)
	}
	plan, err := loadLayout(o)
	if err != nil {
		return nil, err
	}
	r := &Region{options: o}
	if r.authority, err = openAuthority(o); err != nil {
		return nil, err
	}
	if _, err := file.Create(filepath.Join(o.Dir, keyFile)); err != nil && !errors.Is(err, file.ErrExists) {
		return nil, err
	}
	for _, p := range plan.Processes {
		process := &Process{ID: p.ID, region: r, ports: p.Ports}
		switch {
		case p.ID == storeID:
			r.store = process
		case strings.HasPrefix(p.ID, controlName):
			r.controls = append(r.controls, process)
		default:
			r.hosts = append(r.hosts, process)
		}
	}
	r.store = cmp.Or(r.store, r.controls[0])
	r.ca, err = pki.ClientTLS(r.CAFile())
	return r, err
}

// prepare writes the certificates and configurations of all processes.
func (r *Region) prepare() error {
	for _, p := range r.Processes() {
		if err := p.prepare(r.authority); err != nil {
			return fmt.Errorf("prepare %s: %w", p.ID, err)
		}
	}
	return nil
}

func (o *Options) complete() error {
	if o.Dir == "" {
		return secret.Invalid("dir", "must not be empty")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return err
	}
	o.Dir = dir
	if o.Name == "" {
		o.Name = "east"
	}
	if o.Hosts == 0 {
		o.Hosts = 3
	}
	o.Controls = cmp.Or(o.Controls, 1)
	if o.Controls < 1 || o.Controls > maxControls {
		return secret.Invalid("controls", "is %d; allowed are 1 to %d", o.Controls, maxControls)
	}
	if o.Hosts < 1 || o.Hosts > maxHosts {
		return secret.Invalid("hosts", "is %d; allowed are 1 to %d", o.Hosts, maxHosts)
	}
	if longest := len((&Process{ID: controlName + "1", region: &Region{options: *o}}).SocketPath()); longest > maxSocketPath {
		return secret.Invalid("dir", "%s is too long: the path of a control socket in it has %d bytes, and the system allows %d", o.Dir, longest, maxSocketPath)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return secret.CheckRegionName("region", o.Name)
}

// loadLayout reads what was planned before, or plans anew, and reserves the ports.
func loadLayout(o Options) (*layout, error) {
	path := filepath.Join(o.Dir, layoutName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newLayout(o, path)
	}
	if err != nil {
		return nil, err
	}
	plan := new(layout)
	if err := json.Unmarshal(data, plan); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if plan.Format != layoutFormat {
		return nil, secret.Errorf(secret.CodeUnknownFormat, "%s has format %d; this release reads %d", path, plan.Format, layoutFormat)
	}
	controls, hosts := plan.count(controlName), plan.count(hostName)
	if plan.Region != o.Name || hosts != o.Hosts || controls != o.Controls {
		return nil, secret.Errorf(secret.CodeWrongState, "%s holds the region %s with %d control processes and %d hosts", o.Dir, plan.Region, controls, hosts).
			WithHint("ask for the same, or choose another directory")
	}
	return plan, plan.reservePorts()
}

// reservePorts fails if another process has reserved one of the ports.
func (l *layout) reservePorts() error {
	for _, p := range l.Processes {
		for _, port := range p.Ports.all() {
			if port != 0 && !reserveAgain(port) { // an older plan may lack some
				return secret.Errorf(secret.CodeWrongState, "port %d of %s in the region %s is reserved by another process", port, p.ID, l.Region).
					WithHint("does \"lifeboat dev\" run with this directory already, or with another one that has the same ports? Stop it, or choose another directory")
			}
		}
	}
	return nil
}

// count counts the processes with names that begin so.
func (l *layout) count(name string) (n int) {
	for _, p := range l.Processes {
		if strings.HasPrefix(p.ID, name) {
			n++
		}
	}
	return n
}

func newLayout(o Options, path string) (*layout, error) {
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, secret.Errorf(secret.CodeWrongState, "%s is not empty and holds no local region", o.Dir).
			WithHint("choose another directory")
	}
	ids := o.processes()
	free, err := freePorts(len(ids), o.taken)
	if err != nil {
		return nil, err
	}
	plan := &layout{Format: layoutFormat, Region: o.Name}
	for i, id := range ids {
		plan.Processes = append(plan.Processes, processLayout{ID: id, Ports: free[i]})
	}
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return nil, err
	}
	return plan, pki.WriteFile(path, append(data, '\n'))
}

// processes are the IDs of the region's processes.
func (o *Options) processes() (ids []string) {
	if o.Controls > 1 {
		ids = append(ids, storeID)
	}
	for i := range o.Controls {
		ids = append(ids, fmt.Sprint(controlName, i+1))
	}
	for i := range o.Hosts {
		ids = append(ids, fmt.Sprint(hostName, i+1))
	}
	return ids
}

// Name of the region.
func (r *Region) Name() secret.RegionName { return r.options.Name }

// Dir is where the region keeps everything.
func (r *Region) Dir() string { return r.options.Dir }

// Store is the process with the store; see Options.Controls.
func (r *Region) Store() *Process { return r.store }

// Control is the first control process.
func (r *Region) Control() *Process { return r.controls[0] }

// Controls are the control processes.
func (r *Region) Controls() []*Process { return r.controls }

// Hosts are the data-plane hosts.
func (r *Region) Hosts() []*Process { return r.hosts }

// Processes are all processes, in the order in which they start, the one with the
// store first.
func (r *Region) Processes() []*Process {
	all := append(slices.Clone(r.controls), r.hosts...)
	if r.store != r.controls[0] {
		all = append([]*Process{r.store}, all...)
	}
	return all
}

// CAFile names the certificate that clients must trust.
func (r *Region) CAFile() string { return filepath.Join(r.options.Dir, caFile) }

// certificateLifetime is long because a laptop's region is not looked after; a
// certificate near its end is replaced at the next start.
const certificateLifetime = 365 * 24 * time.Hour
