package render

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/follow"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// MaxBytes bounds a template and what comes of it.
	MaxBytes = 4 << 20
	// maxRounds bounds how often a template may ask for secrets that it only knows
	// after others.
	maxRounds = 8
)

// Template is a parsed template.
type Template struct {
	parsed *template.Template
}

// Parse parses a template; name is for errors. The functions beside Go's own are:
//
//	secret REF    the value; REF is NAME[:STAGE][#FIELD]
//	base64 TEXT   in standard base64
//	json ANY      as JSON, so that a text is quoted
//	trim TEXT     without spaces and line ends around it
//	indent N TEXT with N spaces before each line but the first
func Parse(name, text string) (*Template, error) {
	if len(text) > MaxBytes {
		return nil, secret.Invalid("template", "is larger than %d bytes, the limit", MaxBytes)
	}
	// While parsing only the names of the functions count.
	parsed, err := template.New(name).Option("missingkey=error").Funcs(functions(nil)).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse the template: %w", err)
	}
	return &Template{parsed: parsed}, nil
}

// Read reads the values of those references that can be read: each is either among
// the values or missing.
type Read func(ctx context.Context, refs []follow.Ref) (follow.Values, follow.Missing, error)

// Rendered is what came of a template.
type Rendered struct {
	Content secret.Plaintext
	// Values are those that it asked for.
	Values follow.Values
}

// Render executes the template. Which secrets it asks for is found out by that, so
// it is executed again until all that it asks for had been read before. A secret
// that it asked for only while others were not known does not count. Errors: those
// of read, a *follow.MissingError, or one that names the place in the template.
func (t *Template) Render(ctx context.Context, read Read) (Rendered, error) {
	values, missing, known := follow.Values{}, follow.Missing{}, map[follow.Ref]bool{}
	for range maxRounds {
		content, asked, err := t.execute(values)
		before := len(known)
		for ref := range asked {
			known[ref] = true
		}
		if len(known) == before {
			return finish(content, asked, values, missing, err)
		}
		// All anew, so that they are of one moment.
		if values, missing, err = read(ctx, slices.Collect(maps.Keys(known))); err != nil {
			return Rendered{}, err
		}
	}
	return Rendered{}, secret.Invalid("template", "%s asks for other secrets each time that it is executed", t.parsed.Name())
}

// finish judges an execution that asked for nothing unknown.
func finish(content secret.Plaintext, asked map[follow.Ref]bool, values follow.Values, missing follow.Missing, err error) (Rendered, error) {
	maps.DeleteFunc(missing, func(ref follow.Ref, _ *client.Error) bool { return !asked[ref] })
	if lacks := missing.Err(); lacks != nil {
		return Rendered{}, lacks // it may be the cause of err too
	}
	if err != nil {
		return Rendered{}, err
	}
	maps.DeleteFunc(values, func(ref follow.Ref, _ secret.Plaintext) bool { return !asked[ref] })
	return Rendered{Content: content, Values: values}, nil
}

// execute executes the template with those values that are there, and returns
// which it asked for.
func (t *Template) execute(values follow.Values) (secret.Plaintext, map[follow.Ref]bool, error) {
	asked := map[follow.Ref]bool{}
	lookup := func(text string) (string, error) {
		ref, err := follow.ParseRef(text)
		if err != nil {
			return "", err
		}
		asked[ref] = true
		return string(values[ref].Reveal()), nil
	}
	clone, err := t.parsed.Clone()
	if err != nil {
		return secret.Plaintext{}, nil, err
	}
	out := &bounded{}
	if err := clone.Funcs(functions(lookup)).Execute(out, nil); err != nil {
		return secret.Plaintext{}, asked, t.failure(err)
	}
	return secret.NewPlaintext(out.Bytes()), asked, nil
}

// place is where in a template an error is.
var place = regexp.MustCompile(`^template: (.*?:\d+(?::\d+)?): `)

// failure keeps all but the place of an error back: the rest may quote values.
func (t *Template) failure(err error) error {
	at := t.parsed.Name()
	if m := place.FindStringSubmatch(err.Error()); m != nil {
		at = m[1]
	}
	hint := "what it says is not shown, because it may quote a value"
	return secret.Invalid("template", "cannot be executed: error at %s", at).WithHint(hint)
}

func functions(lookup func(string) (string, error)) template.FuncMap {
	return template.FuncMap{
		"secret": func(ref string) (string, error) { return lookup(ref) },
		"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"trim": strings.TrimSpace,
		"indent": func(n int, s string) (string, error) {
			if n < 0 || n > 100 {
				return "", fmt.Errorf("indent by %d", n)
			}
			return strings.ReplaceAll(s, "\n", "\n"+strings.Repeat(" ", n)), nil
		},
	}
}

// bounded refuses output beyond MaxBytes.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxBytes {
		return 0, fmt.Errorf("what comes of it is larger than %d bytes", MaxBytes)
	}
	return b.Buffer.Write(p)
}
