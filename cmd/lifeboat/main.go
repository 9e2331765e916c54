// Command lifeboat is the server and the command line of Lifeboat, a secret
// manager.
package main

import (
	"context"
	"os"

	"github.com/lifeboat-secrets/lifeboat/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Release: cli.BuildRelease(),
	}))
}
