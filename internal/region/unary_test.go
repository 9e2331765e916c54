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

// wholeTimeout is a time limit too long for the short way of plain requests, so
// that the protocol library serves them.
const wholeTimeout = "9999999999"

// TestTheShortWayAnswersTheSame shows that the short way of plain requests answers
// as the protocol library does, errors included.
func TestTheShortWayAnswersTheSame(t *testing.T) {
	p, token := furnished(t)
	encode := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		must(t, err)
		return b
	}
	good := encode(&lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "db/password"})
	put := encode(&lifeboatv1.PutSecretVersionRequest{Vault: "app", Secret: "db/password", Value: []byte("v"), RequestToken: "once"})
	large := encode(&lifeboatv1.CreateSecretRequest{Vault: "app", Name: "db/large", Value: make([]byte, 60<<10), RequestToken: "large"})
	tooLarge := encode(&lifeboatv1.CreateSecretRequest{Vault: "app", Name: "db/large", Value: make([]byte, 65<<10)})
	for _, c := range []struct {
		name, method, content, token string
		body                         []byte
	}{
		{"proto", "GetSecretValue", "proto", token, good},
		{"json", "GetSecretValue", "json", token, []byte(`{"vault":"app","secret":"db/password"}`)},
		{"no such secret", "GetSecretValue", "proto", token, encode(&lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "none"})},
		{"no such vault", "GetSecretValue", "json", token, []byte(`{"vault":"none","secret":"db/password"}`)},
		{"bad revision token", "GetSecretValue", "proto", token, encode(&lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "db/password", RevisionToken: "x"})},
		{"two selectors", "GetSecretValue", "proto", token, encode(&lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "db/password", Stage: "CURRENT", VersionNumber: 1})},
		{"malformed", "GetSecretValue", "proto", token, []byte{0xff, 0xff}},
		{"unknown field", "GetSecretValue", "proto", token, append(bytes.Clone(good), 0xf8, 0x07, 0x01)},
		{"unknown JSON field", "GetSecretValue", "json", token, []byte(`{"vaults":"app"}`)},
		{"malformed JSON", "GetSecretValue", "json", token, []byte(`{"vault":`)},
		{"empty JSON", "GetSecretValue", "json", token, nil},
		{"empty", "GetSecretValue", "proto", token, nil},
		{"no token", "GetSecretValue", "proto", "", good},
		{"wrong token", "GetSecretValue", "proto", "lbt_wrong", good},
		{"list", "ListSecrets", "json", token, []byte(`{"vault":"app"}`)},
		{"list of unknown states", "ListSecrets", "json", token, []byte(`{"vault":"app","states":[77]}`)},
		{"describe", "DescribeSecret", "json", token, []byte(`{"vault":"app","secret":"db/password"}`)},
		{"batch", "BatchGetSecretValues", "json", token, []byte(`{"vault":"app","secrets":["db/password","none"]}`)},
		{"put", "PutSecretVersion", "proto", token, put},
		{"put again", "PutSecretVersion", "proto", token, put},
		{"put of nothing", "PutSecretVersion", "json", token, []byte(`{"vault":"app","secret":"db/password"}`)},
		{"put of an unknown field", "PutSecretVersion", "json", token, []byte(`{"vault":"app","values":"eA=="}`)},
		{"create with a large value", "CreateSecret", "proto", token, large},
		{"create again", "CreateSecret", "proto", token, large},
		{"create with too large a value", "CreateSecret", "proto", token, tooLarge},
		{"create what exists", "CreateSecret", "json", token, []byte(`{"vault":"app","name":"db/password","value":"eA=="}`)},
		{"create with a bad rule", "CreateSecret", "json", token, []byte(`{"vault":"app","name":"x","rules":{"expiresAt":"1950-01-01T00:00:00Z"}}`)},
		{"update of none", "UpdateSecret", "json", token, []byte(`{"vault":"app","secret":"none"}`)},
		{"move to nowhere", "MoveStage", "json", token, []byte(`{"vault":"app","secret":"db/password","stage":"mine","toVersionId":"x"}`)},
		{"delete none", "DeleteSecret", "json", token, []byte(`{"vault":"app","secret":"none"}`)},
		{"restore what is there", "RestoreSecret", "json", token, []byte(`{"vault":"app","secret":"db/password"}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			short, long := askEitherWay(t, p, "/lifeboat.v1.SecretService/"+c.method, c.content, c.token, c.body)
			if !reflect.DeepEqual(short, long) {
				t.Errorf("the short way answers\n%v, the library\n%v", short, long)
			}
		})
	}
}

// askEitherWay returns what both ways answer, without what differs each time.
func askEitherWay(t *testing.T, p *region.Process, procedure, content, token string, body []byte) (short, long map[string]any) {
	t.Helper()
	answers := make([]map[string]any, 2)
	for i, timeout := range []string{"1000", wholeTimeout} {
		header := http.Header{
			"Content-Type": {"application/" + content}, "Connect-Protocol-Version": {"1"}, "Connect-Timeout-Ms": {timeout},
		}
		if token != "" {
			header.Set("Authorization", "Bearer "+token)
		}
		w := post(p.Handler(), procedure, header, body)
		answers[i] = map[string]any{"status": w.Code, "content": w.Header().Get("Content-Type"), "store": w.Header().Get("Cache-Control")}
		if w.Code == http.StatusOK && content == "proto" {
			answers[i]["answer"] = decoded(t, procedure, w.Body.Bytes())
			continue
		}
		var m map[string]any
		must(t, json.Unmarshal(w.Body.Bytes(), &m))
		delete(m, "freshness")
		if values, ok := m["values"].([]any); ok {
			delete(values[0].(map[string]any), "freshness")
		}
		if details, ok := m["details"].([]any); ok {
			detail := details[0].(map[string]any)
			delete(detail, "value") // holds the ID of the request, as debug does
			delete(detail["debug"].(map[string]any), "requestId")
		}
		answers[i]["answer"] = m
	}
	return answers[0], answers[1]
}

// decoded returns a binary answer as text, without what differs each time: how old
// it is, and whether the request had been carried out before.
func decoded(t *testing.T, procedure string, b []byte) string {
	t.Helper()
	switch procedure {
	case lifeboatv1connect.SecretServiceGetSecretValueProcedure:
		var m lifeboatv1.GetSecretValueResponse
		must(t, proto.Unmarshal(b, &m))
		m.Freshness = nil
		return m.String() + string(m.GetValue())
	case lifeboatv1connect.SecretServiceCreateSecretProcedure:
		var m lifeboatv1.CreateSecretResponse
		must(t, proto.Unmarshal(b, &m))
		m.Replayed, m.Secret.State = false, 0
		return m.String()
	}
	var m lifeboatv1.PutSecretVersionResponse
	must(t, proto.Unmarshal(b, &m))
	m.Replayed, m.Secret.State = false, 0
	return m.String()
}
