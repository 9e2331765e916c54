package launch

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Program is what to run.
type Program struct {
	// Argv is the program and its arguments. Nothing secret belongs there.
	Argv   []string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Environ returns the environment, each time the program is started.
	Environ func() []string
	// FromTerminal says that standard input is a terminal, which itself sends its
	// signals to the program.
	FromTerminal bool
	// StopFor is how long the program has to end after SIGTERM when it is restarted,
	// before SIGKILL.
	StopFor time.Duration
}

// Command is something to do with the running program.
type Command struct {
	// Restart stops the program and starts it anew.
	Restart bool
	// Signal is sent to it otherwise.
	Signal syscall.Signal
}

// forwarded are the signals that are passed on; those of fromTerminal are sent to
// the program by a terminal too.
func forwarded(fromTerminal bool) []os.Signal {
	all := []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT}
	if !fromTerminal {
		all = append(all, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH)
	}
	return all
}

// Run runs the program until it ends, and returns its exit code, or 128 and the
// number of the signal that ended it, as shells do. It carries out what arrives on
// commands; a nil channel is none. An error means that the program could not be
// started.
func (p *Program) Run(commands <-chan Command) (code int, err error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded(p.FromTerminal)...)
	defer signal.Stop(signals)
	if p.FromTerminal { // the program decides what they mean
		ignored := make(chan os.Signal, 1)
		signal.Notify(ignored, syscall.SIGINT, syscall.SIGQUIT)
		defer signal.Stop(ignored)
	}
	running, err := p.start()
	if err != nil {
		return 0, err
	}
	for {
		select {
		case <-running.ended:
			return running.code(), nil
		case s := <-signals:
			_ = running.cmd.Process.Signal(s) // it may have ended
		case c := <-commands:
			if !c.Restart {
				_ = running.cmd.Process.Signal(c.Signal)
				continue
			}
			if ended := p.stop(running, signals); ended {
				return running.code(), nil
			}
			if running, err = p.start(); err != nil {
				return 0, err
			}
		}
	}
}

// child is a running program.
type child struct {
	cmd *exec.Cmd
	// ended is closed when it has ended and was waited for.
	ended chan struct{}
}

func (p *Program) start() (*child, error) {
	// No context ends it: it ends by itself, or by the signals it gets.
	cmd := exec.CommandContext(context.Background(), p.Argv[0], p.Argv[1:]...) //nolint:gosec // what the caller asked for
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = p.Stdin, p.Stdout, p.Stderr, p.Environ()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, ended: make(chan struct{})}
	go func() { // ends with the program
		defer close(c.ended)
		_ = cmd.Wait()
	}()
	return c, nil
}

// stop ends the program so that it can be started anew. ended reports that it is
// not to be, because a signal asked the launcher itself to end.
func (p *Program) stop(c *child, signals <-chan os.Signal) (ended bool) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(p.StopFor)
	defer late.Stop()
	for {
		select {
		case <-c.ended:
			return ended
		case <-late.C:
			_ = c.cmd.Process.Kill()
		case s := <-signals:
			_ = c.cmd.Process.Signal(s)
			ended = ended || s == syscall.SIGTERM || s == syscall.SIGINT || s == syscall.SIGQUIT
		}
	}
}

// code is the exit code of a program that has ended.
func (c *child) code() int {
	state := c.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// Environ returns env without the variables of those names, and with the given
// ones.
func Environ(env []string, without []string, with map[string]string) []string {
	all := slices.DeleteFunc(slices.Clone(env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		_, replaced := with[name]
		return replaced || slices.Contains(without, name)
	})
	for name, value := range with {
		all = append(all, name+"="+value)
	}
	return all
}
