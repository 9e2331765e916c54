package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func newApp(env map[string]string) *app {
	return &app{Environment: Environment{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Release: "test",
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}}
}

func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, below := range c.Commands() {
		walk(below, visit)
	}
}

// The help is the manual.
func TestEveryCommandExplainsItself(t *testing.T) {
	walk(newApp(nil).root(), func(c *cobra.Command) {
		if c.Name() == "help" || strings.HasPrefix(c.CommandPath(), "lifeboat completion") {
			return
		}
		if c.Short == "" || c.Example == "" || c.RunE == nil {
			t.Errorf("%s lacks a description or an example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q is not indented", c.CommandPath(), line)
			}
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 110 {
				t.Errorf("%s: a line of the help has %d columns", c.CommandPath(), n)
			}
		}
	})
}

func TestExamplesNameCommandsAndFlagsThatExist(t *testing.T) {
	root := newApp(nil).root()
	walk(root, func(c *cobra.Command) {
		for _, call := range calls.FindAllStringSubmatch(c.Example, -1) {
			named, rest, err := root.Find(strings.Fields(call[1]))
			if err != nil || named == root {
				t.Errorf("%s: %q names no command: %v", c.CommandPath(), call[1], err)
				continue
			}
			for _, word := range rest {
				if word == "--" {
					break // what follows is another program's
				}
				name, isFlag := strings.CutPrefix(word, "--")
				if isFlag && named.Flags().Lookup(name) == nil && named.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s: %q: there is no flag --%s", c.CommandPath(), call[1], name)
				}
			}
		}
	})
}

// calls finds commands in examples, up to what is not theirs.
var calls = regexp.MustCompile(`(?:^|[\s(])lifeboat ([^|&<>#)\n]*)`)

// A flag --secret names one; what is in it never stands on a command line.
func TestNoFlagTakesAValue(t *testing.T) {
	walk(newApp(nil).root(), func(c *cobra.Command) {
		for _, name := range []string{"token", "value", "password", "secret-value", "passphrase"} {
			if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil {
				t.Errorf("%s has a flag --%s", c.CommandPath(), name)
			}
		}
	})
}

func TestSettingsPrecedence(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("file.token", "of-file\n")
	flagToken := write("flag.token", "of-flag\n")
	file := write("config.yaml", "addr: https://file:1\ntoken_file: file.token\nca_file: ca.pem\nvault: file\nregion: file\n")
	regions := write("regions.yaml", "regions: [{name: a, addresses: [\"https://a:1\"]}, {name: b, addresses: [\"https://b:1\"], ca_file: b.pem}]\n")
	several := write("several.yaml", "regions: [{name: c, addresses: [\"https://c:1\"], ca_file: c.pem}]\n")
	one, two := client.Region{Name: "a", Addresses: []string{"https://a:1"}}, client.Region{Name: "b", Addresses: []string{"https://b:1"}, CAFile: filepath.Join(dir, "b.pem")}
	full := map[string]string{
		"LIFEBOAT_CONFIG": file, "LIFEBOAT_ADDR": "https://env:1", "LIFEBOAT_TOKEN": "of-env", "LIFEBOAT_CA_FILE": "/env.pem",
		"LIFEBOAT_VAULT": "env", "LIFEBOAT_REGION": "env",
	}
	for name, c := range map[string]struct {
		env   map[string]string
		flags flags
		want  settings
		token string
	}{
		"file": {
			map[string]string{"LIFEBOAT_CONFIG": file},
			flags{},
			settings{Addr: "https://file:1", CAFile: filepath.Join(dir, "ca.pem"), Vault: "file", Region: "file"}, "of-file",
		},
		"environment": {full, flags{}, settings{Addr: "https://env:1", CAFile: "/env.pem", Vault: "env", Region: "env"}, "of-env"},
		"flags": {
			full,
			flags{addr: "https://flag:1", caFile: "/flag.pem", vault: "flag", region: "flag", tokenFile: flagToken},
			settings{Addr: "https://flag:1", CAFile: "/flag.pem", Vault: "flag", Region: "flag"}, "of-flag",
		},
		"regions of the configuration": {
			map[string]string{"LIFEBOAT_CONFIG": several}, flags{},
			settings{Regions: []client.Region{{Name: "c", Addresses: []string{"https://c:1"}, CAFile: filepath.Join(dir, "c.pem")}}}, "",
		},
		"a regions file instead of an address": {
			map[string]string{"LIFEBOAT_CONFIG": file, "LIFEBOAT_REGIONS_FILE": regions}, flags{},
			settings{Regions: []client.Region{one, two}, CAFile: filepath.Join(dir, "ca.pem"), Vault: "file", Region: "file"}, "of-file",
		},
		"an address instead of a regions file": {
			map[string]string{"LIFEBOAT_REGIONS_FILE": regions}, flags{addr: "https://flag:1"}, settings{Addr: "https://flag:1"}, "",
		},
		"a regions file as a flag": {
			map[string]string{"LIFEBOAT_ADDR": "https://env:1"}, flags{regionsFile: regions}, settings{Regions: []client.Region{one, two}}, "",
		},
		"the default file may be missing": {
			map[string]string{"HOME": dir, "LIFEBOAT_ADDR": "https://env:1"}, flags{}, settings{Addr: "https://env:1"}, "",
		},
	} {
		a := newApp(c.env)
		a.flags = c.flags
		got, err := a.settings()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		token := string(got.token.Reveal())
		got.token, got.TokenFile = client.Value{}, ""
		if !reflect.DeepEqual(got.Regions, c.want.Regions) || got.Addr != c.want.Addr || got.CAFile != c.want.CAFile || got.Vault != c.want.Vault || got.Region != c.want.Region || token != c.token {
			t.Errorf("%s: settings are %+v with token %q", name, *got, token)
		}
	}
}

func TestContradictingSettings(t *testing.T) {
	both := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(both, []byte("addr: https://a:1\nregions: [{name: a, addresses: [\"https://a:1\"]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env   map[string]string
		flags flags
	}{
		"environment": {map[string]string{"LIFEBOAT_ADDR": "https://a:1", "LIFEBOAT_REGIONS_FILE": "r.yaml"}, flags{}},
		"flags":       {nil, flags{addr: "https://a:1", regionsFile: "r.yaml"}},
		"file":        {map[string]string{"LIFEBOAT_CONFIG": both}, flags{}},
		"none":        {nil, flags{}},
		"no file":     {nil, flags{regionsFile: filepath.Join(t.TempDir(), "none.yaml")}},
	} {
		a := newApp(c.env)
		a.flags = c.flags
		if _, err := a.settings(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestExitCodes(t *testing.T) {
	c := &cobra.Command{Use: "x"}
	for _, e := range []struct {
		err  error
		exit int
		hint bool
	}{
		{errors.New("x"), exitFailed, false},
		{usagef("x"), exitUsage, true},
		{withHint(usagef("x"), "y"), exitUsage, true},
		{&client.Error{Code: client.CodeNotFound}, exitNotFound, true},
		{&client.Error{Code: client.CodeDenied}, exitDenied, false},
		{withHint(&client.Error{Code: client.CodeUnauthenticated}, "y"), exitDenied, true},
		{&client.Error{Code: client.CodeInvalid}, exitFailed, false},
		{&secret.Error{Code: secret.CodeNotFound, Hint: "z"}, exitNotFound, true},
		{secret.Invalid("field", "bad"), exitFailed, false},
	} {
		f := describe(c, e.err)
		if f.exit != e.exit || (f.Hint != "") != e.hint {
			t.Errorf("%#v: exit %d, hint %q", e.err, f.exit, f.Hint)
		}
	}
}

func TestTerminalIsNotCommanded(t *testing.T) {
	var b bytes.Buffer
	row(&b, "a\x1b[31m", "b\nc", "d\u009be", "grün")
	if got := b.String(); strings.ContainsAny(got, "\x1b\u009b") || strings.Count(got, "\n") != 1 || !strings.Contains(got, "grün") {
		t.Errorf("row is %q", got)
	}
	if got := clip("ünlimited", 4); got != "ünl…" {
		t.Errorf("clipped to %q", got)
	}
}

func TestPairs(t *testing.T) {
	got, err := parsePairs("tag", []string{"a=b=c", "d="})
	if err != nil || got["a"] != "b=c" || pairs(got) != "a=b=c, d=" {
		t.Errorf("pairs are %v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "=y"} {
		if _, err := parsePairs("tag", []string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestUnknownCommandIsUsage(t *testing.T) {
	var stderr bytes.Buffer
	code := Main(context.Background(), []string{"nonsense"}, Environment{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &stderr, LookupEnv: os.LookupEnv,
	})
	if code != exitUsage || !strings.Contains(stderr.String(), "hint: see: lifeboat --help") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

// A table fits whatever names there are.
func TestSurvivorsFitATable(t *testing.T) {
	long := strings.Repeat("long-name-", 20)
	survivor := &lifeboatv1.SurvivorScope{
		Region: long, Compared: 1e6, Newer: 1e6, Missing: 1e6, Stranded: 1e6, Behind: 1e6, OtherRecords: 1e6,
		Vaults:     []*lifeboatv1.VaultScope{{Name: long, Newer: 1e6, Missing: 1e6, Stranded: 1e6, Behind: 1e6, NewerExamples: []string{long}}, {Vault: long, Behind: 1}},
		Uncompared: []*lifeboatv1.Uncompared{{Count: 1e6, Reason: long}, {Reason: "not within 20s"}},
	}
	var told bytes.Buffer
	if err := (&app{Environment: Environment{Stdout: &told}, flags: flags{output: outputTable}}).show(survivor, func(w io.Writer) { survivorRows(w, survivor) }); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(told.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	for _, want := range []string{"1000000 newer (long", "without 1000000 vaults: long", "nothing: not within 20s", "1 behind"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, told.String())
		}
	}
}
