package simulation

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/event"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

var names = []secret.RegionName{"east", "south", "west"}

// queueCap is so low that plans overflow it.
const queueCap = 3

// region is one region: a store and a control process that may crash.
type region struct {
	name     secret.RegionName
	world    *world
	shard    *shard
	service  *service.Service
	authn    *authn.Authenticator
	receiver *replication.Receiver
	caches   func([]record.Change)
	token    string
	// vault is the one whose home this region is.
	vault string
	// over, if set, is what new senders reach their targets over.
	over peerv1connect.ReplicationServiceClient

	mu      sync.Mutex
	process *process
	// bad is a record that the region's host cannot apply; silent hosts report nothing.
	bad    record.Key
	silent bool
}

// process is what a crash ends.
type process struct {
	queue    *queue.Queue
	routes   *replication.Routes
	pipeline *pipeline.Pipeline
	senders  []*replication.Sender
	// collector forgets deleted records.
	collector *replication.Collector
	cancel    context.CancelFunc
	running   sync.WaitGroup
}

type unlimited struct{}

func (unlimited) Allow(secret.AccountID, secret.VaultID) error { return nil }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) startRegion(name secret.RegionName) *region {
	t, dir := w.t, w.t.TempDir()
	r := &region{name: name, world: w, shard: &shard{records: map[record.Key]record.Stored{}}}
	_, err := file.Create(filepath.Join(dir, "keys"))
	must(t, err)
	wrapper, err := file.Open(filepath.Join(dir, "keys"))
	must(t, err)
	keys := keyring.New(keyring.Options{Wrapper: wrapper})
	log, err := audit.Open(audit.Options{Paths: []string{filepath.Join(dir, "audit")}, Region: name, Process: "one"})
	must(t, err)
	w.onClose(func() { must(t, log.Close()); must(t, keys.Close()); must(t, wrapper.Close()) })
	r.authn, err = authn.New(authn.Options{})
	must(t, err)
	authorizer, hub := authz.New(authz.Options{}), new(event.Hub)
	r.caches = func(changes []record.Change) {
		r.authn.Changed(changes)
		authorizer.Changed(changes)
		hub.Changed(changes)
	}
	r.service = service.New(service.Options{
		Region: name, Store: r.shard, Local: local{r.shard}, Keyring: keys, Authenticator: r.authn, Authorizer: authorizer,
		Audit: log, Events: hub, Throttle: unlimited{}, Peers: func() []secret.RegionName { return names },
	})
	made, err := service.Initialize(t.Context(), r.shard, keys, name, time.Now())
	must(t, err)
	r.receiver = replication.NewReceiver(replication.ReceiverOptions{
		Region: name, Service: r.service, Digester: r.service, Local: local{r.shard}, Capacity: 64, Source: sourceOf,
		StatusOf: func(error) connect.Code { return connect.CodeInternal },
	})
	r.shard.committing = func(before view, txn record.Txn) { w.observe(r, before, txn) }
	r.shard.changed = r.changed
	r.start()
	r.settleIn(string(made.Token.Reveal()))
	return r
}

// settleIn makes the account and the vault whose home is the region.
func (r *region) settleIn(operator string) {
	t := r.world.t
	account, err := r.service.CreateAccount(r.as(operator), "of-"+string(r.name), "")
	must(t, err)
	r.token = string(account.Token.Reveal())
	vault, _, err := r.service.CreateVault(r.as(r.token), service.NewVault{Name: "vault"})
	must(t, err)
	r.vault = string(vault.ID)
}

func (r *region) as(token string) context.Context {
	return service.WithRequest(context.Background(), &service.Request{
		ID: "r", Authenticate: func(view record.View, now time.Time) (authn.Caller, error) { return r.authn.Bearer(view, token, now) },
	})
}

// changed tells what follows the local store of what it applied.
func (r *region) changed(changes []record.Change) {
	r.caches(changes)
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p == nil {
		return
	}
	if err := p.routes.Changed(changes); err != nil {
		r.world.fail("routes: %v", err)
	}
	p.queue.Changed(changes)
	p.pipeline.Changed(changes)
	for _, s := range p.senders {
		s.Changed(changes)
	}
}

// start begins a control process out of what the store holds.
func (r *region) start() {
	t := r.world.t
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cancel: cancel, routes: replication.NewRoutes(r.name)}
	p.queue = queue.New(queue.Options{Store: r.shard, Local: local{r.shard}, Cap: queueCap})
	outbound := replication.NewOutbound(r.name, p.queue, p.routes, local{r.shard}, func(d []pipeline.Delivery) { p.pipeline.Delivered(d) })
	p.pipeline = pipeline.New(pipeline.Options{
		Store: r.shard, Local: local{r.shard}, Deliver: outbound.Deliver, Enqueue: outbound.Enqueue,
	})
	for _, target := range names {
		if target != r.name {
			s := r.newSender(p.queue, p.routes, target)
			p.senders, outbound.Senders[target] = append(p.senders, s), s
		}
	}
	p.collector = r.newCollector(p.queue)
	r.shard.feeding.Lock() // nothing is missed between loading and being told
	must(t, p.routes.Load(r.shard.snapshot()))
	must(t, p.queue.Load())
	must(t, p.pipeline.Load())
	r.mu.Lock()
	r.process = p
	r.mu.Unlock()
	r.shard.feeding.Unlock()
	p.running.Go(func() { _ = p.pipeline.Run(ctx) })
	p.running.Go(func() { r.report(ctx, p.pipeline) })
	p.running.Go(func() { _ = p.collector.Run(ctx) })
	for _, s := range p.senders {
		p.running.Go(func() { _ = s.Run(ctx) })
	}
}

func (r *region) newSender(q *queue.Queue, routes *replication.Routes, target secret.RegionName) *replication.Sender {
	var client peerv1connect.ReplicationServiceClient = &link{r.world, r.name, target}
	if r.over != nil {
		client = r.over
	}
	return replication.NewSender(replication.SenderOptions{
		Region: r.name, Target: target, Queue: q, Routes: routes, Service: r.service, Digester: r.service,
		Local: local{r.shard}, Store: r.shard, Client: client, CompareEvery: -1,
	})
}

func (r *region) newCollector(q *queue.Queue) *replication.Collector {
	clients := make(map[secret.RegionName]peerv1connect.ReplicationServiceClient)
	for _, peer := range names {
		if peer != r.name {
			clients[peer] = &link{r.world, r.name, peer}
		}
	}
	return replication.NewCollector(replication.CollectorOptions{Service: r.service, Queue: q, Store: r.shard, Clients: clients, Every: 3 * time.Second})
}

// crash ends the process; what it has sent stays under way.
func (r *region) crash() {
	r.mu.Lock()
	p := r.process
	r.process = nil
	r.mu.Unlock()
	p.cancel()
	p.running.Wait()
}

// report is the region's only host.
func (r *region) report(ctx context.Context, p *pipeline.Pipeline) {
	for ctx.Err() == nil {
		r.mu.Lock()
		bad, silent := r.bad, r.silent
		r.mu.Unlock()
		if !silent {
			v := r.shard.snapshot()
			r.world.noteApplied(r, v, bad)
			report := pipeline.Report{Host: "one", Address: "one:1", Cell: "base", Applied: v.revision}
			region, err := service.RegionRecord(v)
			if err == nil {
				report.Incarnation, report.RestoreEpoch = secret.Incarnation(region.GetIncarnation()), region.GetRestoreEpoch()
			}
			if bad != "" {
				report.Quarantined = []pipeline.Quarantined{{Record: bad, Revision: v.revision, Reason: "bad"}}
			}
			_ = p.Report(ctx, report)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}
