package config

import (
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// fill puts a canary into every text of a configuration, and a piece into every
// list and map.
func fill(v reflect.Value, canary string) (texts int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem(), canary)
	case reflect.Struct:
		for i := range v.NumField() {
			texts += fill(v.Field(i), canary)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		return fill(v.Index(0), canary)
	case reflect.Map:
		element := reflect.New(v.Type().Elem()).Elem()
		texts = fill(element, canary)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), element)
	case reflect.String:
		v.SetString(canary)
		return 1
	}
	return texts
}

// Fields of files and addresses are shown, everything else that is text is not:
// so it goes for fields that are added.
func TestRedactedHidesWhatItDoesNotKnow(t *testing.T) {
	var c Config
	texts := fill(reflect.ValueOf(&c).Elem(), "canary")
	data, err := c.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	hidden := strings.Count(string(data), Redaction)
	if total := hidden + strings.Count(string(data), "canary"); total != texts || hidden == 0 {
		t.Errorf("%d texts are shown or hidden, of %d", total, texts)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	external := tree["store"].(map[string]any)["external"].(map[string]any)
	if external["username"] != Redaction || external["password_file"] != "canary" {
		t.Errorf("the external store is shown as %v", external)
	}
	if got := redact(map[string]any{"api_token": "s3cret", "nested": map[string]any{"key": "s3cret", "n": 5}}, "new_section"); strings.Contains(
		strings.Join(leaves(got), " "), "s3cret") {
		t.Errorf("a field that nobody knows is shown: %v", got)
	}
}

func leaves(v any) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for _, below := range v {
			all = append(all, leaves(below)...)
		}
	case string:
		all = append(all, v)
	}
	return all
}

func TestRedactedShowsURLsWithoutCredentials(t *testing.T) {
	for given, want := range map[string]string{
		"https://user:pass@otel:4318/v1/traces?key=s3cret#x": "https://otel:4318/v1/traces",
		"https://otel:4318/v1/traces":                        "https://otel:4318/v1/traces",
		"https://%zz":                                        Redaction,
	} {
		if got := redactText(given, "traces.otlp_endpoint"); got != want {
			t.Errorf("%s is shown as %s, want %s", given, got, want)
		}
	}
}

func TestRedactedDefaults(t *testing.T) {
	data, err := Default().Redacted()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), Redaction) || !strings.Contains(string(data), "data_dir: /var/lib/lifeboat") {
		t.Errorf("the defaults are shown as\n%s", data)
	}
}
