// Package isolation_test shows that targets which are dead leave nothing in their
// source that grows with time: what waits for them is bounded by the number of
// secrets, and beyond the queue's cap by the cap. Mutations go through the front
// door; whole regions run in this process.
package isolation_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	updatesFlag  = flag.Int("isolation.updates", 900, "updates while the target is dead, a third in each way of being so")
	secretsFlag  = flag.Int("isolation.secrets", 50, "secrets that are updated")
	distinctFlag = flag.Int("isolation.distinct", 500, "secrets that are made while ten targets are dead")
	capFlag      = flag.Int("isolation.cap", 150, "messages that may wait for each of the ten targets; below -isolation.distinct")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long something may stand still that must go on.
const patience = 2 * time.Minute

// until waits until done says so. It may take as long as it takes, but what done
// tells of the state must go on changing.
func until(t testing.TB, what string, done func(context.Context) (bool, any, error)) {
	t.Helper()
	var last any
	since := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, state, err := done(t.Context())
		if err == nil && ok {
			return
		}
		if err == nil && state != last {
			last, since = state, time.Now()
		}
		if time.Since(since) > patience {
			t.Fatalf("%s: for %s it stands at %v: %v", what, patience, state, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: it stands at %v: %v", what, state, err)
		case <-tick.C:
		}
	}
}
