package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/follow"
	"github.com/lifeboat-secrets/lifeboat/internal/launch"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// filesVariable tells the program where its files are.
const filesVariable = "LIFEBOAT_SECRETS_DIR"

type execOptions struct {
	secrets, files                       []string
	envPrefix, under, filesDir, onChange string
	watch, keepToken                     bool
	stopFor                              time.Duration
}

func (a *app) execCommand() *cobra.Command {
	var o execOptions
	c := &cobra.Command{
		Use: "exec --secret NAME[=VARIABLE]... -- COMMAND [ARGUMENT...]", Short: "Run a program with secrets in its environment or in files",
		Long: `Run a program with secrets in its environment, or in files of a directory in memory
that only this user can open and that is gone when the program has ended. Nothing
secret is in its arguments. It is started only if all values can be read.

A reference is NAME, NAME:STAGE, NAME#FIELD or NAME:STAGE#FIELD; FIELD is that of a
value that is a JSON object. Without =VARIABLE the variable is named like the
secret, in capitals: db/password becomes DB_PASSWORD. $` + filesVariable + `
is the directory of the files.

Signals go to the program, and its exit code is that of this command; 126 and 127
say that it could not be started, as in shells. It does not get LIFEBOAT_TOKEN,
unless --keep-token says so. With --watch the program is restarted when a value has
changed, or gets the signal that --on-change names and finds new files.`,
		Example: `  lifeboat exec --secret db/password=DB_PASSWORD -- ./migrate
  lifeboat exec --secrets-under payments/ --env-prefix PAY_ -- ./server
  lifeboat exec --file tls/key=key.pem -- sh -c './server --key "$LIFEBOAT_SECRETS_DIR/key.pem"'
  lifeboat exec --secret db#user=PGUSER --secret db#password=PGPASSWORD --watch -- ./server
  lifeboat exec --file tls/key=key.pem --watch --on-change HUP -- ./server`,
		Args: func(_ *cobra.Command, given []string) error {
			if len(given) == 0 {
				return usagef("COMMAND is missing")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.runExec(c.Context(), args, o) },
	}
	a.vaultFlag(c)
	f := c.Flags()
	f.SetInterspersed(false)
	f.StringArrayVar(&o.secrets, "secret", nil, "REFERENCE[=VARIABLE]; repeatable")
	f.StringArrayVar(&o.files, "file", nil, "REFERENCE=FILENAME in the private directory; repeatable")
	f.StringVar(&o.under, "secrets-under", "", "all secrets whose names begin so, as variables named after the rest")
	f.StringVar(&o.envPrefix, "env-prefix", "", "put before the name of each variable")
	f.StringVar(&o.filesDir, "files-in", "", "directory in memory below which the private one is made (default $XDG_RUNTIME_DIR, /dev/shm)")
	f.BoolVar(&o.watch, "watch", false, "act when a value changes")
	f.StringVar(&o.onChange, "on-change", "restart", "with --watch: restart, or the signal to send")
	f.DurationVar(&o.stopFor, "stop-timeout", 10*time.Second, "how long the program has to end before it is killed when it is restarted")
	f.BoolVar(&o.keepToken, "keep-token", false, "let the program have LIFEBOAT_TOKEN")
	_ = c.RegisterFlagCompletionFunc("secret", a.completeSecrets)
	return c
}

// injection is what a program gets.
type injection struct {
	// variables and files are references by the name of what they become.
	variables, files map[string]follow.Ref
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// variable makes a name of a variable out of that of a secret.
func variable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}

func (in *injection) addVariable(ref follow.Ref, name string) error {
	if !variableName.MatchString(name) {
		return usagef("%q cannot be the name of a variable", name)
	}
	if other, taken := in.variables[name]; taken && other != ref {
		return usagef("both %s and %s would be the variable %s", other, ref, name)
	}
	in.variables[name] = ref
	return nil
}

// parse reads --secret and --file. Names of secrets may hold "=", those of
// variables and files may not.
func (o *execOptions) parse() (*injection, error) {
	in := &injection{variables: map[string]follow.Ref{}, files: map[string]follow.Ref{}}
	for _, given := range o.secrets {
		text, name := given, ""
		if at := strings.LastIndexByte(given, '='); at >= 0 && variableName.MatchString(given[at+1:]) {
			text, name = given[:at], given[at+1:]
		}
		ref, err := follow.ParseRef(text)
		if err != nil {
			return nil, usagef("--secret: %w", err)
		}
		if name == "" {
			name = variable(ref.Name)
			if ref.Field != "" {
				name += "_" + variable(ref.Field)
			}
		}
		if err := in.addVariable(ref, o.envPrefix+name); err != nil {
			return nil, err
		}
	}
	for _, given := range o.files {
		at := strings.LastIndexByte(given, '=')
		if at < 0 {
			return nil, usagef("--file must be REFERENCE=FILENAME")
		}
		name := given[at+1:]
		if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return nil, usagef("--file: %q must be a name without a directory that does not begin with a dot", name)
		}
		ref, err := follow.ParseRef(given[:at])
		if err != nil {
			return nil, usagef("--file: %w", err)
		}
		if _, taken := in.files[name]; taken {
			return nil, usagef("--file: %q is given twice", name)
		}
		in.files[name] = ref
	}
	if len(in.variables)+len(in.files) == 0 && o.under == "" {
		return nil, usagef("--secret, --secrets-under or --file is missing")
	}
	return in, nil
}

func (in *injection) refs() []follow.Ref {
	all := slices.AppendSeq(slices.Collect(maps.Values(in.variables)), maps.Values(in.files))
	seen := map[follow.Ref]bool{}
	return slices.DeleteFunc(all, func(r follow.Ref) bool {
		double := seen[r]
		seen[r] = true
		return double
	})
}

// addUnder adds the secrets whose names begin with prefix.
func (in *injection) addUnder(ctx context.Context, cl *client.Client, vault string, o *execOptions) error {
	if o.under == "" {
		return nil
	}
	for s, err := range cl.ListSecrets(ctx, &lifeboatv1.ListSecretsRequest{Vault: vault, NamePrefix: o.under}) {
		if err != nil {
			return err
		}
		name := variable(strings.TrimPrefix(s.GetName(), o.under))
		if err := in.addVariable(follow.Ref{Name: s.GetName()}, o.envPrefix+name); err != nil {
			return withHint(err, "name the secrets one by one with --secret NAME=VARIABLE")
		}
	}
	if len(in.variables)+len(in.files) == 0 {
		return &client.Error{Code: client.CodeNotFound, Message: fmt.Sprintf("no secret has a name that begins with %q", o.under)}
	}
	return nil
}

// execution is one run of exec.
type execution struct {
	app     *app
	options execOptions
	action  launch.Command
	client  *client.Client
	vault   string
	*injection
	directory *launch.Files

	// warned is set while the values cannot be read.
	warned bool

	mu     sync.Mutex
	values follow.Values
}

func (a *app) runExec(ctx context.Context, argv []string, o execOptions) error {
	in, err := o.parse()
	if err != nil {
		return err
	}
	action, err := parseAction(o.onChange)
	if err != nil {
		return err
	}
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	if err := in.addUnder(ctx, cl, vault, &o); err != nil {
		return err
	}
	e := &execution{app: a, options: o, action: action, client: cl, vault: vault, injection: in}
	if e.values, err = e.fetch(ctx); err != nil {
		return withHint(err, "the program was not started")
	}
	if len(e.files) > 0 {
		if e.directory, err = a.memoryDirectory(o.filesDir); err != nil {
			return err
		}
		defer func() {
			if err := e.directory.Remove(); err != nil {
				a.note("warning: the files of secrets cannot be removed: %v", err)
			}
		}()
		if err := e.directory.Put(e.contents(e.values)); err != nil {
			return err
		}
	}
	return e.run(argv)
}

func parseAction(text string) (launch.Command, error) {
	if text == "restart" {
		return launch.Command{Restart: true}, nil
	}
	number := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG"))
	if number == 0 {
		return launch.Command{}, usagef("%q is neither restart nor the name of a signal", text)
	}
	return launch.Command{Signal: number}, nil
}

func (a *app) memoryDirectory(given string) (*launch.Files, error) {
	parents := []string{given}
	if given == "" {
		runtime, _ := a.LookupEnv("XDG_RUNTIME_DIR")
		parents = []string{runtime, "/dev/shm"}
	}
	files, err := launch.NewFiles(parents...)
	if err != nil {
		return nil, withHint(err, "name a directory on a tmpfs with --files-in")
	}
	return files, nil
}

// fetch reads all values, and refuses what an environment cannot hold.
func (e *execution) fetch(ctx context.Context) (follow.Values, error) {
	values, err := follow.Fetch(ctx, e.client, e.vault, e.refs())
	if err != nil {
		return nil, err
	}
	for name, ref := range e.variables {
		if bytes.IndexByte(values[ref].Reveal(), 0) >= 0 {
			return nil, fmt.Errorf("the value of %s holds a zero byte, which the variable %s cannot; use --file", ref, name)
		}
	}
	return values, nil
}

func (e *execution) contents(values follow.Values) map[string]secret.Plaintext {
	contents := map[string]secret.Plaintext{}
	for name, ref := range e.files {
		contents[name] = values[ref]
	}
	return contents
}

func (e *execution) environ() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	with, without := map[string]string{}, []string{}
	for name, ref := range e.variables {
		with[name] = string(e.values[ref].Reveal())
	}
	if e.directory != nil {
		with[filesVariable] = e.directory.Dir()
	}
	if !e.options.keepToken {
		without = append(without, "LIFEBOAT_TOKEN")
	}
	return launch.Environ(os.Environ(), without, with)
}

// run runs the program, and beside it the watch.
func (e *execution) run(argv []string) error {
	program := launch.Program{
		Argv: argv, Stdin: e.app.Stdin, Stdout: e.app.Stdout, Stderr: e.app.Stderr, Environ: e.environ,
		FromTerminal: isTerminal(e.app.Stdin), StopFor: e.options.stopFor,
	}
	// A signal ends the program, if it ends it; not the watch before that.
	ctx, cancel := context.WithCancel(context.Background())
	commands := make(chan launch.Command)
	var watching sync.WaitGroup
	if e.options.watch {
		watching.Go(func() { e.watch(ctx, commands) })
	}
	code, err := program.Run(commands)
	cancel()
	watching.Wait()
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		e.app.note("error: there is no program %q", argv[0])
		return &exitError{code: 127}
	case err != nil:
		e.app.note("error: the program cannot be started: %v", err)
		return &exitError{code: 126}
	case code != 0:
		return &exitError{code: code}
	}
	return nil
}

// watch has the program restarted, or told, when a value has changed.
func (e *execution) watch(ctx context.Context, commands chan<- launch.Command) {
	names := map[string]bool{}
	for _, r := range e.refs() {
		names[r.Name] = true
	}
	follow.Watch(ctx, follow.Options{
		Client: e.client, Vault: e.vault,
		Concerns:    func(name, id string) bool { return names[name] || names[id] },
		Changed:     func(ctx context.Context) bool { return e.takeOver(ctx, commands) },
		Interrupted: func(err error) { e.app.note("warning: changes are looked for every 30 s only: %v", err) },
	})
}

// takeOver reads the values again. While that fails the program keeps what it has.
func (e *execution) takeOver(ctx context.Context, commands chan<- launch.Command) bool {
	values, err := e.fetch(ctx)
	if err != nil {
		if ctx.Err() == nil && !e.warned {
			e.warned = true
			e.app.note("warning: the values cannot be read again; the program keeps those that it has: %v", err)
		}
		return false
	}
	e.warned = false
	e.mu.Lock()
	same := values.Equal(e.values)
	e.mu.Unlock()
	if same {
		return true
	}
	if e.directory != nil {
		if err := e.directory.Put(e.contents(values)); err != nil {
			e.app.note("warning: %v", err)
			return false
		}
	}
	e.mu.Lock()
	e.values = values
	e.mu.Unlock()
	select {
	case commands <- e.action:
	case <-ctx.Done():
	}
	return true
}
