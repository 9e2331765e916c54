package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/follow"
	"github.com/lifeboat-secrets/lifeboat/internal/render"
)

// onChangeFor bounds a command that is run after a change.
const onChangeFor = 30 * time.Second

// templateSpec says what file to make out of what.
type templateSpec struct {
	In       string `yaml:"in"`
	Out      string `yaml:"out"`
	Mode     string `yaml:"mode"`
	OnChange string `yaml:"on_change"`
	Signal   string `yaml:"signal"`
	PIDFile  string `yaml:"pid_file"`
}

type templateOptions struct {
	templateSpec
	config string
	once   bool
}

func (a *app) templateCommand() *cobra.Command {
	var o templateOptions
	c := &cobra.Command{
		Use: "template", Short: "Keep files that are made of templates and secrets up to date", Args: args(),
		Long: `Make files out of templates and the values of secrets, and make them anew whenever a
value changes, until told to stop; with --once only now. A file is replaced whole.
While a template or one of its secrets fails, the last good file stays.

Templates are Go's text/template. Functions beside its own:
  {{ secret "NAME" }}      the value; also "NAME:STAGE", "NAME#FIELD" for JSON
  {{ base64 TEXT }}  {{ json ANY }}  {{ trim TEXT }}  {{ indent N TEXT }}

After a file has changed, --on-change is run by the shell, or --signal is sent to the
process that --pid-file names.

Several templates are named by a file, in which relative paths begin at its place:
  templates:
    - in: app.conf.tmpl
      out: /run/app/app.conf
      mode: "0640"
      on_change: systemctl reload app`,
		Example: `  lifeboat template --in db.conf.tmpl --out db.conf --once
  lifeboat template --in nginx.tmpl --out /etc/nginx/key.pem --mode 0600 --on-change 'nginx -s reload'
  lifeboat template --in a.tmpl --out a.conf --signal HUP --pid-file /run/app.pid
  lifeboat template --config templates.yaml`,
		RunE: func(c *cobra.Command, _ []string) error { return a.runTemplate(c.Context(), o) },
	}
	a.vaultFlag(c)
	f := c.Flags()
	f.StringVar(&o.In, "in", "", "template")
	f.StringVar(&o.Out, "out", "", "file to make")
	f.StringVar(&o.Mode, "mode", "0600", "its permissions, octal")
	f.StringVar(&o.OnChange, "on-change", "", "command for the shell when the file has changed")
	f.StringVar(&o.Signal, "signal", "", "signal to send when the file has changed")
	f.StringVar(&o.PIDFile, "pid-file", "", "file with the ID of the process that gets it")
	f.StringVar(&o.config, "config", "", "file that names several templates")
	f.BoolVar(&o.once, "once", false, "do it once and end")
	c.MarkFlagsMutuallyExclusive("config", "in")
	c.MarkFlagsMutuallyExclusive("config", "out")
	c.MarkFlagsMutuallyExclusive("on-change", "signal")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	return c
}

// rendering is a template that is kept up to date.
type rendering struct {
	templateSpec
	mode     fs.FileMode
	signal   syscall.Signal
	template *render.Template
	// values are those in the file; pending that it has changed and nobody was told
	// yet.
	values  follow.Values
	pending bool
	// said is the failure that was shown last.
	said string
}

func (a *app) runTemplate(ctx context.Context, o templateOptions) error {
	specs, err := o.specs()
	if err != nil {
		return err
	}
	all := make([]*rendering, len(specs))
	for i, s := range specs {
		if all[i], err = prepare(s); err != nil {
			return err
		}
	}
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	t := &templating{app: a, client: cl, vault: vault, all: all, once: o.once}
	err = t.renderAll(ctx)
	if o.once {
		return err
	}
	follow.Watch(ctx, follow.Options{
		Client: cl, Vault: vault,
		Concerns:    func(string, string) bool { return true }, // a template that failed may ask for any
		Changed:     func(ctx context.Context) bool { return t.renderAll(ctx) == nil },
		Interrupted: func(err error) { a.note("warning: changes are looked for every 30 s only: %v", err) },
	})
	return nil // told to stop
}

// specs returns what the flags, or the file, name.
func (o *templateOptions) specs() ([]templateSpec, error) {
	if o.config == "" {
		if o.In == "" || o.Out == "" {
			return nil, usagef("--in and --out, or --config, are missing")
		}
		return []templateSpec{o.templateSpec}, nil
	}
	data, err := os.ReadFile(o.config)
	if err != nil {
		return nil, fmt.Errorf("read the file of templates: %w", err)
	}
	var file struct {
		Templates []templateSpec `yaml:"templates"`
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithKnownFields(), yaml.WithUniqueKeys())
	if err == nil {
		err = loader.Load(&file)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, withHint(fmt.Errorf("%s: %w", o.config, err), "the fields are templates: in, out, mode, on_change, signal and pid_file")
	}
	if len(file.Templates) == 0 {
		return nil, usagef("%s names no templates", o.config)
	}
	outs := map[string]bool{}
	for i := range file.Templates {
		s := &file.Templates[i]
		for _, path := range []*string{&s.In, &s.Out, &s.PIDFile} {
			if *path != "" && !filepath.IsAbs(*path) {
				*path = filepath.Join(filepath.Dir(o.config), *path)
			}
		}
		if outs[s.Out] {
			return nil, usagef("%s: two templates make %s", o.config, s.Out)
		}
		outs[s.Out] = true
	}
	return file.Templates, nil
}

// prepare checks what a template says and parses it.
func prepare(s templateSpec) (*rendering, error) {
	r := &rendering{templateSpec: s}
	if s.In == "" || s.Out == "" {
		return nil, usagef("a template needs in and out")
	}
	mode, err := strconv.ParseUint(cmp.Or(s.Mode, "0600"), 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return nil, usagef("mode %q must be octal, 0001 to 0777", s.Mode)
	}
	r.mode = fs.FileMode(mode)
	switch {
	case s.OnChange != "" && s.Signal != "":
		return nil, usagef("%s: give either a command or a signal", s.Out)
	case (s.Signal == "") != (s.PIDFile == ""):
		return nil, usagef("%s: a signal needs a file with the ID of the process, and that a signal", s.Out)
	case s.Signal != "":
		action, err := parseAction(s.Signal)
		if err != nil || action.Restart {
			return nil, usagef("%q is not the name of a signal", s.Signal)
		}
		r.signal = action.Signal
	}
	text, err := os.ReadFile(s.In)
	if err != nil {
		return nil, fmt.Errorf("read the template: %w", err)
	}
	r.template, err = render.Parse(filepath.Base(s.In), string(text))
	return r, err
}

// templating is one run of template.
type templating struct {
	app    *app
	client *client.Client
	vault  string
	all    []*rendering
	once   bool
}

// renderAll renders every template, whatever becomes of the others. A failure that
// is new is shown, but for the one run of --once, which ends with it.
func (t *templating) renderAll(ctx context.Context) error {
	var failures []error
	for _, r := range t.all {
		err := t.render(ctx, r)
		if err == nil {
			r.said = ""
			continue
		}
		err = fmt.Errorf("%s: %w", r.Out, err)
		failures = append(failures, err)
		if said := err.Error(); said != r.said && !t.once && ctx.Err() == nil {
			r.said = said
			t.app.note("warning: %s; the last good file stays", said)
		}
	}
	return errors.Join(failures...)
}

func (t *templating) render(ctx context.Context, r *rendering) error {
	made, err := r.template.Render(ctx, func(ctx context.Context, refs []follow.Ref) (follow.Values, follow.Missing, error) {
		return follow.Read(ctx, t.client, t.vault, refs)
	})
	if err != nil {
		return err
	}
	if r.values != nil && r.values.Equal(made.Values) && !r.pending {
		return nil // what others did to the file is theirs
	}
	changed, err := render.Write(r.Out, made.Content, r.mode)
	if err != nil {
		return err
	}
	r.values = made.Values
	if changed {
		r.pending = true
		if err := t.tell(r); err != nil {
			return err
		}
	}
	if !r.pending {
		return nil
	}
	if err := r.act(ctx, t.app); err != nil {
		return err
	}
	r.pending = false
	return nil
}

// tell says what was made, without what is in it.
func (t *templating) tell(r *rendering) error {
	if t.app.flags.output == outputJSON {
		names := []string{}
		for ref := range r.values {
			names = append(names, ref.String())
		}
		slices.Sort(names)
		return writeJSONLine(t.app.Stdout, map[string]any{"file": r.Out, "changed": true, "secrets": names})
	}
	return t.app.line("made %s", r.Out)
}

// act does what is to be done after a change.
func (r *rendering) act(ctx context.Context, a *app) error {
	switch {
	case r.OnChange != "":
		ctx, cancel := context.WithTimeout(ctx, onChangeFor)
		defer cancel()
		c := exec.CommandContext(ctx, "/bin/sh", "-c", r.OnChange) //nolint:gosec // what the caller asked for
		c.Stdout, c.Stderr = a.Stderr, a.Stderr
		c.WaitDelay = time.Second
		if err := c.Run(); err != nil {
			return fmt.Errorf("the file is new, but the command after it failed: %w", err)
		}
	case r.PIDFile != "":
		data, err := os.ReadFile(r.PIDFile)
		if err != nil {
			return fmt.Errorf("the file is new, but its process is not known: %w", err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil || pid <= 1 {
			return fmt.Errorf("the file is new, but %s does not hold the ID of a process", r.PIDFile)
		}
		if err := syscall.Kill(pid, r.signal); err != nil {
			return fmt.Errorf("the file is new, but process %d cannot be told: %w", pid, err)
		}
	}
	return nil
}
