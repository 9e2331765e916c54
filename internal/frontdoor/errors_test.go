package frontdoor

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// codes returns the constants of type secret.Code as the source declares them.
func codes(t *testing.T) map[string]secret.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "secret", "errors.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]secret.Code{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Code" {
			return true
		}
		for i, name := range spec.Names {
			literal, ok := spec.Values[i].(*ast.BasicLit)
			if !ok {
				t.Fatalf("%s is no literal", name.Name)
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[name.Name] = secret.Code(value)
		}
		return true
	})
	return found
}

func TestEveryCodeHasItsRow(t *testing.T) {
	declared := codes(t)
	if len(declared) < 20 {
		t.Fatalf("found only %d codes", len(declared))
	}
	for name, code := range declared {
		status, ok := table[code]
		if !ok {
			t.Errorf("secret.%s has no row", name)
		}
		if status.Native == 0 || status.AWS == "" || status.HTTP < 400 || status.HTTP > 599 {
			t.Errorf("secret.%s becomes %+v", name, status)
		}
	}
	if len(table) != len(declared) {
		t.Errorf("the table has %d rows for %d codes", len(table), len(declared))
	}
}

func TestStatusOfAnUntypedErrorIsInternal(t *testing.T) {
	for _, err := range []error{errors.New("x"), secret.Errorf("no_such_code", "x")} {
		if got := StatusOf(err); got.Native != connect.CodeInternal || got.HTTP != 500 {
			t.Errorf("%v becomes %+v", err, got)
		}
	}
}
