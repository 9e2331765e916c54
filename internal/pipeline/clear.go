package pipeline

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// batch bounds the work items finished at once, so that they are one transaction of
// etcd, also if there is a message for each of secret.MaxTargets regions. While one batch
// commits the next one gathers, so that under load clearing costs little per mutation.
const batch = 116

// clearBatch finishes one batch of work items, but those that are delivered to other
// regions first. An item that was put again meanwhile is left alone.
func (p *Pipeline) clearBatch(ctx context.Context) error {
	p.mu.Lock()
	due, fresh := p.due()
	p.mu.Unlock()
	due = append(due, p.offer(fresh)...)
	if len(due) == 0 {
		return nil
	}
	due, txns, err := p.finishing(due)
	if err != nil || len(due) == 0 {
		return err
	}
	committed, err := p.Store.CommitEach(ctx, txns)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, d := range due {
		switch {
		case p.items[d.Record] != d.item:
		case committed[i]:
			delete(p.items, d.Record)
		default:
			// It is gone already, was replaced by a newer one, or something else that
			// the transaction depends on has changed. The feed tells of it before the
			// item is looked at again.
			p.held[d.Record] = d.item
		}
		if committed[i] && p.Cleared != nil {
			p.Cleared(Cleared{Committed: d.Committed, At: d.cleared, Traceparent: d.traceparent})
		}
	}
	return nil
}

// finishing returns the transactions that finish items: each deletes its item and,
// in the same step, tells other regions. Items of which it is not known whom to
// tell are held.
func (p *Pipeline) finishing(due []delivery) (finished []delivery, txns []record.Txn, err error) {
	err = p.Local.View(func(view record.View) error {
		for _, d := range due {
			var txn record.Txn
			key := record.WorkKey(d.Record)
			txn.Require(key, d.Revision)
			txn.Delete(key)
			if p.Enqueue != nil {
				if err := p.Enqueue(view, &txn, d.Mutation, d.received); err != nil {
					p.Logger.Error("a mutation cannot be finished: it is not known which regions to tell", "record", d.Record, "error", err)
					p.hold(d.item)
					continue
				}
			}
			finished, txns = append(finished, d), append(txns, txn)
		}
		return nil
	})
	return finished, txns, err
}

func (p *Pipeline) hold(it item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[it.Record] = it
}

// markFailed makes what hosts could not apply visible in the store, and takes
// the mark away when no live host reports it any more.
func (p *Pipeline) markFailed(ctx context.Context) error {
	p.mu.Lock()
	reported := map[record.Key]*recordpb.Quarantine{}
	live, known := p.liveHosts()
	for _, r := range live {
		for _, q := range r.Quarantined {
			reported[q.Record] = &recordpb.Quarantine{
				Record: string(q.Record), Revision: q.Revision, Host: r.Host, Reason: q.Reason, At: p.Now().UnixNano(),
			}
		}
	}
	var txns []record.Txn
	for key, q := range reported {
		if _, marked := p.failed[key]; !marked {
			var txn record.Txn
			txn.Require(record.QuarantineKey(key), 0)
			txn.Put(record.QuarantineKey(key), record.Quarantines.Encode(q))
			txns = append(txns, txn)
			p.Logger.Error("a host cannot apply a record", "record", key, "host", q.GetHost(), "reason", q.GetReason())
		}
	}
	for key, revision := range p.failed {
		if reported[key] == nil && known && 2*len(live) > len(p.registered) {
			var txn record.Txn
			txn.Require(record.QuarantineKey(key), revision)
			txn.Delete(record.QuarantineKey(key))
			txns = append(txns, txn)
			p.Logger.Info("hosts apply the record again", "record", key)
		}
	}
	p.mu.Unlock()
	if len(txns) == 0 {
		return nil
	}
	_, err := p.Store.CommitEach(ctx, txns)
	return err
}

// Failed lists what hosts could not apply.
func (p *Pipeline) Failed(view record.View) ([]*recordpb.Quarantine, error) {
	var failed []*recordpb.Quarantine
	var decodeErr error
	err := view.Scan(record.QuarantinePrefix, record.PrefixEnd(record.QuarantinePrefix), func(s record.Stored) bool {
		q, err := record.Quarantines.Decode(s.Value)
		decodeErr = errors.Join(decodeErr, err)
		if err == nil {
			failed = append(failed, q)
		}
		return true
	})
	return failed, errors.Join(err, decodeErr)
}
