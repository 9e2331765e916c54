package native

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const canary = "canary9c1f"

func TestJSONErrorsNameTheFieldAndNeverTheContent(t *testing.T) {
	for body, want := range map[string]struct{ field, message string }{
		`{"name":1,"value":"` + canary + `!!"}`:                 {"name", "invalid value"},
		`{"value":"` + canary + `!!"}`:                          {"value", "invalid value"},
		`{"value":"unknown field \"` + canary + `\""}`:          {"value", "invalid value"},
		`{"value":"(line 1:1): unknown field \"` + canary + `"`: {"value", "invalid value"},
		`{"wait":"` + canary + `"}`:                             {"wait", "invalid value"},
		`{"wait":77}`:                                           {"wait", "77"},
		`{"color":"` + canary + `"}`:                            {"color", "unknown field"},
		`{"name":"a","name":"` + canary + `"}`:                  {"name", "duplicate field"},
		`{"` + canary + ` !":1}`:                                {"", "syntax error"},
		`{"value":"` + canary:                                   {"", "syntax error"},
		canary:                                                  {"", "syntax error"},
		`{"rules":{"expiresAt":"` + canary + `"}}`:              {"", "syntax error"},
		`{"rules":{"color":"` + canary + `"}}`:                  {"color", "unknown field"},
		`{"tags":{"` + canary + `":1}}`:                         {"value", "invalid value"},
		`{}` + canary:                                           {"", "syntax error"},
		``:                                                      {"body", "is empty"},
	} {
		m := new(lifeboatv1.CreateSecretRequest)
		if err := (strictJSON{}).Unmarshal([]byte(body), m); err != nil {
			t.Fatal(err)
		}
		err, _ := whyUndecodable(m).(*secret.Error)
		if err == nil {
			t.Errorf("%s: accepted", body)
			continue
		}
		if err.Field != want.field || !strings.Contains(err.Message, want.message) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: field %q, message %q", body, err.Field, err.Message)
		}
	}
}

func TestRequestsThatAreWellFormedAreTaken(t *testing.T) {
	m := &lifeboatv1.CreateSecretRequest{Name: "a", Value: []byte("v"), Rules: &lifeboatv1.Rules{ForbidReuse: true}, Tags: map[string]string{"a": "b"}}
	for name, codec := range map[string]interface {
		Marshal(any) ([]byte, error)
		Unmarshal([]byte, any) error
	}{"proto": strictProto{}, "json": strictJSON{}} {
		b, err := codec.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got := new(lifeboatv1.CreateSecretRequest)
		if err := codec.Unmarshal(b, got); err != nil || whyUndecodable(got) != nil || !proto.Equal(got, m) {
			t.Errorf("%s: %v, %v, %v", name, got, err, whyUndecodable(got))
		}
	}
}

// FuzzDecode: whatever is sent is either refused, with nothing of it kept, or
// taken in a form that is taken again.
func FuzzDecode(f *testing.F) {
	seed, _ := proto.Marshal(&lifeboatv1.CreateSecretRequest{Name: "a", Value: []byte("v"), Wait: lifeboatv1.Wait_WAIT_CLEARED})
	f.Add(seed)
	f.Add([]byte{0xf8, 0x3f, 0x01})
	f.Add([]byte{0x42, 0x02, 0x78, 0x01})
	f.Add([]byte{0x60, 0x4d})
	f.Add([]byte(`{"name":"a","value":"dg==","rules":{"forbidReuse":true}}`))
	f.Add([]byte(`{"name":"a","name":"b"}`))
	f.Add([]byte(`{"wait":77}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, codec := range []interface {
			Unmarshal([]byte, any) error
		}{strictProto{}, strictJSON{}} {
			m := new(lifeboatv1.CreateSecretRequest)
			if err := codec.Unmarshal(b, m); err != nil {
				t.Fatal(err)
			}
			if whyUndecodable(m) != nil {
				m.ProtoReflect().SetUnknown(nil)
				if !proto.Equal(m, new(lifeboatv1.CreateSecretRequest)) {
					t.Fatalf("a refused message keeps %v", m)
				}
				continue
			}
			again, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			got := new(lifeboatv1.CreateSecretRequest)
			if err := (strictProto{}).Unmarshal(again, got); err != nil || whyUndecodable(got) != nil {
				t.Fatalf("taken, but not again: %v, %v", err, whyUndecodable(got))
			}
			if _, err := protojson.Marshal(m); err != nil {
				t.Fatalf("taken, but is no JSON: %v", err)
			}
		}
	})
}
