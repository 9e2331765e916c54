package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// roles are what this binary does when it is started as a child: each is a
// process of its own, so that its CPU time and memory are its own. A child says
// where it listens in the first line of its output and ends with its input.
var roles = map[string]func(args []string) error{
	"server": serveRegion,
	"bare":   serveBare,
	"etcd":   serveEtcd,
}

// child is a running child process.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	address string
	// admin is where its metrics are; empty if nowhere.
	admin string
}

// spawn starts a child and waits until it is ready.
func spawn(ctx context.Context, role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, append([]string{role}, args...)...)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", role, err), c.stop())
	}
	c.address = strings.TrimSpace(line)
	return c, nil
}

// stop lets the child end by itself and waits for it.
func (c *child) stop() error {
	_ = c.in.Close()
	return c.cmd.Wait()
}

// ask sends a line and decodes the child's answer.
func (c *child) ask(question string, answer any) error {
	if _, err := io.WriteString(c.in, question+"\n"); err != nil {
		return err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, answer)
}

// clockTick is Linux's USER_HZ, the unit of times in /proc.
const clockTick = 10 * time.Millisecond

// cpu returns the CPU time that the process has used.
func (c *child) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold blanks; utime and stime are the 12th and
	// 13th fields after it.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}

// anonMB returns the anonymous memory of the process in MB: what it cannot give
// back, unlike pages of files.
func (c *child) anonMB() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, errors.New("the kernel does not tell RssAnon")
}

// untilInputEnds is how long a child lives.
func untilInputEnds() { _, _ = io.Copy(io.Discard, os.Stdin) }
