package secret_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// wantField wants a CodeInvalid error that names the field.
func wantField(t *testing.T, err error, field string) {
	t.Helper()
	e, ok := errors.AsType[*secret.Error](err)
	if !ok || e.Code != secret.CodeInvalid || e.Field != field || e.Message == "" {
		t.Errorf("%#v, want CodeInvalid for %s", err, field)
	}
}

func wantValidity(t *testing.T, err error, valid bool) {
	t.Helper()
	if !valid {
		wantField(t, err, "field")
	} else if err != nil {
		t.Errorf("refused: %v", err)
	}
}

const (
	ulid = "01J00000000000000000000000"
	pair = ulid + "." + ulid
)

type textCase struct {
	text  string
	valid bool
}

func ofLength(n int) string { return strings.Repeat("a", n) }

var textCases = map[string]struct {
	check func(string) error
	cases []textCase
}{
	"secret": {func(s string) error { return secret.CheckName("field", s) }, []textCase{
		{"", false},
		{"a", true},
		{"AZaz09/_+=.@!-", true},
		{"/leading//empty/segments/", true},
		{".", true},
		{"..", true},
		{"with space", false},
		{"colon:", false},
		{"umlaut-ä", false},
		{"nul\x00", false},
		{"broken\xff", false},
		{ulid, true},
		{pair, false},
		{pair + "x", true},
		{strings.ToLower(pair), true},
		{ofLength(secret.MaxNameBytes - 1), true},
		{ofLength(secret.MaxNameBytes), true},
		{ofLength(secret.MaxNameBytes + 1), false},
	}},
	"container": {func(s string) error { return secret.CheckContainerName("field", s) }, []textCase{
		{"", false},
		{"AZaz09_.-", true},
		{"a/b", false},
		{"at@", false},
		{".", false},
		{"..", false},
		{"...", true},
		{ulid, false},
		{string(secret.SystemAccount), false},
		{ulid + "0", true},
		{ofLength(secret.MaxContainerNameBytes - 1), true},
		{ofLength(secret.MaxContainerNameBytes), true},
		{ofLength(secret.MaxContainerNameBytes + 1), false},
	}},
	"version ID": {func(s string) error { return secret.CheckVersionID("field", secret.VersionID(s)) }, []textCase{
		{"", false},
		{ulid, true},
		{"a1b2c3d4-0000-4000-8000-123456789012", true},
		{"with/slash", false},
		{ofLength(secret.MaxVersionIDBytes - 1), true},
		{ofLength(secret.MaxVersionIDBytes), true},
		{ofLength(secret.MaxVersionIDBytes + 1), false},
	}},
	"request token": {func(s string) error { return secret.CheckRequestToken("field", s) }, []textCase{
		{"", true},
		{"a1b2c3d4-0000-4000-8000-123456789012", true},
		{"with space", false},
		{ofLength(secret.MaxRequestTokenBytes - 1), true},
		{ofLength(secret.MaxRequestTokenBytes), true},
		{ofLength(secret.MaxRequestTokenBytes + 1), false},
	}},
	"region": {func(s string) error { return secret.CheckRegionName("field", secret.RegionName(s)) }, []textCase{
		{"", false},
		{"eu-west-1", true},
		{"East", false},
		{"with.dot", false},
		{ofLength(31), true},
		{ofLength(32), true},
		{ofLength(33), false},
	}},
	"text": {func(s string) error { return secret.CheckText("field", s, 4) }, []textCase{
		{"", true},
		{"äb", true},
		{"abcd", true},
		{"abcde", false},
		{"a\xff", false},
	}},
	"stage": {func(s string) error { return secret.CheckStages("field", []secret.Stage{secret.Stage(s)}) }, []textCase{
		{"", false},
		{"CURRENT", true},
		{"PENDING", true},
		{"PREVIOUS", false},
		{"LATEST", false},
		{"DEPRECATED", false},
		{"release:2026/11_a+b=c.d@e!f-g", true},
		{"with space", false},
		{ofLength(secret.MaxLabelBytes - 1), true},
		{ofLength(secret.MaxLabelBytes), true},
		{ofLength(secret.MaxLabelBytes + 1), false},
	}},
	"value": {func(s string) error { return secret.CheckValue("field", secret.NewPlaintext([]byte(s))) }, []textCase{
		{"", false},
		{"\x00", true},
		{ofLength(secret.MaxValueBytes - 1), true},
		{ofLength(secret.MaxValueBytes), true},
		{ofLength(secret.MaxValueBytes + 1), false},
	}},
}

func TestCheckTexts(t *testing.T) {
	for name, v := range textCases {
		for _, c := range v.cases {
			t.Run(fmt.Sprintf("%s/%.40q of %d", name, c.text, len(c.text)), func(t *testing.T) {
				wantValidity(t, v.check(c.text), c.valid)
			})
		}
	}
}

func tags(n int) map[string]string {
	m := make(map[string]string, n)
	for i := range n {
		m[fmt.Sprint("tag", i)] = "v"
	}
	return m
}

func TestCheckTags(t *testing.T) {
	cases := []struct {
		name  string
		tags  map[string]string
		field string
	}{
		{"none", nil, ""},
		{"one below the limit", tags(secret.MaxTags - 1), ""},
		{"the limit", tags(secret.MaxTags), ""},
		{"above the limit", tags(secret.MaxTags + 1), "tags"},
		{"empty key", map[string]string{"": "v"}, "tags"},
		{"empty value", map[string]string{"k": ""}, ""},
		{"longest", map[string]string{ofLength(secret.MaxTagKeyBytes): ofLength(secret.MaxTagValueBytes)}, ""},
		{"key too long", map[string]string{ofLength(secret.MaxTagKeyBytes + 1): "v"}, "tags key"},
		{"value too long", map[string]string{"k": ofLength(secret.MaxTagValueBytes + 1)}, "tags[k]"},
		{"value not text", map[string]string{"k": "\xff"}, "tags[k]"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := secret.CheckTags("tags", c.tags)
			if c.field != "" {
				wantField(t, err, c.field)
			} else if err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

func TestCheckLists(t *testing.T) {
	roles := make([]string, secret.MaxRoles+1)
	for i := range roles {
		roles[i] = "role"
	}
	wantValidity(t, secret.CheckRoles("field", nil), true)
	wantValidity(t, secret.CheckRoles("field", roles[:secret.MaxRoles]), true)
	wantValidity(t, secret.CheckRoles("field", roles), false)
	wantValidity(t, secret.CheckRoles("field", []string{"good", "not good"}), false)
	wantValidity(t, secret.CheckStages("field", labels(secret.MaxLabelsPerVersion)), true)
	wantValidity(t, secret.CheckStages("field", labels(secret.MaxLabelsPerVersion+1)), false)
}

func TestCheckRulesAndRetention(t *testing.T) {
	for ttl, valid := range map[time.Duration]bool{-1: false, 0: true, time.Second - 1: false, time.Second: true} {
		if err := (secret.Rules{VersionTTL: ttl}).Check(); (err == nil) != valid {
			t.Errorf("version TTL %s: %v", ttl, err)
		}
	}
	for n, valid := range map[int]bool{-1: false, 0: true, 1: true, secret.MaxVersions: true, secret.MaxVersions + 1: false} {
		if err := (secret.Retention{MaxVersions: n}).Check(); (err == nil) != valid {
			t.Errorf("max versions %d: %v", n, err)
		}
	}
	for age, valid := range map[time.Duration]bool{-1: false, 0: true, time.Hour - 1: false, time.Hour: true} {
		if err := (secret.Retention{MaxAge: age}).Check(); (err == nil) != valid {
			t.Errorf("max age %s: %v", age, err)
		}
	}
}

func TestScheduleDeletionWindow(t *testing.T) {
	day := 24 * time.Hour
	for window, valid := range map[time.Duration]bool{
		-1: false, 0: true, 10 * time.Minute: false, 7*day - 1: false, 7 * day: true, 30 * day: true, 30*day + 1: false,
	} {
		err := newSecret().ScheduleDeletion(by(start), window)
		if (err == nil) != valid {
			t.Errorf("window %s: %v", window, err)
		}
		if !valid && !strings.Contains(err.Error(), window.String()) {
			t.Errorf("%q does not name the window %s", err, window)
		}
	}
}

func TestIdentifiers(t *testing.T) {
	for id, valid := range map[string]bool{
		ulid: true, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ": true, "8ZZZZZZZZZZZZZZZZZZZZZZZZZ": false, "": false,
		ulid[1:]: false, ulid + "0": false, strings.ToLower(ulid): false,
		"01J0000000000000000000000I": false, "01J0000000000000000000000L": false, "01J0000000000000000000000O": false,
		"01J0000000000000000000000U": false, "01J0000000000000000000000:": false, "01J0000000000000000000000/": false,
	} {
		if secret.ValidULID(id) != valid {
			t.Errorf("%q: valid is %t", id, !valid)
		}
	}
	for id, want := range map[secret.ID]secret.VaultID{secret.NewID(ulid, ulid): ulid, "no-dot": "", "a.b": "a"} {
		if got := id.Vault(); got != want {
			t.Errorf("vault of %q is %q, want %q", id, got, want)
		}
	}
	for id, valid := range map[secret.ID]bool{pair: true, ulid: false, pair + ".x": false, "." + ulid: false, ulid + ".": false} {
		if id.Valid() != valid {
			t.Errorf("%q: valid is %t", id, !valid)
		}
	}
}

// A reference is an ID or a name: no string may be both.
func TestNamesAndIDsNeverMeet(t *testing.T) {
	anyRef := rapid.StringMatching(`[0-9A-Z]{26}(\.[0-9A-Z]{26})?|[a-z0-9.]{1,60}`)
	rapid.Check(t, func(t *rapid.T) {
		ref := anyRef.Draw(t, "reference")
		if secret.ID(ref).Valid() && secret.CheckName("name", ref) == nil {
			t.Errorf("%q is a secret's ID and a valid name", ref)
		}
		if secret.ValidULID(ref) && secret.CheckContainerName("name", ref) == nil {
			t.Errorf("%q is an ID and a valid name", ref)
		}
	})
}
