package localregion

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a child may take to stop in order.
const stopTimeout = 20 * time.Second

type child struct {
	cmd   *exec.Cmd
	ended chan struct{}
	cause chan error
}

// startChild starts the process as `binary server --config FILE`. On Linux it
// dies with this one.
func startChild(binary string) starter {
	return func(_ context.Context, p *Process) (running, error) {
		log, err := os.OpenFile(p.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer func() { _ = log.Close() }()
		cmd := exec.Command(binary, "server", "--config", p.ConfigPath()) //nolint:gosec,noctx // the caller's own binary; ended by stop or kill
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Env = ownEnvironment()
		c := &child{cmd: cmd, ended: make(chan struct{}), cause: make(chan error, 1)}
		started := make(chan error)
		go func() {
			err := startBound(cmd)
			started <- err
			if err != nil {
				return
			}
			c.cause <- fmt.Errorf("process %d: %w; its log is %s", cmd.Process.Pid, orExited(cmd.Wait()), p.LogPath())
			close(c.ended)
		}()
		if err := <-started; err != nil {
			return nil, err
		}
		return c, nil
	}
}

func orExited(err error) error {
	if err == nil {
		return errors.New("exited")
	}
	return err
}

// ownEnvironment leaves out what would override the child's configuration.
func ownEnvironment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LIFEBOAT_") {
			env = append(env, v)
		}
	}
	return env
}

func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("did not stop within %s and was killed", stopTimeout), c.kill())
	}
}

func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.ended
	return nil
}

func (c *child) signal(s os.Signal) error { return c.cmd.Process.Signal(s) }

func (c *child) done() <-chan error { return c.cause }
