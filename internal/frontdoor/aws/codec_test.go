package aws

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestBadBodiesAreRefused(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON": `{`, "an array": `[]`, "trailing": `{} {}`, "unknown member": `{"Secret":"canary"}`,
		"member twice": `{"SecretId":"a","SecretId":"canary"}`, "other case": `{"secretid":"canary"}`, "no text": "{\"SecretId\":\"canary\xff\"}",
		"wrong type": `{"SecretId":{"canary":1}}`, "no base64": `{"SecretBinary":"canary!"}`, "a number": `{"SecretString":12}`,
		"deep": strings.Repeat(`{"SecretId":`, 20_000),
	} {
		in := new(putSecretValueIn)
		err := decode([]byte(body), in)
		if of, text := New(Options{TypeOf: noTypes}).typeOf(err); err == nil || of != "SerializationException" || strings.Contains(text, "canary") {
			t.Errorf("%s: %v %s", name, err, text)
		}
	}
	in := new(putSecretValueIn)
	if err := decode([]byte(`{"SecretId":null,"SecretString":"a","VersionStages":["x"]}`), in); err != nil || in.SecretId != nil || *in.SecretString != "a" {
		t.Errorf("%v %+v", err, in)
	}
	if err := decode(nil, new(secretIn)); err != nil {
		t.Error(err)
	}
}

// FuzzDecode: whatever comes, a decoder fills what it is given or returns a typed
// error without the content; what it takes the standard library takes too.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"SecretId":"a","SecretString":"b","ClientRequestToken":"c","VersionStages":["d"]}`, `{"SecretBinary":"AP8="}`, `{}`, `null`, `{"Tags":[{"Key":"a"}]}`,
		`{"Filters":[{"Key":"name","Values":["a"]}],"MaxResults":1}`, "{\"a\":\"\xff\"}", `{"SecretString":"\ud800"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, in := range []any{new(putSecretValueIn), new(createSecretIn), new(listSecretsIn), new(batchIn), new(passwordIn), new(moveStageIn)} {
			err := decode(body, in)
			if err != nil && secret.CodeOf(err) != secret.CodeInvalid {
				t.Fatalf("%T: %v", in, err)
			}
			if err == nil && len(body) > 0 && !json.Valid(body) {
				t.Fatalf("%T takes what is no JSON: %q", in, body)
			}
		}
	})
}
