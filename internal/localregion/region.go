package localregion

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// operatorTokenFile holds the first operator's token.
const operatorTokenFile = "operator.token"

// StartInProcess starts all processes inside this one, initialises the region if
// it is new, and returns when all of them are ready. On an error what was
// started is stopped.
func (r *Region) StartInProcess(ctx context.Context) error { return r.startAll(ctx, startInside) }

// StartChildren does the same with child processes of this one, each running
// `binary server --config FILE`.
func (r *Region) StartChildren(ctx context.Context, binary string) error {
	return r.startAll(ctx, startChild(binary))
}

func (r *Region) startAll(ctx context.Context, start starter) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, p := range r.Processes() {
		p.start = start
	}
	// The hosts start beside the control process: they wait for its store.
	for _, p := range r.Processes() {
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	if err := r.initialize(ctx); err != nil {
		return fmt.Errorf("initialize the region: %w", err)
	}
	return r.WaitReady(ctx)
}

// initialize makes the region if that was not done before.
func (r *Region) initialize(ctx context.Context) error {
	path := filepath.Join(r.options.Dir, operatorTokenFile)
	if exists(path) {
		return nil
	}
	socket := controlsocket.New(r.Control().SocketPath())
	defer socket.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		made, err := socket.Initialize(ctx)
		switch {
		case err == nil:
			return pki.WriteFile(path, append(made.Token.Reveal(), '\n'))
		case secret.HasCode(err, secret.CodeExists):
			return secret.Errorf(secret.CodeWrongState, "the region is initialized but %s is missing", path).
				WithHint("the token cannot be had again: remove " + r.options.Dir + " and start anew")
		case !secret.HasCode(err, secret.CodeUnavailable):
			return err
		}
		select { // the store is on its way up
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case cause := <-r.Control().running.done():
			r.Control().running = nil
			return fmt.Errorf("%s ended: %w", r.Control().ID, cause)
		case <-tick.C:
		}
	}
}

// WaitReady waits until every running process is ready.
func (r *Region) WaitReady(ctx context.Context) error {
	for _, p := range r.Processes() {
		if !p.Running() {
			continue
		}
		if err := p.WaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close stops what runs, the store last.
func (r *Region) Close() error {
	var stopped sync.WaitGroup
	all := r.Processes()
	errs := make([]error, len(all))
	for i, p := range all[1:] {
		if p.Running() {
			stopped.Go(func() { errs[i] = p.Stop() })
		}
	}
	stopped.Wait()
	if r.store.Running() {
		errs[len(all)-1] = r.store.Stop()
	}
	return errors.Join(errs...)
}

// Wait waits until a process ends by itself, and returns why, or until ctx ends.
func (r *Region) Wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(r.Processes()))
	var waiting sync.WaitGroup
	for _, p := range r.Processes() {
		if !p.Running() {
			continue
		}
		done := p.running.done()
		waiting.Go(func() {
			select {
			case err := <-done:
				ended <- fmt.Errorf("%s ended: %w", p.ID, err)
				cancel()
			case <-ctx.Done():
			}
		})
	}
	<-ctx.Done()
	waiting.Wait()
	select {
	case err := <-ended:
		return err
	default:
		return ctx.Err()
	}
}

// OperatorToken returns the first operator's token.
func (r *Region) OperatorToken() (client.Value, error) {
	return readToken(filepath.Join(r.options.Dir, operatorTokenFile))
}

// operatorClient asks the first control process as the operator.
func (r *Region) operatorClient() (*client.Client, error) {
	operator, err := r.OperatorToken()
	if err != nil {
		return nil, err
	}
	return r.Client(r.Control(), operator)
}

func readToken(path string) (client.Value, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return client.Value{}, err
	}
	return client.NewValue(strings.TrimSpace(string(data))), nil
}

// Client returns a client of one process. Close it after use.
func (r *Region) Client(p *Process, token client.Value) (*client.Client, error) {
	return client.New(client.Config{Address: p.URL(), Token: token, CAFile: r.CAFile()})
}

// OperatorTokenFile names the file with the first operator's token.
func (r *Region) OperatorTokenFile() string {
	return filepath.Join(r.options.Dir, operatorTokenFile)
}
