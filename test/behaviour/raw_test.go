package behaviour_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

const (
	asJSON  = "application/json"
	asProto = "application/proto"
)

// rawAnswer is an answer as it is on the wire.
type rawAnswer struct {
	status  int
	request string
	body    string
	// code and message are those of the protocol, info our details.
	code, message string
	info          *lifeboatv1.ErrorInfo
}

// post sends a body to a method, such as SecretService/GetSecretValue.
func post(t testing.TB, c *lifeboattest.Client, method, contentType string, body []byte, headers ...string) rawAnswer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/lifeboat.v1."+method, bytes.NewReader(body))
	must(t, err)
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Authorization", "Bearer "+c.Token)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return send(t, c, request)
}

func send(t testing.TB, c *lifeboattest.Client, request *http.Request) rawAnswer {
	t.Helper()
	response, err := c.HTTP.Do(request)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	a := rawAnswer{status: response.StatusCode, request: response.Header.Get("Lifeboat-Request-Id"), body: string(text)}
	var failure struct {
		Code, Message string
		Details       []struct{ Type, Value string }
	}
	if json.Unmarshal(text, &failure) != nil {
		return a
	}
	a.code, a.message = failure.Code, failure.Message
	for _, d := range failure.Details {
		if d.Type != "lifeboat.v1.ErrorInfo" {
			continue
		}
		value, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(d.Value, "="))
		must(t, err)
		a.info = new(lifeboatv1.ErrorInfo)
		must(t, proto.Unmarshal(value, a.info))
	}
	return a
}
