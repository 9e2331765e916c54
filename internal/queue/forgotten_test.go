package queue_test

import (
	"testing"
	"testing/synctest"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// What is cleared while a target is forgotten has no message, and is either before the
// mark that has it compared, or is refused and cleared anew.
func TestATargetThatWasForgottenGetsNoMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := follow(t, queue.Options{})
		ctx := t.Context()
		p.enqueue(t, key(1), west)
		mark := func(forgotten bool) {
			var txn record.Txn
			txn.Put(record.ResynchronisationKey(west), record.Resynchronisations.Encode(&recordpb.Resynchronisation{Target: string(west), Forgotten: forgotten}))
			_, err := p.shard.Commit(ctx, txn)
			must(t, err)
		}
		messages := func() int { return len(s.keys(record.MessagePrefix, record.PrefixEnd(record.MessagePrefix))) }
		mark(true)
		must(t, p.Empty(ctx, west))
		p.hear(len(s.log))
		p.enqueue(t, key(2), west, "south")
		if n := messages(); n != 1 {
			t.Errorf("%d messages are left; only that to south should be", n)
		}
		waited := make(chan error)
		go func() { waited <- p.WaitResynchronise(ctx, west) }()
		synctest.Wait()
		select {
		case err := <-waited:
			t.Fatalf("a region that is forgotten is compared: %v", err)
		default:
		}
		if _, err := p.BeginResynchronise(ctx, west); !secret.HasCode(err, secret.CodeNotFound) {
			t.Errorf("begun: %v", err)
		}

		var stale record.Txn
		p.Enqueue(&stale, []secret.RegionName{west}, key(3), p.Now())
		mark(false)
		if _, err := p.shard.Commit(ctx, stale); !secret.HasCode(err, secret.CodeStale) {
			t.Errorf("cleared without a message after another life was admitted: %v", err)
		}
		p.hear(len(s.log))
		must(t, <-waited)
		p.enqueue(t, key(3), west)
		if n := messages(); n != 2 {
			t.Errorf("%d messages", n)
		}
	})
}
