package localregion

import (
	"context"
	"errors"
	"os"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

type inside struct{ process *region.Process }

// startInside starts the process inside this one.
func startInside(ctx context.Context, p *Process) (running, error) {
	// What this process's environment says of configuration is not for its parts.
	c, err := config.Load(p.ConfigPath(), func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, err
	}
	o := p.region.options
	process, err := region.Start(ctx, region.Options{Config: c, Release: o.Release, Logger: o.Logger.With("process", p.ID)})
	if err != nil {
		return nil, err
	}
	return inside{process}, nil
}

func (i inside) stop() error { return i.process.Close() }
func (i inside) kill() error { return errors.New("a process inside this one cannot be killed") }
func (i inside) signal(os.Signal) error {
	return errors.New("a process inside this one takes no signals")
}
func (i inside) done() <-chan error { return i.process.Fatal() }
