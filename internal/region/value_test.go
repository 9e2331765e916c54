package region_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

// wholeTimeout is a time limit too long for the short way of GetSecretValue, so
// that the protocol library serves the request.
const wholeTimeout = "9999999999"

// TestValuesAreReadTheSameEitherWay shows that the short way of GetSecretValue
// answers as the protocol library does, errors included.
func TestValuesAreReadTheSameEitherWay(t *testing.T) {
	p, token := furnished(t)
	encode := func(m *lifeboatv1.GetSecretValueRequest) []byte {
		b, err := proto.Marshal(m)
		must(t, err)
		return b
	}
	good := encode(&lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "db/password"})
	for _, c := range []struct {
		name, content, token string
		body                 []byte
	}{
		{"proto", "proto", token, good},
		{"json", "json", token, []byte(`{"vault":"app","secret":"db/password"}`)},
		{"no such secret", "proto", token, encode(&lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "none"})},
		{"no such vault", "json", token, []byte(`{"vault":"none","secret":"db/password"}`)},
		{"bad revision token", "proto", token, encode(&lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "db/password", RevisionToken: "x"})},
		{"two selectors", "proto", token, encode(&lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "db/password", Stage: "CURRENT", VersionNumber: 1})},
		{"malformed", "proto", token, []byte{0xff, 0xff}},
		{"unknown field", "proto", token, append(bytes.Clone(good), 0xf8, 0x07, 0x01)},
		{"unknown JSON field", "json", token, []byte(`{"vaults":"app"}`)},
		{"malformed JSON", "json", token, []byte(`{"vault":`)},
		{"empty JSON", "json", token, nil},
		{"empty", "proto", token, nil},
		{"no token", "proto", "", good},
		{"wrong token", "proto", "lbt_wrong", good},
	} {
		t.Run(c.name, func(t *testing.T) {
			short, long := readEitherWay(t, p, c.content, c.token, c.body)
			if !reflect.DeepEqual(short, long) {
				t.Errorf("the short way answers\n%v, the library\n%v", short, long)
			}
		})
	}
}

// readEitherWay returns what both ways answer, without what differs each time.
func readEitherWay(t *testing.T, p *region.Process, content, token string, body []byte) (short, long map[string]any) {
	t.Helper()
	answers := make([]map[string]any, 2)
	for i, timeout := range []string{"1000", wholeTimeout} {
		header := http.Header{
			"Content-Type": {"application/" + content}, "Connect-Protocol-Version": {"1"}, "Connect-Timeout-Ms": {timeout},
		}
		if token != "" {
			header.Set("Authorization", "Bearer "+token)
		}
		w := post(p.Handler(), lifeboatv1connect.SecretServiceGetSecretValueProcedure, header, body)
		answers[i] = map[string]any{"status": w.Code, "content": w.Header().Get("Content-Type"), "store": w.Header().Get("Cache-Control")}
		if w.Code == http.StatusOK && content == "proto" {
			var m lifeboatv1.GetSecretValueResponse
			must(t, proto.Unmarshal(w.Body.Bytes(), &m))
			m.Freshness = nil
			answers[i]["answer"] = m.String() + string(m.GetValue())
			continue
		}
		var m map[string]any
		must(t, json.Unmarshal(w.Body.Bytes(), &m))
		delete(m, "freshness")
		if details, ok := m["details"].([]any); ok {
			detail := details[0].(map[string]any)
			delete(detail, "value") // holds the ID of the request, as debug does
			delete(detail["debug"].(map[string]any), "requestId")
		}
		answers[i]["answer"] = m
	}
	return answers[0], answers[1]
}
