package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/canary"
)

type canaryOptions struct {
	every, within           time.Duration
	rounds                  int
	once                    bool
	inVault, metricsAddress string
}

func (o *canaryOptions) check() error {
	if o.once {
		o.rounds = 1
	}
	switch {
	case o.every < 100*time.Millisecond || o.every > time.Hour:
		return usagef("--every is %s; allowed are 100ms to 1h", o.every)
	case o.within < 10*time.Millisecond || o.within > time.Minute:
		return usagef("--within is %s; allowed are 10ms to 1m", o.within)
	case o.rounds < 0:
		return usagef("--rounds is negative")
	}
	return nil
}

func (a *app) canaryCommand() *cobra.Command {
	var o canaryOptions
	c := &cobra.Command{
		Use: "canary [ADDRESS...]", Short: "Write and read back all the time, through every host, and report",
		Long: `Watch a region from outside, as its callers see it. In each round a new value is
written through --addr and read back through every ADDRESS, without and with its
revision token: is it the right value, does no host go back, and how long after
the acknowledgement does each host show it?

The value is in a secret of its own, in a vault of its own unless --in-vault names
one; both are removed in the end. The token needs to be one that may do that.

Results: ok; late, if a host does not show the value within --within; no_answer,
if it does not answer by then; went_back, if it shows an older version than
before; wrong_value; or the code of an error.
The exit code is 1 if any round of --once or --rounds failed.`,
		Example: `  lifeboat canary https://host-1:8200 https://host-2:8200
  lifeboat canary --once && echo healthy
  lifeboat canary --every 30s --metrics-address 127.0.0.1:9300 -o json >> canary.log`,
		RunE: func(c *cobra.Command, addresses []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.runCanary(c.Context(), o, addresses)
		},
	}
	f := c.Flags()
	f.DurationVar(&o.every, "every", 10*time.Second, "time from one round to the next")
	f.DurationVar(&o.within, "within", 5*time.Second, "how soon a host must show a value")
	f.BoolVar(&o.once, "once", false, "one round")
	f.IntVar(&o.rounds, "rounds", 0, "number of rounds; 0 means until it is interrupted")
	f.StringVar(&o.inVault, "in-vault", "", "vault for the secret, in place of one of its own")
	f.StringVar(&o.metricsAddress, "metrics-address", "", "HOST:PORT that serves metrics for Prometheus at /metrics")
	c.MarkFlagsMutuallyExclusive("once", "rounds")
	_ = c.RegisterFlagCompletionFunc("in-vault", a.completeVaults)
	return c
}

func (a *app) runCanary(ctx context.Context, o canaryOptions, addresses []string) (err error) {
	writer, err := a.connect()
	if err != nil {
		return err
	}
	readers, closeReaders, err := a.canaryReaders(addresses)
	defer closeReaders()
	if err != nil {
		return err
	}
	metrics := canary.NewMetrics()
	stopMetrics, err := serveMetrics(ctx, o.metricsAddress, metrics.Handler())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopMetrics()) }()
	bird, err := canary.Open(ctx, canary.Options{Writer: writer, Readers: readers, Vault: o.inVault, Within: o.within})
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, bird.Close(clean))
	}()
	if err != nil {
		return err
	}
	return a.canaryRounds(ctx, o, bird, metrics)
}

// canaryReaders makes a client for each address, with the token and authorities of
// the command.
func (a *app) canaryReaders(addresses []string) (readers []canary.Reader, closeAll func(), err error) {
	closeAll = func() {
		for _, r := range readers {
			r.Client.Close()
		}
	}
	s := a.client.settings
	if len(addresses) == 0 {
		addresses = s.addresses()
	}
	for _, address := range addresses {
		c, err := client.New(client.Config{Address: address, Token: s.token, CAFile: s.caFileOf(address), Timeout: a.flags.timeout, UserAgent: "lifeboat-canary/" + a.Release})
		if err != nil {
			return readers, closeAll, &usageError{err: err, hint: "addresses are URLs like https://host-1:8200"}
		}
		readers = append(readers, canary.Reader{Host: address, Client: c})
	}
	return readers, closeAll, nil
}

// serveMetrics serves them until stop is called.
func serveMetrics(ctx context.Context, address string, handler http.Handler) (stop func() error, err error) {
	if address == "" {
		return func() error { return nil }, nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, withHint(err, "choose a free --metrics-address")
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return func() error {
		err := server.Close()
		if ended := <-ended; !errors.Is(ended, http.ErrServerClosed) {
			err = errors.Join(err, ended)
		}
		return err
	}, nil
}

// canaryRounds goes on until there were enough rounds or the command is
// interrupted.
func (a *app) canaryRounds(ctx context.Context, o canaryOptions, bird *canary.Canary, metrics *canary.Metrics) error {
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	failed := 0
	for n := 1; ; n++ {
		r := bird.Round(ctx)
		if ctx.Err() != nil {
			return nil // what was under way tells nothing
		}
		metrics.Observe(r)
		if !r.OK {
			failed++
		}
		if err := a.showRound(r, n == 1); err != nil {
			return err
		}
		if n == o.rounds {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	if failed > 0 {
		return withHint(fmt.Errorf("%d of %d rounds failed", failed, o.rounds), "lifeboat operator status shows the region as one host sees it")
	}
	return nil
}

const canaryColumns = "%-8s %5s %8s  %-36s %10s %8s  %s"

func (a *app) showRound(r canary.Round, first bool) error {
	if a.flags.output == outputJSON {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return a.line("%s", line)
	}
	if first {
		if err := a.line(canaryColumns, "TIME", "ROUND", "WRITE MS", "HOST", "VISIBLE MS", "READ MS", "RESULT"); err != nil {
			return err
		}
	}
	for _, read := range r.Reads {
		result := read.Result
		if !r.Write.OK() {
			result += ", write: " + r.Write.Result
		}
		err := a.line(canaryColumns, r.At.Format(time.TimeOnly), fmt.Sprint(r.Round), fmt.Sprintf("%.1f", r.Write.Milliseconds),
			clip(oneLine(read.Host), 36), fmt.Sprintf("%.1f", read.VisibleMilliseconds), fmt.Sprintf("%.1f", read.ReadMilliseconds), result)
		if err != nil {
			return err
		}
	}
	return nil
}
