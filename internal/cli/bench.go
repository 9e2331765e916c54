package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

type benchOptions struct {
	duration                          time.Duration
	clients, secrets, size, readShare int
}

func (o benchOptions) check() error {
	switch {
	case o.clients < 1 || o.clients > 1000:
		return usagef("--clients is %d; allowed are 1 to 1000", o.clients)
	case o.secrets < 1 || o.secrets > 100_000:
		return usagef("--secrets is %d; allowed are 1 to 100000", o.secrets)
	case o.size < 1 || o.size > 64<<10:
		return usagef("--size is %d; allowed are 1 to 65536 bytes", o.size)
	case o.readShare < 0 || o.readShare > 100:
		return usagef("--reads is %d; allowed are 0 to 100 per cent", o.readShare)
	case o.duration < time.Second || o.duration > time.Hour:
		return usagef("--duration is %s; allowed are 1s to 1h", o.duration)
	}
	return nil
}

func (a *app) benchCommand() *cobra.Command {
	var o benchOptions
	c := &cobra.Command{
		Use: "bench", Short: "Load a region for a while and show rates and latencies", Args: args(),
		Long: `Load a region for a while and show rates and latencies. It makes secrets of its own
in the vault, reads and puts them at random, and schedules their deletion in the
end. Each client sends its next request when it has the answer to the last one.`,
		Example: "  lifeboat bench\n  lifeboat bench --clients 64 --reads 99 --duration 1m -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.runBench(c.Context(), o)
		},
	}
	a.vaultFlag(c)
	c.Flags().DurationVar(&o.duration, "duration", 10*time.Second, "how long")
	c.Flags().IntVar(&o.clients, "clients", 16, "clients at once")
	c.Flags().IntVar(&o.secrets, "secrets", 100, "secrets to make")
	c.Flags().IntVar(&o.size, "size", 1024, "bytes of a value")
	c.Flags().IntVar(&o.readShare, "reads", 90, "share of reads in per cent; the rest are new versions")
	return c
}

// benchFigures is what one kind of request achieved.
type benchFigures struct {
	Requests  int     `json:"requests"`
	Errors    int     `json:"errors"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
}

type benchReport struct {
	Seconds float64      `json:"seconds"`
	Reads   benchFigures `json:"reads"`
	Puts    benchFigures `json:"puts"`
	// FirstError is the first one met, if any.
	FirstError string `json:"first_error,omitempty"`
}

func (a *app) runBench(ctx context.Context, o benchOptions) (err error) {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	b := &bench{client: cl, vault: vault, options: o, prefix: "lifeboat-bench/" + ulid.Make().String() + "/"}
	defer func() {
		// The secrets go even if the run was interrupted.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, b.remove(clean))
	}()
	if err := b.fill(ctx, a.progress("making secrets")); err != nil {
		return err
	}
	report := b.run(ctx)
	if a.flags.output == "json" {
		encoded, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		return a.line("%s", encoded)
	}
	return a.showBench(report)
}

func (a *app) showBench(r benchReport) error {
	if err := a.line("%-6s %10s %8s %10s %9s %9s %9s", "", "REQUESTS", "ERRORS", "PER S", "P50 MS", "P99 MS", "MAX MS"); err != nil {
		return err
	}
	for _, row := range []struct {
		name string
		f    benchFigures
	}{{"reads", r.Reads}, {"puts", r.Puts}} {
		err := a.line("%-6s %10d %8d %10.0f %9.2f %9.2f %9.2f", row.name, row.f.Requests, row.f.Errors, row.f.PerSecond, row.f.P50, row.f.P99, row.f.Max)
		if err != nil {
			return err
		}
	}
	if r.FirstError != "" {
		a.note("first error: %s", r.FirstError)
	}
	return nil
}

type bench struct {
	client  *client.Client
	vault   string
	options benchOptions
	prefix  string
	made    []string

	mu       sync.Mutex
	firstErr error
}

func (b *bench) value() []byte {
	v := make([]byte, b.options.size)
	for i := range v {
		v[i] = byte('a' + rand.IntN(26)) //nolint:gosec // not a secret
	}
	return v
}

func (b *bench) fill(ctx context.Context, progress func(total int) (step func(), done func())) error {
	step, done := progress(b.options.secrets)
	defer done()
	for i := range b.options.secrets {
		name := fmt.Sprintf("%s%06d", b.prefix, i)
		_, err := b.client.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{Vault: b.vault, Name: name, Value: b.value()})
		if err != nil {
			return err
		}
		b.made = append(b.made, name)
		step()
	}
	return nil
}

func (b *bench) remove(ctx context.Context) error {
	for _, name := range b.made {
		if _, err := b.client.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{Vault: b.vault, Secret: name}); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	return nil
}

// samples are latencies in milliseconds, by kind of request.
type samples struct {
	reads, puts           []float64
	readErrors, putErrors int
}

func (b *bench) run(ctx context.Context) benchReport {
	ctx, cancel := context.WithTimeout(ctx, b.options.duration)
	defer cancel()
	all := make([]samples, b.options.clients)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { b.load(ctx, &all[i]) })
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	var sum samples
	for _, s := range all {
		sum.reads, sum.puts = append(sum.reads, s.reads...), append(sum.puts, s.puts...)
		sum.readErrors, sum.putErrors = sum.readErrors+s.readErrors, sum.putErrors+s.putErrors
	}
	report := benchReport{Seconds: took, Reads: figures(sum.reads, sum.readErrors, took), Puts: figures(sum.puts, sum.putErrors, took)}
	if b.firstErr != nil {
		report.FirstError = b.firstErr.Error()
	}
	return report
}

func (b *bench) load(ctx context.Context, s *samples) {
	for ctx.Err() == nil {
		name := b.made[rand.IntN(len(b.made))]        //nolint:gosec // a load needs no cryptography
		reads := rand.IntN(100) < b.options.readShare //nolint:gosec // likewise
		began := time.Now()
		var err error
		if reads {
			_, err = b.client.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: b.vault, Secret: name})
		} else {
			_, err = b.client.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: b.vault, Secret: name, Value: b.value()})
		}
		if ctx.Err() != nil {
			return
		}
		took := float64(time.Since(began)) / float64(time.Millisecond)
		switch {
		case err != nil:
			b.note(err)
			if reads {
				s.readErrors++
			} else {
				s.putErrors++
			}
		case reads:
			s.reads = append(s.reads, took)
		default:
			s.puts = append(s.puts, took)
		}
	}
}

func (b *bench) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.firstErr == nil {
		b.firstErr = err
	}
}

func figures(latencies []float64, failed int, seconds float64) benchFigures {
	f := benchFigures{Requests: len(latencies), Errors: failed, PerSecond: float64(len(latencies)) / seconds}
	if len(latencies) == 0 {
		return f
	}
	slices.Sort(latencies)
	at := func(q float64) float64 { return latencies[int(q*float64(len(latencies)-1))] }
	f.P50, f.P99, f.Max = at(0.5), at(0.99), latencies[len(latencies)-1]
	return f
}
