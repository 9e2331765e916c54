package ownership

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// spinRuns are what Spin checks; a run with a rule left out must fail, and say what is
// in says.
var spinRuns = []struct{ name, defines, says string }{
	{"a takeover and a late shipment", "MOVES=0", ""},
	{"a takeover beside two planned moves", "WRITES=1 MOVES=2 LATE=0", ""},
	{"two survivors take over at once", "TAKEOVERS=2 MOVES=0 LATE=0", ""},
	{"two takeovers beside a planned move", "WRITES=1 TAKEOVERS=2 MOVES=1 LATE=0", ""},

	{"the epoch is not compared", "MOVES=0 NO_EPOCH", "assertion violated"},
	{"the lineage is ignored", "MOVES=0 NO_LINEAGE", "assertion violated ((acknowledged"},
	{"versions are told apart by their numbers", "MOVES=0 BY_NUMBER", "assertion violated ((acknowledged"},
	{"a region that knows it was taken over goes on", "MOVES=0 GOES_ON", "((past&warned)==0)"},
	{"a takeover ends before the lost region knows", "MOVES=0 ENDS_EARLY", "((past&warned)==0)"},
	{"what was taken over moves on before the lost region knows", "WRITES=1 MOVES=1 LATE=0 MOVES_ON", "((past&warned)==0)"},
	{"an epoch names the region that it moves to", "WRITES=1 MOVES=2 LATE=0 NAMES_TARGET", "assertion violated ((home"},
	{"who hands a record over may not say so", "WRITES=1 TAKEOVERS=0 MOVES=1 LATE=0 HANDS_OVER_SILENTLY", "acceptance cycle"},
}

func TestSpin(t *testing.T) {
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			skiptest.Missing(t, tool, "apt-get install "+tool)
		}
	}
	for _, run := range spinRuns {
		t.Run(run.name, func(t *testing.T) {
			t.Parallel()
			told := runSpin(t, strings.Fields(run.defines))
			clean := strings.Contains(told, "errors: 0") && !strings.Contains(told, "max search depth too small") && !strings.Contains(told, "out of memory")
			switch {
			case run.says == "" && !clean:
				t.Errorf("Spin finds:\n%s", told)
			case run.says != "" && !strings.Contains(told, run.says):
				t.Errorf("Spin does not say %q:\n%s", run.says, told)
			}
		})
	}
}

// runSpin has Spin make a checker of the model, and returns what that tells.
func runSpin(t *testing.T, defines []string) string {
	t.Helper()
	model, err := filepath.Abs("ownership.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tool := func(name string, args ...string) string {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		told, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, told)
		}
		return string(bytes.TrimSpace(told))
	}
	args := []string{"-a"}
	for _, d := range defines {
		args = append(args, "-D"+d)
	}
	tool("spin", append(args, model)...)
	if _, err := os.Stat(filepath.Join(dir, "pan.c")); err != nil {
		t.Fatal(err)
	}
	tool("gcc", "-w", "-DVECTORSZ=2048", "-o", "pan", "pan.c")
	return tool(filepath.Join(dir, "pan"), "-a", "-m100000")
}
