package pipeline

import (
	"context"
	"errors"
	"maps"

	"github.com/lifeboat-secrets/lifeboat/internal/formatgate"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Report takes the present state of a host and puts it in the durable set, or
// updates what the set says of it, before it returns. A report that fails may be
// repeated.
func (p *Pipeline) Report(ctx context.Context, r Report) error {
	if r.Host == "" {
		return secret.Invalid("host", "must not be empty")
	}
	r.At = p.Now()
	r.failing = make(map[record.Key]struct{}, len(r.Quarantined))
	for i := range r.Quarantined { // what fails is the mutation, not one of its records
		r.Quarantined[i].Record = record.Subject(r.Quarantined[i].Record)
		r.failing[r.Quarantined[i].Record] = struct{}{}
	}
	p.mu.Lock()
	known := p.registered[r.Host]
	p.mu.Unlock()
	if known == nil || known.GetAddress() != r.Address || known.GetRelease() != r.Release || !maps.Equal(known.GetFormats(), r.Formats) {
		if err := p.register(ctx, r); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, failing := p.cleared, p.reports[r.Host].failing
	p.reports[r.Host] = r
	p.advance()
	changed := !maps.Equal(failing, r.failing)
	if changed {
		p.requeue()
	}
	if changed || p.cleared != before {
		p.wake()
	}
	return nil
}

// register puts the host in the durable set. Hosts that come at the same time
// touch the same gate record, so it tries more than once.
func (p *Pipeline) register(ctx context.Context, r Report) (err error) {
	for range 5 {
		if err = p.registerOnce(ctx, r); !secret.HasCode(err, secret.CodeStale) {
			return err
		}
	}
	return nil // another control process registered it; the next report compares again
}

func (p *Pipeline) registerOnce(ctx context.Context, r Report) error {
	view, key := p.Store.View(ctx), record.HostKey(r.Host)
	old, revision, err := record.Load(view, record.Hosts, key)
	if err != nil && !errors.Is(err, record.ErrNotFound) {
		return err
	}
	host := &recordpb.Host{
		Id: r.Host, Cell: r.Cell, Address: r.Address, Release: r.Release, Formats: r.Formats, RegisteredAt: r.At.UnixNano(),
	}
	var txn record.Txn
	if old != nil {
		host.RegisteredAt = old.GetRegisteredAt()
	}
	if old == nil || !maps.Equal(old.GetFormats(), r.Formats) {
		if err := formatgate.Enlist(view, &txn, r.Formats, r.Release); err != nil {
			return err
		}
	}
	txn.Require(key, revision)
	txn.Put(key, record.Hosts.Encode(host))
	if _, err = p.Store.Commit(ctx, txn); err != nil {
		return err
	}
	p.Logger.Info("host registered", "host", r.Host, "address", r.Address)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enlist(r.Host, host)
	return nil
}
