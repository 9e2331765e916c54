package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"
)

const plaintextReason = "below service everything is sealed: what never holds a value cannot leak it"

// sealedOnly are the rooms whose production code must not name Plaintext.
var sealedOnly = []string{
	"internal/store", "internal/replica", "internal/pipeline", "internal/queue", "internal/record", "internal/router", "internal/event", "internal/link",
}

// plaintextAllowed lists exceptions, each file with its reason.
var plaintextAllowed = map[string]string{
	"internal/store/dial.go": "the password of an external store is plaintext, though not of a secret",
}

func TestPlaintextStaysInService(t *testing.T) {
	packages, _ := load(t)
	for name, p := range packages {
		if !under(name, sealedOnly...) {
			continue
		}
		for _, file := range p.GoFiles {
			if plaintextAllowed[name+"/"+file] != "" {
				continue
			}
			for _, at := range plaintextUses(t, filepath.Join(p.Dir, file), nil) {
				t.Errorf("%s/%s:%d names Plaintext\nreason for the rule: %s", name, file, at.Line, plaintextReason)
			}
		}
	}
}

// plaintextUses finds where a file uses what package secret offers to make,
// name or open a plaintext, however the file calls that package.
func plaintextUses(t *testing.T, path string, source any) []token.Position {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	local := ""
	for _, spec := range f.Imports {
		if imported, _ := strconv.Unquote(spec.Path.Value); imported == module+"/internal/secret" {
			local = "secret"
			if spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	var uses []token.Position
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == local && isPlaintext(n.Sel.Name) || n.Sel.Name == "Reveal" {
				uses = append(uses, files.Position(n.Pos()))
			}
		case *ast.Ident:
			if local == "." && isPlaintext(n.Name) {
				uses = append(uses, files.Position(n.Pos()))
			}
		}
		return true
	})
	return uses
}

func isPlaintext(name string) bool { return name == "Plaintext" || name == "NewPlaintext" }

// The rule is only worth something if it sees what it forbids.
func TestPlaintextUsesAreSeen(t *testing.T) {
	cases := map[string]struct {
		source string
		uses   int
	}{
		"type":        {`package p; import "` + module + `/internal/secret"; var v secret.Plaintext`, 1},
		"constructor": {`package p; import "` + module + `/internal/secret"; var v = secret.NewPlaintext(nil)`, 1},
		"renamed":     {`package p; import s "` + module + `/internal/secret"; var v *s.Plaintext`, 1},
		"dot import":  {`package p; import . "` + module + `/internal/secret"; var v Plaintext`, 1},
		"opened":      {`package p; func f(v interface{ Reveal() []byte }) { _ = v.Reveal() }`, 1},
		"sealed":      {`package p; import "` + module + `/internal/secret"; var v secret.Sealed`, 0},
	}
	for name, c := range cases {
		if got := len(plaintextUses(t, "p.go", c.source)); got != c.uses {
			t.Errorf("%s: %d uses, want %d", name, got, c.uses)
		}
	}
}
