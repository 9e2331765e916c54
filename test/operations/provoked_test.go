package operations_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"connectrpc.com/connect"
	clientv3 "go.etcd.io/etcd/client/v3"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// incident makes something go wrong and waits until a process tells what the
// alerts look at.
type incident struct {
	name string
	// alerts that must fire by what is told then.
	alerts []string
	// provoke breaks something, mend mends it.
	provoke, mend func(t *testing.T)
	// told is by whom, metric what has the value then.
	told   *lifeboattest.Process
	metric string
	labels []string
	holds  func(value float64) bool
}

func is(want float64) func(float64) bool { return func(v float64) bool { return v == want } }
func positive(v float64) bool            { return v > 0 }

// broken is a region whose parts the test breaks, and what it needs for that.
type broken struct {
	*lifeboattest.Region
	store    string
	keyFile  string
	auditDir string
}

func startBroken(t *testing.T) *broken {
	t.Helper()
	b := &broken{auditDir: t.TempDir()}
	b.Region = lifeboattest.Start(t, lifeboattest.Options{Hosts: 1, Configure: func(process string, c *config.Config) {
		if process == "control-1" {
			b.store = c.Store.Embedded.ClientAddress
			return
		}
		c.Audit.Paths = []string{filepath.Join(b.auditDir, "audit.log")}
		if b.keyFile != "" {
			c.KMS.File.Path = b.keyFile
		}
	}})
	return b
}

// Each alert of an incident fires by what a region in that state tells, and by
// Prometheus's own judgement where promtool is installed.
func TestIncidentsRaiseAlerts(t *testing.T) {
	t.Parallel()
	b := startBroken(t)
	for _, i := range b.incidents() {
		t.Run(i.name, func(t *testing.T) { b.check(t, i) })
	}
}

// check provokes an incident and has its alerts evaluated.
func (b *broken) check(t *testing.T, i incident) {
	before := b.tell(t)
	i.provoke(t)
	eventually(t, fmt.Sprint(i.metric, i.labels, " of ", i.told.ID), func() bool {
		v, ok := scrape(t, i.told).value(i.metric, i.labels...)
		return ok && i.holds(v)
	})
	after := b.tell(t)
	for name, told := range before { // a process that was stopped tells nothing
		if after[name] == nil {
			before[name] = told
		}
	}
	if i.mend != nil {
		i.mend(t)
	}
	evaluate(t, lookPromtool(t), i.alerts, before, after)
}

func (b *broken) tell(t *testing.T) map[string]metrics {
	all := map[string]metrics{}
	for _, p := range b.Processes() {
		if p.Running() != nil {
			all[p.ID] = scrape(t, p)
		}
	}
	return all
}

func (b *broken) incidents() []incident {
	host, control := b.Host(0), b.Control()
	return []incident{
		{
			name: "break-glass", alerts: []string{"LifeboatBreakGlass"},
			provoke: func(t *testing.T) { breakGlass(t, host, true) }, mend: func(t *testing.T) { breakGlass(t, host, false) },
			told: host, metric: "lifeboat_credentials_break_glass", holds: is(1),
		},
		{
			name: "audit log unavailable", alerts: []string{"LifeboatAuditUnavailable"},
			provoke: b.breakAudit, mend: b.mendAudit,
			told: host, metric: "lifeboat_audit_ready", holds: is(0),
		},
		{
			name: "store out of reach", alerts: []string{"LifeboatStoreDown", "LifeboatStoreMemberDown"},
			provoke: func(*testing.T) { b.CutStore(0) }, mend: func(*testing.T) { b.Heal(0) },
			told: host, metric: "lifeboat_store_up", holds: is(0),
		},
		{
			name: "host stopped", alerts: []string{"LifeboatHostNotLive", "LifeboatMostHostsNotLive"},
			provoke: func(t *testing.T) { must(t, host.Kill()) }, mend: func(t *testing.T) { b.startHost(t) },
			told: control, metric: "lifeboat_pipeline_live_hosts", holds: is(0),
		},
		{
			name: "mutation that a host cannot apply", alerts: []string{"LifeboatFailedMutation"},
			provoke: b.commitUnreadable,
			told:    control, metric: "lifeboat_pipeline_failed_mutations", holds: positive,
		},
		{
			name: "key service without the master key", alerts: []string{"LifeboatKeyServiceFailing"},
			provoke: b.takeKeyAway,
			told:    host, metric: "lifeboat_keyring_key_service_healthy", holds: is(0),
		},
	}
}

func (b *broken) startHost(t *testing.T) {
	t.Helper()
	must(t, b.Host(0).Start(t.Context()))
}

// breakGlass switches it over the control socket.
func breakGlass(t *testing.T, p *lifeboattest.Process, on bool) {
	t.Helper()
	socket := controlsocket.New(p.SocketPath())
	defer socket.Close()
	must(t, socket.BreakGlass(t.Context(), on))
}

// breakAudit puts the file that is always full in the place of the audit log.
func (b *broken) breakAudit(t *testing.T) {
	t.Helper()
	name := filepath.Join(b.auditDir, "audit.log")
	must(t, os.Rename(name, name+".1"))
	must(t, os.Symlink("/dev/full", name))
	must(t, b.Host(0).Running().Reopen())
	_, err := b.Client(b.Host(0), "").WhoAmI(t.Context(), connect.NewRequest(&lifeboatv1.WhoAmIRequest{}))
	if err == nil {
		t.Fatal("a request that cannot be audited is answered")
	}
}

func (b *broken) mendAudit(t *testing.T) {
	t.Helper()
	must(t, os.Remove(filepath.Join(b.auditDir, "audit.log")))
	must(t, b.Host(0).Running().Reopen())
	eventually(t, "the audit log takes lines again", func() bool {
		v, _ := scrape(t, b.Host(0)).value("lifeboat_audit_ready")
		return v == 1
	})
}

// commitUnreadable puts a secret of a format that no host knows into the store, as
// a newer release would.
func (b *broken) commitUnreadable(t *testing.T) {
	t.Helper()
	dir := b.Control().Dir()
	certs, err := pki.NewReloader(pki.ReloaderOptions{CertFile: filepath.Join(dir, "peer.pem"), KeyFile: filepath.Join(dir, "peer-key.pem")})
	must(t, err)
	trust, err := pki.ClientTLS(b.CAFile())
	must(t, err)
	trust.GetClientCertificate = certs.GetClientCertificate
	client, err := store.Dial(t.Context(), store.DialOptions{Endpoints: []string{b.store}, TLS: trust})
	must(t, err)
	defer func() { _ = client.Close() }()
	found, err := client.Get(t.Context(), config.Default().Store.Prefix+"base/vault/", clientv3.WithPrefix(), clientv3.WithLimit(1))
	must(t, err)
	if len(found.Kvs) != 1 {
		t.Fatal("the region has no vault")
	}
	vault := filepath.Base(string(found.Kvs[0].Key))
	_, err = client.Put(t.Context(), config.Default().Store.Prefix+"base/secret/"+vault+"/01J00000000000000000000000", "\xc8of a later release")
	must(t, err)
}

// takeKeyAway restarts the host with the key file of another region.
func (b *broken) takeKeyAway(t *testing.T) {
	t.Helper()
	b.keyFile = filepath.Join(t.TempDir(), "keys")
	_, err := file.Create(b.keyFile)
	must(t, err)
	must(t, b.Host(0).Stop())
	b.startHost(t)
}
