// Package wire_test holds the clients of other secret managers against the front
// door: real SDKs and tools, as they are installed.
package wire_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// shared are the regions of all tests that break nothing; each has a host beside
// its control process, so that mutations are passed on.
var shared *lifeboattest.Regions

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "wire-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	configure, err := rotator.start(dir)
	defer rotator.server.Close()
	if err != nil {
		return 1, err
	}
	shared, err = lifeboattest.OpenRegions(context.Background(), lifeboattest.Options{Hosts: 1, Configure: configure}, "east", "west")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, shared.Close()) }()
	return m.Run(), nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tenant is an account with an access key.
type tenant struct {
	*lifeboattest.Account
	key aws.Credentials
}

// newTenant makes an account in east whose namespace for AWS is there.
func newTenant(t testing.TB) *tenant {
	t.Helper()
	a, err := shared.Region("east").NewAccount(t.Context(), "")
	must(t, err)
	c := a.Client(shared.Region("east").Control())
	_, err = c.CreateVault(t.Context(), connect.NewRequest(&lifeboatv1.CreateVaultRequest{Name: "default"}))
	must(t, err)
	made, err := c.CreateAccessKey(t.Context(), connect.NewRequest(&lifeboatv1.CreateAccessKeyRequest{}))
	must(t, err)
	return &tenant{Account: a, key: aws.Credentials{
		AccessKeyID: made.Msg.GetCredential().GetId(), SecretAccessKey: made.Msg.GetSecretAccessKey(),
	}}
}

// answer is one of the API as it is on the wire.
type answer struct {
	status  int
	header  http.Header
	body    string
	members map[string]any
	// kind and message are those of an error.
	kind, message string
}

// raw makes a signed request of a tenant; change may spoil it before it is sent.
type raw struct {
	region  *lifeboattest.Region
	key     aws.Credentials
	scope   string
	at      time.Time
	change  func(*http.Request)
	service string
}

func (k *tenant) in(region string) *raw {
	return &raw{region: shared.Region(region), key: k.key, scope: region, at: time.Now(), service: "secretsmanager"}
}

// do sends an operation with its body as JSON.
func (r *raw) do(t testing.TB, operation string, body any) answer {
	t.Helper()
	text, err := json.Marshal(body)
	must(t, err)
	return r.send(t, operation, text)
}

func (r *raw) send(t testing.TB, operation string, body []byte) answer {
	t.Helper()
	host := r.region.Host(0)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, host.URL()+"/", bytes.NewReader(body))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "secretsmanager."+operation)
	digest := sha256.Sum256(body)
	must(t, v4.NewSigner().SignHTTP(t.Context(), r.key, request, hex.EncodeToString(digest[:]), r.service, r.scope, r.at))
	if r.change != nil {
		r.change(request)
	}
	response, err := r.region.Client(host, "").HTTP.Do(request)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	a := answer{status: response.StatusCode, header: response.Header, body: string(text)}
	_ = json.Unmarshal(text, &a.members)
	a.kind, _ = a.members["__type"].(string)
	a.message, _ = a.members["Message"].(string)
	return a
}

// ok sends an operation that must succeed.
func (r *raw) ok(t testing.TB, operation string, body any) answer {
	t.Helper()
	a := r.do(t, operation, body)
	if a.status != http.StatusOK {
		t.Fatalf("%s %v: %d %s", operation, body, a.status, a.body)
	}
	return a
}

// fails sends an operation that must fail with a type and a message; an empty one
// is any.
func (r *raw) fails(t testing.TB, operation string, body any, kind, message string) answer {
	t.Helper()
	a := r.do(t, operation, body)
	if a.status != http.StatusBadRequest || a.kind != kind || message != "" && a.message != message {
		t.Errorf("%s %v: %d %s\nwant 400 %s %q", operation, body, a.status, a.body, kind, message)
	}
	return a
}

// m is a JSON object.
type m = map[string]any
