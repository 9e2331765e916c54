package launch_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/launch"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// output is what a program wrote.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until the program has written the text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(o.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the program did not write %q but %q", text, o.String())
		}
	}
}

func shell(script string, out *output, value func() string) *launch.Program {
	return &launch.Program{
		Argv: []string{"/bin/sh", "-c", script}, Stdout: out, Stderr: out, StopFor: 200 * time.Millisecond,
		Environ: func() []string { return []string{"PATH=" + os.Getenv("PATH"), "VALUE=" + value()} },
	}
}

func TestRestart(t *testing.T) {
	for name, script := range map[string]string{
		"that ends when told":   `echo "has $VALUE"; test $VALUE = new && exit 3; while :; do sleep 0.01; done`,
		"that has to be killed": `trap "echo told" TERM; echo "has $VALUE"; test $VALUE = new && exit 3; while :; do sleep 0.01; done`,
	} {
		t.Run(name, func(t *testing.T) {
			out, value := &output{}, make(chan string, 2)
			value <- "old"
			value <- "new"
			commands := make(chan launch.Command)
			go func() {
				out.await(t, "has old")
				commands <- launch.Command{Restart: true}
			}()
			code, err := shell(script, out, func() string { return <-value }).Run(commands)
			if err != nil || code != 3 || !strings.Contains(out.String(), "has new") {
				t.Errorf("code %d, %v, output %q", code, err, out)
			}
		})
	}
}

func TestSignals(t *testing.T) {
	out, commands := &output{}, make(chan launch.Command)
	go func() {
		out.await(t, "ready")
		commands <- launch.Command{Signal: syscall.SIGUSR1}
	}()
	code, err := shell(`trap "exit 9" USR1; echo ready; while :; do sleep 0.01; done`, out, func() string { return "" }).Run(commands)
	if err != nil || code != 9 {
		t.Errorf("code %d, %v", code, err)
	}
	if code, err := shell(`kill -KILL $$`, out, func() string { return "" }).Run(nil); err != nil || code != 137 {
		t.Errorf("killed: code %d, %v", code, err)
	}
	missing := &launch.Program{Argv: []string{"/nowhere/at/all"}, Environ: os.Environ}
	if _, err := missing.Run(nil); err == nil {
		t.Error("a program that does not exist ran")
	}
}

func TestEnviron(t *testing.T) {
	got := launch.Environ([]string{"A=1", "B=2", "TOKEN=x", "C=3"}, []string{"TOKEN"}, map[string]string{"B": "new"})
	slices.Sort(got)
	if want := []string{"A=1", "B=new", "C=3"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Secrets are not put on a disk.
func TestFilesAreInMemoryOrNowhere(t *testing.T) {
	for _, dir := range []string{t.TempDir(), ".", "/var/tmp"} { // one of them is on a disk
		files, err := launch.NewFiles("", dir, "/nowhere")
		if err != nil {
			return
		}
		if err := files.Remove(); err != nil {
			t.Error(err)
		}
	}
	skiptest.Missing(t, "a file system on a disk", "set TMPDIR to a directory of one")
}

func TestFiles(t *testing.T) {
	files, err := launch.NewFiles("/nowhere", "/dev/shm")
	if err != nil {
		skiptest.Missing(t, "/dev/shm in memory", err.Error())
	}
	defer func() {
		if err := files.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(files.Dir()); !os.IsNotExist(err) {
			t.Errorf("the directory is still there: %v", err)
		}
	}()
	for _, content := range []string{"one", "two, longer", ""} {
		if err := files.Put(map[string]secret.Plaintext{"f": secret.NewPlaintext([]byte(content))}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(files.Dir(), "f"))
		info, _ := os.Stat(filepath.Join(files.Dir(), "f"))
		if err != nil || string(got) != content || info.Mode().Perm() != 0o400 {
			t.Fatalf("%q with mode %v, %v", got, info.Mode(), err)
		}
	}
	if entries, _ := os.ReadDir(files.Dir()); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}
