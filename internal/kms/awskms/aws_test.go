package awskms_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/awskms"
)

const (
	region     = "eu-central-1"
	account    = "111122223333"
	accessKey  = "AKIDEXAMPLE"
	privateKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// service answers like AWS KMS: it verifies the signature of every request and
// really encrypts.
type service struct {
	t      *testing.T
	server *httptest.Server
	dir    string

	mu          sync.Mutex
	credentials aws.Credentials
	keys        map[string]*serviceKey // by ARN
	aliases     map[string]string      // to ARNs
	denied      map[string]bool        // actions
	// fail is asked first.
	fail func(action string) (status int, code string)
}

type serviceKey struct {
	aead               cipher.AEAD
	state, spec, usage string
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{
		t: t, dir: t.TempDir(), credentials: aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: privateKey},
		keys: map[string]*serviceKey{}, aliases: map[string]string{}, denied: map[string]bool{},
	}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	s.writeCredentials(accessKey, privateKey, "")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(s.dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(s.dir, "none"))
	return s
}

func (s *service) writeCredentials(id, key, token string) {
	s.t.Helper()
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, key)
	if token != "" {
		text += "aws_session_token = " + token + "\n"
	}
	if err := os.WriteFile(filepath.Join(s.dir, "credentials"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) options(key string, older ...string) awskms.Options {
	return awskms.Options{
		Key: key, OlderKeys: older, Region: region, Endpoint: s.server.URL,
		CredentialsFile: filepath.Join(s.dir, "credentials"),
	}
}

func (s *service) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// createKey returns the ARN of a new key of the account.
func (s *service) createKey(account string) string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	block, err := aes.NewCipher(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		s.t.Fatal(err)
	}
	id := hex.EncodeToString(raw[:16])
	arn := fmt.Sprintf("arn:aws:kms:%s:%s:key/%s-%s-%s-%s-%s", region, account, id[:8], id[8:12], id[12:16], id[16:20], id[20:])
	s.set(func() {
		s.keys[arn] = &serviceKey{aead: aead, state: "Enabled", spec: "SYMMETRIC_DEFAULT", usage: "ENCRYPT_DECRYPT"}
	})
	return arn
}

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	action, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	if s.fail != nil {
		if status, code := s.fail(action); status != 0 {
			refuse(w, status, code)
			return
		}
	}
	switch code := s.verify(r, body); {
	case code != "":
		refuse(w, http.StatusBadRequest, code)
	case !ok || r.Method != http.MethodPost || r.URL.Path != "/":
		refuse(w, http.StatusNotFound, "UnknownOperationException")
	case s.denied[action]:
		refuse(w, http.StatusBadRequest, "AccessDeniedException")
	default:
		s.operate(w, action, body)
	}
}

// verify signs the request anew and compares. It returns the code of the error.
func (s *service) verify(r *http.Request, body []byte) string {
	given := r.Header.Get("Authorization")
	fields, ok := strings.CutPrefix(given, "AWS4-HMAC-SHA256 Credential=")
	scope, rest, ok2 := strings.Cut(fields, ", SignedHeaders=")
	signed, _, ok3 := strings.Cut(rest, ", Signature=")
	parts := strings.Split(scope, "/")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	switch {
	case !ok || !ok2 || !ok3 || len(parts) != 5 || err != nil:
		return "IncompleteSignatureException"
	case parts[0] != s.credentials.AccessKeyID || r.Header.Get("X-Amz-Security-Token") != s.credentials.SessionToken:
		return "UnrecognizedClientException"
	case parts[2] != region || parts[3] != "kms" || time.Since(at).Abs() > 5*time.Minute:
		return "InvalidSignatureException"
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return "IncompleteSignatureException"
	}
	for name := range strings.SplitSeq(signed, ";") {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(r.Context(), s.credentials, again, hex.EncodeToString(hash[:]), "kms", region, at); err != nil {
		return "IncompleteSignatureException"
	}
	if subtle.ConstantTimeCompare([]byte(given), []byte(again.Header.Get("Authorization"))) != 1 {
		return "InvalidSignatureException"
	}
	return ""
}

type serviceRequest struct {
	KeyID             string `json:"KeyId"`
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
}

func (s *service) operate(w http.ResponseWriter, action string, body []byte) {
	var q serviceRequest
	if json.Unmarshal(body, &q) != nil {
		refuse(w, http.StatusBadRequest, "SerializationException")
		return
	}
	arn := q.KeyID
	if target := s.aliases[arn]; target != "" {
		arn = target
	}
	key := s.keys[arn]
	data, err := json.Marshal(q.EncryptionContext) // sorted
	switch {
	case err != nil || key == nil:
		refuse(w, http.StatusBadRequest, "NotFoundException")
	case action == "DescribeKey":
		answer(w, map[string]any{"KeyMetadata": map[string]any{
			"Arn": arn, "KeyId": arn[strings.LastIndexByte(arn, '/')+1:], "AWSAccountId": account, "Enabled": key.state == "Enabled",
			"KeyState": key.state, "KeySpec": key.spec, "KeyUsage": key.usage, "CreationDate": 1700000000.5, "KeyManager": "CUSTOMER",
		}})
	case key.state == "Disabled":
		refuse(w, http.StatusBadRequest, "DisabledException")
	case key.state != "Enabled":
		refuse(w, http.StatusBadRequest, "KMSInvalidStateException")
	case action == "Encrypt":
		blob := append([]byte(arn+"\x00"), key.aead.Seal(nil, nil, q.Plaintext, data)...)
		answer(w, map[string]any{"KeyId": arn, "CiphertextBlob": blob, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
	case action == "Decrypt":
		s.decrypt(w, arn, key, q.CiphertextBlob, data)
	default:
		refuse(w, http.StatusNotFound, "UnknownOperationException")
	}
}

func (s *service) decrypt(w http.ResponseWriter, arn string, key *serviceKey, blob, data []byte) {
	owner, sealed, ok := strings.Cut(string(blob), "\x00")
	switch {
	case !ok || s.keys[owner] == nil:
		refuse(w, http.StatusBadRequest, "InvalidCiphertextException")
		return
	case owner != arn:
		refuse(w, http.StatusBadRequest, "IncorrectKeyException")
		return
	case len(sealed) < 28:
		refuse(w, http.StatusBadRequest, "InvalidCiphertextException")
		return
	}
	plaintext, err := key.aead.Open(nil, nil, []byte(sealed), data)
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidCiphertextException")
		return
	}
	answer(w, map[string]any{"KeyId": arn, "Plaintext": plaintext, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"})
}

func answer(w http.ResponseWriter, data map[string]any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(data)
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": "refused"})
}
