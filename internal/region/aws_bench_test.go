package region_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
)

// BenchmarkGetSecretValueAWS is BenchmarkGetSecretValue through the API of AWS, with
// a signature that is checked each time.
func BenchmarkGetSecretValueAWS(b *testing.B) {
	p, token := furnished(b)
	header := http.Header{"Content-Type": {"application/proto"}, "Authorization": {"Bearer " + token}}
	w := post(p.Handler(), lifeboatv1connect.AccountServiceCreateAccessKeyProcedure, header, nil)
	var made lifeboatv1.CreateAccessKeyResponse
	must(b, proto.Unmarshal(w.Body.Bytes(), &made))
	body := []byte(`{"SecretId":"db/password"}`)
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://example.com/", nil)
	must(b, err)
	r.ContentLength = int64(len(body))
	r.Header = http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"secretsmanager.GetSecretValue"}}
	digest := sha256.Sum256(body)
	key := aws.Credentials{AccessKeyID: made.GetCredential().GetId(), SecretAccessKey: made.GetSecretAccessKey()}
	must(b, v4.NewSigner().SignHTTP(b.Context(), key, r, hex.EncodeToString(digest[:]), "secretsmanager", "east", time.Now()))
	b.ReportAllocs()
	for b.Loop() {
		if w := post(p.Handler(), "/", r.Header, body); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
