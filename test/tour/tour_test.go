// Package tour runs the commands of the README's tour as a new user would.
package tour_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const root = "../.."

// blocks returns the tour's commands in the order of the page.
func blocks(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, part := range strings.Split(string(page), "```sh tour\n")[1:] {
		commands, _, ok := strings.Cut(part, "```")
		if !ok {
			t.Fatal("README.md: a block of the tour is not closed")
		}
		found = append(found, commands)
	}
	if len(found) < 5 {
		t.Fatalf("README.md: %d blocks of the tour found", len(found))
	}
	return found
}

func TestTour(t *testing.T) {
	commands := blocks(t)
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	build(t, filepath.Join(bin, "lifeboat"))
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(filepath.Join(root, "examples"))); err != nil {
		t.Fatal(err)
	}
	startDev(t, dir)
	out := script(t, dir, "set -euo pipefail\nexport PATH=\"$PWD/bin:$PATH\"\n"+strings.Join(commands, "\n"))
	for _, want := range []string{
		"principal   admin",
		"correct horse battery staple",
		"PREVIOUS",
		"10 created",
		"PAYMENTS_DATABASE_URL  ",
		`"versionNumber":"2"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the tour's output lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func build(t *testing.T, binary string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/lifeboat")
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// startDev starts what the page starts in the background, and waits for what it
// says appears.
func startDev(t *testing.T, dir string) {
	t.Helper()
	var out bytes.Buffer
	dev := exec.Command("./bin/lifeboat", "dev", "--data-dir", "./data", "--write-env", "./data/env")
	dev.Dir, dev.Stdout, dev.Stderr = dir, &out, &out
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }()
	t.Cleanup(func() {
		_ = dev.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("lifeboat dev did not stop cleanly: %v\n%s", err, out.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(dir, "data/env/east.env")); err == nil {
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			ended <- err
			t.Fatalf("lifeboat dev ended: %v\n%s", err, out.String())
		case <-ctx.Done():
			t.Fatalf("lifeboat dev was not ready in time\n%s", out.String())
		}
	}
}

func script(t *testing.T, dir, text string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "bash", "-c", text)
	c.Dir = dir
	c.Env = append(os.Environ(), "HOME="+dir)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("the tour failed: %v\n%s", err, out)
	}
	return string(out)
}
