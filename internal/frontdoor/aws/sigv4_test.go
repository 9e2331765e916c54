package aws

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func noTypes(error) string { return "" }

// signed returns a request that the SDK of AWS has signed, as a server sees it.
func signed(t interface{ Fatal(...any) }, key aws.Credentials, body []byte, at time.Time, header http.Header) *http.Request {
	r, err := http.NewRequest(http.MethodPost, "https://secrets.example:8200/", bytes.NewReader(body)) //nolint:noctx // is not sent
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	for name, values := range header {
		r.Header[name] = values
	}
	digest := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(r.Context(), key, r, hex.EncodeToString(digest[:]), serviceName, "east", at); err != nil {
		t.Fatal(err)
	}
	return r
}

// check verifies a request's signature.
func check(r *http.Request, body []byte, key string, now time.Time) error {
	s, err := signatureOf(r, "east", now)
	if err != nil {
		return err
	}
	if err := s.cover(r, body); err != nil {
		return err
	}
	derived := s.derive(secret.NewPlaintext([]byte(key)))
	return s.verify(&derived)
}

// TestWhatTheSDKSignsIsAccepted, and nothing of it with one bit changed.
func TestWhatTheSDKSignsIsAccepted(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		body := []byte(rapid.String().Draw(t, "body"))
		key := rapid.StringMatching(`[A-Za-z0-9/+]{40}`).Draw(t, "key")
		header := http.Header{}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			name := "X-Amz-Meta-" + rapid.StringMatching(`[A-Z][a-z]{0,8}`).Draw(t, "name")
			header.Set(name, rapid.StringMatching(`[ a-z]{0,20}`).Draw(t, "value"))
		}
		skew := time.Duration(rapid.IntRange(-299, 299).Draw(t, "skew")) * time.Second
		r := signed(t, aws.Credentials{AccessKeyID: "LBAKAAAAAAAAAAAAAAAA", SecretAccessKey: key}, body, now.Add(skew), header)
		if err := check(r, body, key, now); err != nil {
			t.Fatalf("refused: %v", err)
		}
		spoiled := bytes.Clone(body)
		if len(spoiled) == 0 {
			spoiled = []byte("x")
		} else {
			spoiled[rapid.IntRange(0, len(spoiled)-1).Draw(t, "at")] ^= 1
		}
		if check(r, spoiled, key, now) == nil {
			t.Fatal("another body was accepted")
		}
		if check(r, body, key[:39]+"!", now) == nil {
			t.Fatal("another key was accepted")
		}
		r.Host = "other.example"
		if check(r, body, key, now) == nil {
			t.Fatal("another host was accepted")
		}
	})
}

// TestDuplicatedHeadersAreRefused: nobody can say which of two counts.
func TestDuplicatedHeadersAreRefused(t *testing.T) {
	now := time.Now()
	key := aws.Credentials{AccessKeyID: "LBAKAAAAAAAAAAAAAAAA", SecretAccessKey: "key"}
	r := signed(t, key, nil, now, nil)
	r.Header.Add("X-Amz-Target", "secretsmanager.DeleteSecret")
	if check(r, nil, "key", now) == nil {
		t.Error("two targets were accepted")
	}
	r = signed(t, key, nil, now, nil)
	r.Header.Add("Authorization", "x")
	if check(r, nil, "key", now) == nil {
		t.Error("two signatures were accepted")
	}
	r = signed(t, key, nil, now, http.Header{"Content-Encoding": {"aws-chunked"}})
	if check(r, nil, "key", now) == nil {
		t.Error("a body in chunks was accepted")
	}
}

func FuzzAuthorization(f *testing.F) {
	good := "AWS4-HMAC-SHA256 Credential=LBAKAAAAAAAAAAAAAAAA/20260504/east/secretsmanager/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0a", 32)
	f.Add(good)
	f.Add(strings.ReplaceAll(good, ", ", ","))
	f.Add("")
	f.Add("Bearer x")
	f.Add(good + ",Signature=" + strings.Repeat("0a", 32))
	f.Add(strings.Replace(good, "host;", "host;host;", 1))
	f.Fuzz(func(t *testing.T, header string) {
		a, err := parseAuthorization(header)
		if err != nil {
			if _, ok := asError(err); !ok || secret.CodeOf(err) != secret.CodeUnauthenticated {
				t.Fatalf("%q: %v", header, err)
			}
			return
		}
		if a.key == "" || a.date == "" || a.region == "" || a.service == "" || len(a.signed) == 0 {
			t.Fatalf("%q: %+v", header, a)
		}
		again := algorithm + " Credential=" + string(a.key) + "/" + a.date + "/" + a.region + "/" + a.service + "/" + terminator +
			",SignedHeaders=" + strings.Join(a.signed, ";") + ",Signature=" + hex.EncodeToString(a.signature[:])
		if b, err := parseAuthorization(again); err != nil || b.key != a.key || b.signature != a.signature {
			t.Fatalf("%q: %v %+v", again, err, b)
		}
		r, _ := http.NewRequest(http.MethodPost, "https://x/", nil) //nolint:noctx // is not sent
		r.Header.Set("Authorization", header)
		r.Header.Set("X-Amz-Date", "20260504T030201Z")
		if err := check(r, nil, "key", time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)); err == nil {
			t.Fatal("a made-up signature was accepted")
		}
	})
}
