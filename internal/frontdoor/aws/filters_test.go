package aws

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

func TestFilters(t *testing.T) {
	d := New(Options{Region: "east", TypeOf: noTypes})
	item := &service.ListItem{
		Secret: &secret.Secret{
			Name: "Prod/db", Tags: map[string]string{"Team": "Blue Sky"},
			Ownership: secret.NewOwnership("west", ""),
		},
		Description: secret.NewPlaintext([]byte("The main Database")),
	}
	for _, c := range []struct {
		key, value string
		want       bool
	}{
		{"name", "Prod", true}, {"name", "prod", false}, {"name", "db", false}, {"name", "!Prod", false}, {"name", "!x", true},
		{"description", "the MAIN", true}, {"description", "main", false},
		{"tag-key", "Te", true}, {"tag-key", "te", false}, {"tag-value", "Blue", true}, {"tag-value", "Sky", false},
		{"primary-region", "we", true}, {"primary-region", "east", false}, {"owning-service", "rds", false}, {"owning-service", "!rds", true},
		{"all", "database blue", true}, {"all", "DB", true}, {"all", "database red", false}, {"all", "!red", true},
	} {
		match, err := d.matching([]filter{{Key: c.key, Values: []string{c.value}}})
		if err != nil || match(item) != c.want {
			t.Errorf("%s %q: %v, want %v (%v)", c.key, c.value, !c.want, c.want, err)
		}
	}
	match, err := d.matching([]filter{{Key: "name", Values: []string{"x", "Prod"}}, {Key: "tag-key", Values: []string{"Team"}}})
	if err != nil || !match(item) {
		t.Errorf("values are alternatives, filters are not: %v", err)
	}
	match, _ = d.matching([]filter{{Key: "name", Values: []string{"Prod"}}, {Key: "tag-key", Values: []string{"x"}}})
	if match(item) {
		t.Error("one of two filters was enough")
	}
}
