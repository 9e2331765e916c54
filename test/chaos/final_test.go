//go:build !faultpoints

package chaos_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// stored is a secret as a process shows it: everything of it.
type stored struct {
	description *lifeboatv1.Secret
	// values by version number.
	values map[uint64]string
}

// dump reads all secrets with names of that prefix from a process.
func (p *process) dump(ctx context.Context, prefix string) (map[string]stored, error) {
	c := p.client(p.cell.admin)
	all := map[string]stored{}
	for page := ""; ; {
		answer, _, err := invoke(ctx, c.secrets.ListSecrets, c, &lifeboatv1.ListSecretsRequest{
			Vault: vaultName, NamePrefix: prefix, PageSize: 500, PageToken: page,
		})
		if err != nil {
			return nil, err
		}
		for _, s := range answer.GetSecrets() {
			if all[s.GetName()], err = p.dumpSecret(ctx, c, s.GetName()); err != nil {
				return nil, fmt.Errorf("%s: %w", s.GetName(), err)
			}
		}
		if page = answer.GetNextPageToken(); page == "" {
			return all, nil
		}
	}
}

func (p *process) dumpSecret(ctx context.Context, c *caller, name string) (stored, error) {
	answer, _, err := invoke(ctx, c.secrets.DescribeSecret, c, &lifeboatv1.DescribeSecretRequest{Vault: vaultName, Secret: name})
	if err != nil {
		return stored{}, err
	}
	s := stored{description: answer.GetSecret(), values: map[uint64]string{}}
	s.description.LastAccessedAt = nil // these reads change it
	if age := answer.GetFreshness(); age.GetFromStore() || age.GetAgeSeconds() > 0 {
		return s, fmt.Errorf("the answer is not of an up-to-date local store: %v", age)
	}
	for _, v := range s.description.GetVersions() {
		value, _, err := invoke(ctx, c.secrets.GetSecretValue, c, &lifeboatv1.GetSecretValueRequest{Vault: vaultName, Secret: name, VersionId: v.GetId()})
		if err != nil {
			return s, fmt.Errorf("version %d: %w", v.GetNumber(), err)
		}
		s.values[v.GetNumber()] = string(value.GetValue())
	}
	return s, nil
}

// checkEqual reads everything below a prefix from every process and compares it
// (G6).
func (c *cell) checkEqual(prefix string) map[string]stored {
	c.t.Helper()
	var first map[string]stored
	for _, p := range c.processes() {
		here, err := p.dump(c.t.Context(), prefix)
		if err != nil {
			c.t.Fatalf("read everything from %s: %v", p.id, err)
		}
		if first == nil {
			first = here
			continue
		}
		if len(here) != len(first) {
			c.t.Errorf("%s has %d secrets, %s %d", p.id, len(here), c.processes()[0].id, len(first))
		}
		for name, want := range first {
			got := here[name]
			if !proto.Equal(got.description, want.description) || !maps.Equal(got.values, want.values) {
				c.t.Errorf("%s has %s as %v %v, %s as %v %v", p.id, name, got.description, got.values, c.processes()[0].id, want.description, want.values)
			}
		}
	}
	return first
}

// checkChurn looks for created secrets that are missing and purged ones that are
// not (G1), and for what was done although it was refused.
func (l *load) checkChurn(final map[string]stored) {
	for name, made := range l.churned {
		s, there := final[name]
		switch {
		case made.purge && made.purged == "" && there:
			l.cell.t.Errorf("%s was purged and is there", name)
		case made.created == "" && !made.purge && !there:
			l.cell.t.Errorf("%s was created and is not there", name)
		case made.created == secret.CodeUnavailable && there:
			l.cell.t.Errorf("%s was refused and is there", name)
		case made.created == "" && made.purged == secret.CodeUnavailable && !there:
			l.cell.t.Errorf("purging %s was refused and it is not there", name)
		case there && s.values[1] != made.value:
			l.cell.t.Errorf("%s holds %q; %q was put", name, s.values[1], made.value)
		}
	}
}

// checkAudit looks for acknowledged mutations that have not exactly one line
// with the outcome ok, in any audit file.
func (l *load) checkAudit() {
	lines := map[string]int{}
	for _, p := range l.cell.processes() {
		data, err := os.ReadFile(p.file("audit.log"))
		must(l.cell.t, err)
		for text := range bytes.Lines(data) {
			var line struct{ Request, Outcome, Action string }
			if json.Unmarshal(text, &line) != nil {
				continue // cut short by a kill; the next one says so too
			}
			if line.Outcome == "ok" {
				lines[line.Request]++
			}
		}
	}
	for _, request := range l.acknowledged {
		if n := lines[request]; n != 1 {
			l.cell.t.Errorf("the acknowledged request %s has %d audit lines", request, n)
		}
	}
}

// encodings are the ways in which a text may lie in a file: as it is, in
// hexadecimal, and in base64 whatever precedes it.
func encodings(text string) map[string]string {
	forms := map[string]string{
		"plain": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
	}
	for shift := range 3 {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("x", shift) + text))
			// What shares bits with its surroundings is left out.
			forms[fmt.Sprint(name, shift)] = encoded[(shift*8+5)/6 : len(encoded)-2]
		}
	}
	return forms
}

// search looks for a secret text in all files below a directory.
func search(dir, text string) (found []string, err error) {
	forms := encodings(text)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for form, pattern := range forms {
			if bytes.Contains(data, []byte(pattern)) {
				found = append(found, path+" holds it in "+form)
			}
		}
		return nil
	})
	return found, err
}

// checkNoPlaintext looks for texts in everything that the processes wrote, and in
// what they tell of themselves (G8).
func (c *cell) checkNoPlaintext(texts ...string) {
	c.t.Helper()
	for _, p := range c.processes() {
		for _, page := range []string{"/metrics", "/readyz", "/debug/pprof/goroutine?debug=2"} {
			body, err := p.admin(c.t.Context(), page)
			must(c.t, err)
			must(c.t, os.WriteFile(p.file("page-"+strings.NewReplacer("/", "-", "?", "-").Replace(page)), body, 0o600))
		}
	}
	for _, text := range texts {
		found, err := search(c.dir, text)
		must(c.t, err)
		for _, f := range found {
			c.t.Errorf("plaintext on disk: %s", f)
		}
	}
}

// TestSearchFindsPlaintext shows that the search finds what it looks for.
func TestSearchFindsPlaintext(t *testing.T) {
	const text = "cnry01JZZZZZZZZZZZZZZZZZZZZZZZ"
	for name, content := range map[string]string{
		"plain": "xx" + text + "xx", "hex": hex.EncodeToString([]byte("q" + text)),
		"base64 of it": base64.StdEncoding.EncodeToString([]byte(text + "-tail")),
		"base64 at 1":  base64.StdEncoding.EncodeToString([]byte("1" + text + "-tail")),
		"base64 at 2":  base64.URLEncoding.EncodeToString([]byte("12" + text)),
		"base64 at 3":  base64.StdEncoding.EncodeToString([]byte("123" + text + "4")),
	} {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "a", "b", "file"), []byte("\x00"+content+"\xff"), 0o600))
		if found, err := search(dir, text); err != nil || len(found) == 0 {
			t.Errorf("%s: found %q, %v", name, found, err)
		}
		if found, err := search(dir, "cnry01JYYYYYYYYYYYYYYYYYYYYYYY"); err != nil || len(found) != 0 {
			t.Errorf("%s: something else was found: %q, %v", name, found, err)
		}
	}
}
