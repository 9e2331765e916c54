package importsource_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/importsource"
	"github.com/lifeboat-secrets/lifeboat/internal/importsource/sourcetest"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func vaultSecrets() map[string]sourcetest.VaultSecret {
	value := func(v any) map[string]any { return map[string]any{"z": v, "a": "x"} }
	return map[string]sourcetest.VaultSecret{
		"top":               {Versions: []map[string]any{value(1), value(12345678901234567890.0), value("three")}, Custom: map[string]string{"owner": "ada"}},
		"apps/web/db":       {Versions: []map[string]any{nil, value("two")}},
		"apps/web":          {Versions: []map[string]any{value("beside a folder")}},
		"apps/with space/x": {Versions: []map[string]any{value("y")}},
		"gone/deleted":      {Versions: []map[string]any{value(1), value(2)}, Deleted: true},
		"gone/destroyed":    {Versions: []map[string]any{value(1), nil}},
		"gone/empty":        {Versions: []map[string]any{{}}},
	}
}

func openVault(t *testing.T, o importsource.VaultOptions) *importsource.Vault {
	t.Helper()
	o.Token = secret.NewPlaintext([]byte(sourcetest.VaultToken))
	o.Rate = 5000
	v, err := importsource.OpenVault(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func names(t *testing.T, s importsource.Source) []string {
	t.Helper()
	var all []string
	if err := s.Names(t.Context(), func(name string) error { all = append(all, name); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func values(i importsource.Item) (all []string) {
	for _, v := range i.Versions {
		all = append(all, string(v.Value.Reveal()))
	}
	return all
}

func TestVault(t *testing.T) {
	server := sourcetest.NewVault(vaultSecrets())
	defer server.Close()
	want := slices.Sorted(maps.Keys(vaultSecrets()))
	for _, mount := range []string{"kv2", "kv1"} {
		v := openVault(t, importsource.VaultOptions{Address: server.URL, Mount: mount, Versions: 2})
		if got := names(t, v); !slices.Equal(got, want) {
			t.Errorf("%s: names %q, want %q", mount, got, want)
		}
		for name, wanted := range map[string][]string{
			"top": {`{"a":"x","z":12345678901234567000}`, `{"a":"x","z":"three"}`}, "apps/web/db": {`{"a":"x","z":"two"}`}, "apps/with space/x": {`{"a":"x","z":"y"}`},
		} {
			if mount == "kv1" {
				wanted = wanted[len(wanted)-1:]
			}
			got, err := v.Get(t.Context(), name)
			if err != nil || !slices.Equal(values(got), wanted) || got.Metadata[importsource.MetadataSource] != "vault:"+mount+"/"+name || got.ContentType != "application/json" {
				t.Errorf("%s %s: %q, %+v, %v; want %q", mount, name, values(got), got, err, wanted)
			}
		}
		if below := names(t, openVault(t, importsource.VaultOptions{Address: server.URL, Mount: mount, Path: "/apps/web/"})); !slices.Equal(below, []string{"apps/web/db"}) {
			t.Errorf("below a folder: %q", below)
		}
	}
	v := openVault(t, importsource.VaultOptions{Address: server.URL, Mount: "kv2"})
	if item, err := v.Get(t.Context(), "top"); err != nil || item.Metadata["owner"] != "ada" || len(item.Versions) != 1 {
		t.Errorf("%+v, %v", item, err)
	}
	for name, reason := range map[string]string{"gone/deleted": "deleted", "gone/destroyed": "destroyed", "gone/empty": "nothing", "nowhere": "gone"} {
		_, err := v.Get(t.Context(), name)
		if r, ok := errors.AsType[*importsource.Refusal](err); !ok || !strings.Contains(r.Reason, reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVaultThatIsBusyIsAskedAgain(t *testing.T) {
	server := sourcetest.NewVault(vaultSecrets())
	defer server.Close()
	v := openVault(t, importsource.VaultOptions{Address: server.URL, Mount: "kv2"})
	server.Busy(2)
	if _, err := v.Get(t.Context(), "top"); err != nil {
		t.Error(err)
	}
}

func TestVaultThatCannotBeUsed(t *testing.T) {
	server := sourcetest.NewVault(vaultSecrets())
	defer server.Close()
	good := secret.NewPlaintext([]byte(sourcetest.VaultToken))
	for name, c := range map[string]struct {
		options importsource.VaultOptions
		says    string
	}{
		"no token":      {importsource.VaultOptions{Address: server.URL}, "token"},
		"plain HTTP":    {importsource.VaultOptions{Address: "http://vault.example:8200", Token: good}, "address"},
		"wrong token":   {importsource.VaultOptions{Address: server.URL, Mount: "kv2", Token: secret.NewPlaintext([]byte("other"))}, "permission denied"},
		"another mount": {importsource.VaultOptions{Address: server.URL, Mount: "transit", Token: good}, "not kv"},
		"a redirect":    {importsource.VaultOptions{Address: server.URL, Mount: "moved", Token: good}, "redirect"},
		"versions":      {importsource.VaultOptions{Address: server.URL, Mount: "kv2", Token: good, Versions: 101}, "versions"},
		"rate":          {importsource.VaultOptions{Address: server.URL, Mount: "kv2", Token: good, Rate: -1}, "rate"},
	} {
		if _, err := importsource.OpenVault(t.Context(), c.options); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), sourcetest.VaultToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := openVault(t, importsource.VaultOptions{Address: server.URL, Mount: "kv2", Path: "nothing/there"})
	if err := empty.Names(t.Context(), func(string) error { return nil }); !secret.HasCode(err, secret.CodeNotFound) {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestAWS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_CONFIG_FILE", "/nowhere")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
	server := sourcetest.NewAWS([]sourcetest.AWSSecret{
		{Name: "prod/db", Description: "of the shop", Current: `{"user":"ada"}`, Previous: "older", Tags: map[string]string{"team": "a"}},
		{Name: "prod/key", Current: "\x00\x01", Binary: true},
		{Name: "prod/gone", Current: "x", Deleted: true},
		{Name: "prod/denied", Current: "x", Denied: true},
		{Name: "test/empty"},
	})
	defer server.Close()
	open := func(o importsource.AWSOptions) *importsource.AWS {
		o.Region, o.Endpoint, o.Rate = "eu-west-1", server.URL, 5000
		a, err := importsource.OpenAWS(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if got := names(t, open(importsource.AWSOptions{NamePrefixes: []string{"test/"}})); !slices.Equal(got, []string{"test/empty"}) {
		t.Errorf("by prefix: %q", got)
	}
	if got := names(t, open(importsource.AWSOptions{TagKeys: []string{"team"}})); !slices.Equal(got, []string{"prod/db"}) {
		t.Errorf("by tag: %q", got)
	}
	a := open(importsource.AWSOptions{Previous: true})
	if got := names(t, a); len(got) != 5 {
		t.Errorf("names %q", got)
	}
	db, err := a.Get(t.Context(), "prod/db")
	if err != nil || !slices.Equal(values(db), []string{"older", `{"user":"ada"}`}) || db.Tags["team"] != "a" || string(db.Description.Reveal()) != "of the shop" ||
		db.ContentType != "application/json" || !strings.HasPrefix(db.Metadata[importsource.MetadataSource], "arn:aws:") {
		t.Errorf("%+v, %v", db, err)
	}
	if key, err := a.Get(t.Context(), "prod/key"); err != nil || values(key)[0] != "\x00\x01" || key.ContentType != "application/octet-stream" {
		t.Errorf("%+v, %v", key, err)
	}
	for name, reason := range map[string]string{"prod/gone": "deletion", "prod/denied": "AccessDenied", "test/empty": "staging label"} {
		_, err := a.Get(t.Context(), name)
		if r, ok := errors.AsType[*importsource.Refusal](err); !ok || !strings.Contains(r.Reason, reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
