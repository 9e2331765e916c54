package service_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// limited notes until when its reads may take.
type limited struct {
	*shard
	limits map[time.Time]bool
}

func (l *limited) View(ctx context.Context) record.View {
	limit, _ := ctx.Deadline()
	l.limits[limit] = true
	return l.snapshot()
}

func TestTheReadsOfABatchShareOneLimit(t *testing.T) {
	h := start(t)
	store := &limited{shard: h.shard, limits: map[time.Time]bool{}}
	h.Store = store
	var missing []string
	for i := range service.MaxBatch {
		missing = append(missing, fmt.Sprintf("s%d", i))
	}
	_, err := h.BatchGetSecretValues(h.ctx(), "v", missing, "")
	must(t, err)
	if len(store.limits) != 1 {
		t.Errorf("the store may take %d times as long", len(store.limits))
	}
}
