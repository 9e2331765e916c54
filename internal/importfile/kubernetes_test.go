package importfile_test

import (
	"bytes"
	"encoding/base64"
	"maps"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/importfile"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const manifests = `# two documents
apiVersion: v1
kind: Secret
metadata:
  name: app
  namespace: shop
  labels: {team: a}
type: Opaque
data:
  password: czNjcmV0
  both: b25l
stringData:
  both: two
  "user name": x
---
---
apiVersion: v1
kind: List
items:
- {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cert"}, "type": "kubernetes.io/tls", "immutable": true,
   "data": {"tls.key": "LS0t", "tls.crt": "LS0t"}}
`

func TestParseKubernetes(t *testing.T) {
	text := strings.Replace(manifests, "  \"user name\": x\n", "", 1)
	got, err := importfile.ParseKubernetes(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"app/password": "s3cret", "app/both": "two", "cert/tls.key": "---", "cert/tls.crt": "---"}
	values := map[string]string{}
	for _, e := range got {
		values[e.Name] = string(e.Value.Reveal())
		switch {
		case strings.HasPrefix(e.Name, "app/") && !maps.Equal(e.Tags, map[string]string{"kubernetes-type": "Opaque", "kubernetes-namespace": "shop"}),
			strings.HasPrefix(e.Name, "cert/") && (e.ContentType != "application/x-pem-file" || e.Tags["kubernetes-type"] != "kubernetes.io/tls"):
			t.Errorf("%s has tags %v and type %q", e.Name, e.Tags, e.ContentType)
		}
	}
	if !maps.Equal(values, want) {
		t.Errorf("%q, want %q", values, want)
	}
}

func TestBadManifestsAreRefused(t *testing.T) {
	head := "apiVersion: v1\nkind: Secret\nmetadata: {name: app}\n"
	large := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), secret.MaxValueBytes+1))
	for name, c := range map[string]struct{ text, says string }{
		"a name that cannot be": {manifests, `"user name"`},
		"bad base64":            {head + "data: {good: czNjcmV0, password: s3cret!}", `key "password" is not base64`},
		"base64 of an URL":      {head + "data: {password: _-8=}", `"password"`},
		"base64 with rest":      {head + "data: {password: czNjcmV0xx}", `"password"`},
		"a number":              {head + "stringData: {port: 5432}", `"port"`},
		"too large":             {head + "data: {big: " + large + "}", `"big"`},
		"an empty value":        {head + "data: {empty: \"\"}", `"empty"`},
		"another kind":          {"apiVersion: v1\nkind: ConfigMap\ndata: {password: s3cret}", "another kind"},
		"another version":       {"apiVersion: v2\nkind: Secret\nmetadata: {name: a}\n", "apiVersion"},
		"an unknown field":      {head + "binaryData: {password: s3cret}", "no such field"},
		"a key twice":           {head + "data: {password: czNjcmV0, password: czNjcmV0}", "line"},
		"a name twice":          {head + "stringData: {a: s3cret}\n---\n" + head + "stringData: {a: s3cret}\n", "given on line"},
		"an alias":              {head + "stringData: {a: &x s3cret, b: *x}", `"b"`},
		"no name":               {"apiVersion: v1\nkind: Secret\nmetadata: {}\n", "metadata.name"},
		"no metadata":           {"apiVersion: v1\nkind: Secret\n", "metadata"},
		"no object":             {"s3cret", "object"},
		"not YAML":              {"{s3cret: [", "line"},
		"data that is a list":   {head + "data: [s3cret]", "data"},
	} {
		got, err := importfile.ParseKubernetes(strings.NewReader(c.text))
		if !secret.HasCode(err, secret.CodeInvalid) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cret") || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzParseKubernetes(f *testing.F) {
	f.Add([]byte(manifests))
	f.Add([]byte(`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"b": "Yw=="}}`))
	f.Add([]byte("a: &a [*a]\n---\n? [x]\n: y"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := importfile.ParseKubernetes(bytes.NewReader(b))
		if err != nil {
			if !secret.HasCode(err, secret.CodeInvalid) || entries != nil {
				t.Fatalf("%v, %v", entries, err)
			}
			return
		}
		names := map[string]bool{}
		for _, e := range entries {
			if names[e.Name] || secret.CheckName("name", e.Name) != nil || secret.CheckValue("value", e.Value) != nil || secret.CheckTags("tags", e.Tags) != nil {
				t.Fatalf("bad entry %+v", e)
			}
			names[e.Name] = true
		}
	})
}
