// Package arch keeps the rules of docs/architecture.md on which package may
// know which. Each rule carries its reason, which a failure prints.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lifeboat-secrets/lifeboat"

// pkg is a package of the module, as go list describes it. Paths within the
// module are relative to it: "internal/secret".
type pkg struct {
	ImportPath   string
	Dir          string
	Standard     bool
	GoFiles      []string
	Imports      []string
	Deps         []string
	TestImports  []string
	XTestImports []string
}

// inModule returns the path of a package within the module.
func inModule(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// load lists the packages of the module and all that they depend on.
func load(t *testing.T) (packages map[string]*pkg, standard map[string]bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "-e",
		"-json=ImportPath,Dir,Standard,GoFiles,Imports,Deps,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	packages, standard = map[string]*pkg{}, map[string]bool{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(pkg)
		if err := decoder.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		variant := strings.Contains(p.ImportPath, " [") || strings.HasSuffix(p.ImportPath, ".test")
		if name, ok := inModule(p.ImportPath); ok && !variant {
			packages[name] = p
		} else if p.Standard {
			standard[p.ImportPath] = true
		}
	}
	if len(packages) < 5 || !standard["fmt"] {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	return packages, standard
}

// under reports whether a package is one of the rooms, or inside one.
func under(name string, rooms ...string) bool {
	return slices.ContainsFunc(rooms, func(room string) bool { return name == room || strings.HasPrefix(name, room+"/") })
}

// rule forbids some packages to import others.
type rule struct {
	reason string
	from   func(name string) bool
	// forbidden says which packages of the module may not be imported.
	forbidden func(from, name string) bool
	// foreign says which packages from elsewhere may not be imported.
	foreign func(importPath string) bool
	// deep looks at what is imported indirectly too.
	deep bool
	// tests looks at what the packages' tests import too.
	tests bool
}

func in(rooms ...string) func(string) bool {
	return func(name string) bool { return under(name, rooms...) }
}

func notIn(rooms ...string) func(string) bool {
	return func(name string) bool { return !under(name, rooms...) }
}

func to(rooms ...string) func(from, name string) bool {
	return func(_, name string) bool { return under(name, rooms...) }
}

// dialect returns the front door dialect that a package belongs to.
func dialect(name string) string {
	for _, d := range []string{"native", "aws", "vaultkv", "oci"} {
		if under(name, "internal/frontdoor/"+d) {
			return d
		}
	}
	return ""
}

func testOnly(name string) bool {
	return strings.HasSuffix(name, "test") || under(name, "test", "bench", "lifeboattest")
}

var rules = map[string]rule{
	"dialects do not know each other": {
		reason:    "a dialect can be read, changed and removed without the others; what they share is in frontdoor or service",
		from:      func(name string) bool { return dialect(name) != "" },
		forbidden: func(from, name string) bool { return dialect(name) != "" && dialect(name) != dialect(from) },
		deep:      true, tests: true,
	},
	"only region, cli and cmd know config": {
		reason:    "a package that takes a small option struct can be built and tested without the whole configuration",
		from:      notIn("internal/region", "internal/localregion", "internal/cli", "internal/config", "cmd", "test", "lifeboattest", "bench"),
		forbidden: to("internal/config"),
		tests:     true,
	},
	"replica does not know the store": {
		reason:    "a host serves reads with the store unreachable, also after its own restart; it hears of changes through an interface",
		from:      in("internal/replica"),
		forbidden: to("internal/store"),
		foreign:   func(importPath string) bool { return strings.HasPrefix(importPath, "go.etcd.io/etcd/") },
		deep:      true,
	},
	"nothing below service knows service": {
		reason: "data flows one way: front door, service, router, store; what is below can be used without what is above",
		from: in("internal/store", "internal/replica", "internal/pipeline", "internal/queue", "internal/record", "internal/router", "internal/rotation",
			"internal/keyring", "internal/keycache", "internal/kms", "internal/pki", "internal/link", "internal/topology", "internal/faultpoint"),
		forbidden: to("internal/service", "internal/frontdoor", "internal/region", "internal/cli", "cmd"),
		deep:      true,
	},
	"service does not know its callers": {
		reason:    "every dialect and the peers use the same service; it cannot depend on how it is reached",
		from:      in("internal/service"),
		forbidden: to("internal/frontdoor", "internal/region", "internal/cli", "cmd", "api"),
		deep:      true,
	},
	"front doors reach data through service": {
		reason:    "service is the one place that authorises and audits",
		from:      in("internal/frontdoor"),
		forbidden: to("internal/store", "internal/replica", "internal/keyring", "internal/keycache", "internal/kms"),
	},
	"nobody imports the composition root": {
		reason:    "region puts the parts together; parts do not know the whole",
		from:      notIn("internal/region", "internal/localregion", "internal/cli", "cmd", "test", "lifeboattest", "bench"),
		forbidden: to("internal/region", "internal/cli", "cmd"),
		deep:      true,
	},
	"production code does not import test code": {
		reason:    "test code may panic, wait and expose internals; it must not be in the binary",
		from:      func(name string) bool { return !testOnly(name) },
		forbidden: func(_, name string) bool { return testOnly(name) },
		foreign: func(importPath string) bool {
			return under(importPath, "testing", "pgregory.net/rapid", "go.uber.org/goleak")
		},
		deep: true,
	},
	"the client knows only the public API": {
		reason:    "it is compiled into other people's programs, and shows that the public API is enough",
		from:      in("client"),
		forbidden: func(_, name string) bool { return under(name, "internal", "api/lifeboat/peer") },
		deep:      true,
	},
}

func TestImports(t *testing.T) {
	packages, _ := load(t)
	for name, r := range rules {
		t.Run(name, func(t *testing.T) {
			for from, p := range packages {
				if !r.from(from) {
					continue
				}
				for _, imported := range r.breaches(from, p) {
					t.Errorf("%s imports %s\nreason for the rule: %s", from, imported, r.reason)
				}
			}
		})
	}
}

// breaches lists what a package imports against the rule.
func (r rule) breaches(from string, p *pkg) []string {
	imported := p.Imports
	if r.deep {
		imported = p.Deps
	}
	if r.tests {
		imported = slices.Concat(imported, p.TestImports, p.XTestImports)
	}
	return slices.DeleteFunc(slices.Clone(imported), func(importPath string) bool {
		if name, ok := inModule(importPath); ok {
			return !r.forbidden(from, name)
		}
		return r.foreign == nil || !r.foreign(importPath)
	})
}

// The rules are only worth something if they see what they forbid.
func TestBreachesAreSeen(t *testing.T) {
	cases := []struct {
		rule, from string
		p          pkg
	}{
		{"dialects do not know each other", "internal/frontdoor/aws", pkg{Deps: []string{module + "/internal/frontdoor/oci"}}},
		{"dialects do not know each other", "internal/frontdoor/aws/sigv4", pkg{XTestImports: []string{module + "/internal/frontdoor/native"}}},
		{"only region, cli and cmd know config", "internal/store", pkg{Imports: []string{module + "/internal/config"}}},
		{"replica does not know the store", "internal/replica", pkg{Deps: []string{module + "/internal/store"}}},
		{"replica does not know the store", "internal/replica", pkg{Deps: []string{"go.etcd.io/etcd/client/v3"}}},
		{"nothing below service knows service", "internal/pipeline", pkg{Deps: []string{module + "/internal/service"}}},
		{"service does not know its callers", "internal/service", pkg{Deps: []string{module + "/internal/frontdoor"}}},
		{"front doors reach data through service", "internal/frontdoor/native", pkg{Imports: []string{module + "/internal/store"}}},
		{"nobody imports the composition root", "internal/service", pkg{Deps: []string{module + "/internal/region"}}},
		{"production code does not import test code", "internal/region", pkg{Deps: []string{module + "/lifeboattest"}}},
		{"production code does not import test code", "internal/kms", pkg{Deps: []string{module + "/internal/kms/kmstest"}}},
		{"production code does not import test code", "internal/kms", pkg{Deps: []string{"testing/synctest"}}},
		{"the client knows only the public API", "client", pkg{Deps: []string{module + "/internal/secret"}}},
	}
	for _, c := range cases {
		r := rules[c.rule]
		if !r.from(c.from) || len(r.breaches(c.from, &c.p)) != 1 {
			t.Errorf("%q does not see a breach by %s", c.rule, c.from)
		}
	}
}

func TestStandardLibraryOnly(t *testing.T) {
	const reason = "the nouns and rules have no I/O and no dependencies, so that everything can build on them"
	packages, standard := load(t)
	for name, p := range packages {
		if !under(name, "internal/secret", "internal/topology") {
			continue
		}
		for _, imported := range p.Deps {
			inside, ok := inModule(imported)
			if !standard[imported] && !(ok && under(inside, "internal/secret", "internal/topology")) {
				t.Errorf("%s depends on %s\nreason for the rule: %s", name, imported, reason)
			}
		}
	}
}

func TestPackageNames(t *testing.T) {
	const reason = "a package is named for its subject; a drawer has none, and collects what nobody looks for"
	packages, _ := load(t)
	for name := range packages {
		switch path.Base(name) {
		case "util", "utils", "common", "helper", "helpers", "type", "types", "misc", "shared", "base", "lib":
			t.Errorf("package %s\nreason for the rule: %s", name, reason)
		}
	}
}
