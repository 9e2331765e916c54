package render_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/follow"
	"github.com/lifeboat-secrets/lifeboat/internal/render"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const value = "s3cret\nvalue <&>"

// read knows the secret "s", and a chain of secrets that name the next one.
func read(_ context.Context, refs []follow.Ref) (follow.Values, follow.Missing, error) {
	values, missing := follow.Values{}, follow.Missing{}
	for _, r := range refs {
		switch {
		case r.Name == "s":
			values[r] = secret.NewPlaintext([]byte(value))
		case strings.HasPrefix(r.Name, "chain"):
			values[r] = secret.NewPlaintext([]byte(r.Name + "x"))
		default:
			missing[r] = &client.Error{Code: client.CodeNotFound, Message: "there is no such secret"}
		}
	}
	return values, missing, nil
}

func made(t *testing.T, text string) (render.Rendered, error) {
	t.Helper()
	parsed, err := render.Parse("file.tmpl", text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Render(t.Context(), read)
}

func TestRender(t *testing.T) {
	for text, want := range map[string]string{
		`plain`:                         "plain",
		`{{ secret "s" }}`:              value,
		`{{ secret "s" | base64 }}`:     "czNjcmV0CnZhbHVlIDwmPg==",
		`{{ secret "s" | json }}`:       `"s3cret\nvalue \u003c\u0026\u003e"`,
		`{{ secret "s" | indent 2 }}`:   "s3cret\n  value <&>",
		`{{ trim " a " }}`:              "a",
		`{{ secret (secret "chain") }}`: "chainxx",
		`{{ if eq (secret "s") "" }}{{ secret "nowhere" }}{{ end }}`: "",
		`{{ if ne (secret "s") "" }}yes{{ end }}`:                    "yes",
	} {
		got, err := made(t, text)
		if err != nil || string(got.Content.Reveal()) != want {
			t.Errorf("%s is %q, %v; want %q", text, got.Content.Reveal(), err, want)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	_, err := made(t, `{{ secret "s" }}{{ secret "gone" }}{{ secret "also:OLD" }}`)
	if client.CodeOf(err) != client.CodeNotFound || !strings.Contains(err.Error(), "gone: ") || !strings.Contains(err.Error(), "also:OLD: ") {
		t.Errorf("%v", err)
	}
}

func TestFailuresQuoteNoValue(t *testing.T) {
	for _, text := range []string{
		`{{ index (secret "s") (secret "s") }}`, `{{ slice (secret "s") 1 1000 }}`, `{{ call (secret "s") }}`, `{{ template "x" }}`,
		`{{ secret (printf "%s#" (secret "s")) }}`, `{{ indent 1000 (secret "s") }}`, `{{ .Field }}{{ nil }}`,
		`{{ range 10000000 }}much of it {{ end }}`,
	} {
		parsed, err := render.Parse("file.tmpl", text)
		if err == nil {
			_, err = parsed.Render(t.Context(), read)
		}
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "file.tmpl") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestATemplateThatAlwaysAsksForMoreEnds(t *testing.T) {
	text := `{{ define "next" }}{{ if lt (len .) 200 }}{{ template "next" (secret .) }}{{ end }}{{ end }}{{ template "next" "chain" }}`
	if _, err := made(t, text); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("%v", err)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write := func(content string, mode os.FileMode, wantChanged bool) {
		t.Helper()
		changed, err := render.Write(path, secret.NewPlaintext([]byte(content)), mode)
		if err != nil || changed != wantChanged {
			t.Fatalf("changed %t, %v; want %t", changed, err, wantChanged)
		}
		got, err := os.ReadFile(path)
		info, _ := os.Stat(path)
		if err != nil || string(got) != content || info.Mode().Perm() != mode {
			t.Fatalf("%q with mode %o, %v", got, info.Mode().Perm(), err)
		}
	}
	write("one", 0o600, true)
	write("one", 0o600, false)
	write("one", 0o644, true)
	write("two", 0o600, true)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := render.Write(link, secret.NewPlaintext([]byte("x")), 0o600); err == nil {
		t.Error("a link was replaced")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := render.Write(filepath.Join(dir, "no", "f"), secret.NewPlaintext([]byte("x")), 0o600); err == nil {
		t.Error("a directory was made")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{{ secret "s" }}`)
	f.Add(`{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "range") {
			return // a loop takes as long as it says
		}
		parsed, err := render.Parse("f", text)
		if err != nil {
			return
		}
		if _, err := parsed.Render(t.Context(), read); err != nil && strings.Contains(err.Error(), value) && !strings.Contains(text, value) {
			t.Fatalf("the error quotes a value: %v", err)
		}
	})
}
