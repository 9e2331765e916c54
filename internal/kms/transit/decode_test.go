package transit

import (
	"errors"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"data":{"type":"aes256-gcm96","latest_version":2,"min_decryption_version":1,"keys":{"1":1700000000,"2":1700000001}}}`))
	f.Add([]byte(`{"data":{"type":"rsa-4096","latest_version":1,"keys":{"1":{"public_key":"x"}}}}`))
	f.Add([]byte(`{"data":{"ciphertext":"vault:v1:AAAA","key_version":1}}`))
	f.Add([]byte(`{"data":{"plaintext":"AAAA"}}`))
	f.Add([]byte(`{"errors":["permission denied"]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := decodeKey(b, "transit", "k"); err == nil {
			seen := map[string]bool{}
			for _, v := range k.versions {
				if v.version < 1 || seen[v.id] {
					t.Errorf("version %+v", v)
				}
				seen[v.id] = true
			}
			if !seen[k.latest.id] {
				t.Error("the latest version is not among the versions")
			}
		} else if !errors.Is(err, errAnswer) && !errors.Is(err, ErrUnfitKey) {
			t.Error(err)
		}
		if c, err := decodeCiphertext(b, 1); err == nil && !strings.HasPrefix(c, "vault:v1:") {
			t.Errorf("ciphertext %q", c)
		}
		if p, err := decodePlaintext(b); err == nil && kms.CheckPlaintext(p) != nil {
			t.Errorf("plaintext of %d bytes", len(p))
		}
		if r := decodeRefusal(400, b); len(r.reason) > maxReasonBytes || !r.spoken && r.reason != "" {
			t.Errorf("refusal %+v", r)
		}
	})
}
