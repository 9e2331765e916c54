package queue

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// The waits after failed attempts of a message double from about half a second
	// to longestWait.
	firstWait   = 500 * time.Millisecond
	longestWait = 5 * time.Minute
	// A target that is not reached is tried more often: what waits for it waits for
	// nothing else.
	firstUnreachableWait   = 200 * time.Millisecond
	longestUnreachableWait = 30 * time.Second
	// storeWait is how long a message rests whose outcome could not be stored.
	storeWait = time.Second
	jitter    = 0.25
	factor    = 2
)

// wait returns how long to wait after the nth failed attempt.
func wait(n int, first, longest time.Duration) time.Duration {
	most := time.Duration(float64(longest) / (1 + jitter))
	for ; n > 1 && first < most; n-- {
		first *= factor
	}
	b := backoff.ExponentialBackOff{InitialInterval: min(first, most), MaxInterval: most, Multiplier: factor, RandomizationFactor: jitter}
	return min(b.NextBackOff(), longest)
}
