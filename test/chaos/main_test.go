package chaos_test

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/cli"
)

var (
	seedFlag     = flag.Uint64("chaos.seed", 0, "seed of the faults; 0 for one from the clock")
	dirFlag      = flag.String("chaos.dir", "", "where the files of failed tests are kept; none by default")
	durationFlag = flag.Duration("chaos.duration", 10*time.Second, "how long faults are made under load")
)

// TestMain runs the tests. Called as `server --config FILE` it is the server
// itself: the processes of a cell are this program, so that they have the race
// detector and the fault points that the tests were built with.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Environment{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Release: "chaos",
		}))
	}
	os.Exit(m.Run())
}
