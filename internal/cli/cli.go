// Package cli is the command line. Each command is described by its own help,
// with examples; what it prints for programs, with -o json, is the answer of the
// API as JSON.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Environment is what a command knows of its surroundings. All fields are
// required.
type Environment struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool)
	// Release is the version of the binary.
	Release string
}

// release is set by the linker for releases.
var release = ""

// BuildRelease returns the version of the binary: that given to the linker, or
// the one that the Go toolchain recorded.
func BuildRelease() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Main runs a command and returns its exit code. See the constants for codes.
func Main(ctx context.Context, args []string, env Environment) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{Environment: env}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	command, err := root.ExecuteContextC(ctx)
	a.closeClient()
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if !a.started {
		err = usage(err)
	}
	return a.fail(command, err)
}

// app is one run of the command line.
type app struct {
	Environment
	flags  flags
	client clientState
	// started is set once a command runs; what fails earlier is wrong usage.
	started bool
}

// flags of all commands.
type flags struct {
	configFile, addr, regionsFile, tokenFile, caFile, region, vault, output string
	clientCert, clientKey                                                   string
	timeout                                                                 time.Duration
}

const rootLong = `Lifeboat is a secret manager that survives the loss of a region.

To try it, run "lifeboat dev", which starts regions on this machine, or
"lifeboat demo", which shows what one does when parts of it fail.

Where to find the region and who you are, each in this order:
  flags                 --addr or --regions-file, --token-file --ca-file --region --vault
                        --client-cert --client-key
  environment           LIFEBOAT_ADDR or LIFEBOAT_REGIONS_FILE, LIFEBOAT_TOKEN LIFEBOAT_CA_FILE
                        LIFEBOAT_REGION LIFEBOAT_VAULT
                        LIFEBOAT_CLIENT_CERT LIFEBOAT_CLIENT_KEY LIFEBOAT_ACCOUNT
  configuration file    addr: or regions:, token_file: ca_file: region: vault:
                        client_cert: client_key: account:
                        in ~/.config/lifeboat/config.yaml, or what LIFEBOAT_CONFIG or --cli-config names

With several regions a command reads from the first that answers and holds what is
asked for, and writes in the home region, wherever that is now. --region NAME asks
that one alone; what is about a region itself asks the first. A regions file is

  regions:
  - {name: east, addresses: ["https://east-1.example:8200"], ca_file: east-ca.pem}
  - {name: west, addresses: ["https://west-1.example:8200"], ca_file: west-ca.pem}

Tokens and values are never taken from the command line, where other users of
the machine could see them.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 denied or not authenticated.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "lifeboat", Short: "A secret manager that survives the loss of a region", Long: rootLong,
		Example: `  lifeboat dev --write-env .
  . ./east.env
  printf s3cret | lifeboat secret put api-key
  lifeboat secret get api-key`,
		SilenceErrors: true, SilenceUsage: true, Version: a.Release,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	p := root.PersistentFlags()
	p.StringVar(&a.flags.configFile, "cli-config", "", "configuration file of the command line")
	p.StringVar(&a.flags.addr, "addr", "", "URL of a host of the region, https://HOST:PORT")
	p.StringVar(&a.flags.regionsFile, "regions-file", "", "YAML file with several regions to use, in order of preference")
	p.StringVar(&a.flags.tokenFile, "token-file", "", "file with your token; - is standard input")
	p.StringVar(&a.flags.clientCert, "client-cert", "", "PEM file with your client certificate, presented in place of a token")
	p.StringVar(&a.flags.clientKey, "client-key", "", "PEM file with its key")
	p.StringVar(&a.flags.caFile, "ca-file", "", "PEM file with the authorities to trust")
	p.StringVar(&a.flags.region, "region", "", "region that you mean; no other one is asked")
	p.StringVarP(&a.flags.output, "output", "o", "table", "table or json")
	p.DurationVar(&a.flags.timeout, "timeout", 0, "bound on each call, retries included (default 30s)")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }
	root.AddGroup(
		&cobra.Group{ID: "use", Title: "Secrets:"}, &cobra.Group{ID: "manage", Title: "Accounts and permissions:"},
		&cobra.Group{ID: "try", Title: "Try it:"}, &cobra.Group{ID: "run", Title: "Run a region:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("use", a.secretCommand(), a.vaultCommand(), a.conflictCommand(), a.importCommand(), a.execCommand(), a.templateCommand(), a.whoAmICommand())
	add("manage", a.accountCommand(), a.principalCommand(), a.tokenCommand(), a.accessKeyCommand(), a.policyCommand(),
		a.loginCommand(), a.trustCommand(), a.issuerCommand())
	add("try", a.devCommand(), a.demoCommand(), a.benchCommand())
	add("run", a.serverCommand(), a.canaryCommand(), a.drillCommand(), a.configCommand(), a.operatorCommand(), a.regionCommand(), a.replicationCommand(), a.pipelineCommand(), a.auditCommand(), a.kmsCommand(), a.pkiCommand())
	root.AddCommand(a.versionCommand())
	a.finish(root)
	return root
}

// finish makes a group of commands refuse what it does not know, where cobra
// would print help and succeed, and others note that they were reached.
func (a *app) finish(c *cobra.Command) {
	for _, below := range c.Commands() {
		a.finish(below)
	}
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.started = true
			return run(c, args)
		}
		return
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("%q is no command of %s", args[0], c.CommandPath())
		}
		a.started = true
		return c.Help()
	}
}

// args checks positional arguments, naming what is expected.
func args(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, given []string) error {
		if len(given) < len(names) {
			return usagef("%s is missing", names[len(given)])
		}
		if len(given) > len(names) {
			return usagef("unexpected argument %d: %d expected", len(names)+1, len(names))
		}
		return nil
	}
}

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// atMostOne is for commands with one optional argument.
func atMostOne(_ *cobra.Command, given []string) error {
	if len(given) > 1 {
		return usagef("unexpected argument 2: at most 1 expected")
	}
	return nil
}
