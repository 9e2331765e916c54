package replica_test

import (
	"bytes"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/replica"
)

func FuzzDecodeValue(f *testing.F) {
	f.Add([]byte("region"), replica.EncodeValue([]byte("region"), 1, 7, []byte("value")))
	f.Add([]byte(""), replica.EncodeValue(nil, 0, 0, nil))
	f.Add([]byte("k"), []byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, key, b []byte) {
		generation, revision, value, err := replica.DecodeValue(key, b)
		if err == nil && !bytes.Equal(replica.EncodeValue(key, generation, revision, value), b) {
			t.Fatalf("%x decodes to something that is encoded otherwise", b)
		}
	})
}

func TestChecksumCoversEverything(t *testing.T) {
	key := []byte("secret/v/1")
	b := replica.EncodeValue(key, 3, 1234, []byte("the sealed value"))
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		if _, _, _, err := replica.DecodeValue(key, b); err == nil {
			t.Errorf("bit %d flipped and not found", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	if _, _, _, err := replica.DecodeValue([]byte("secret/v/2"), b); err == nil {
		t.Error("a value of another key is accepted")
	}
}

func FuzzDecodeMark(f *testing.F) {
	f.Add(replica.EncodeMark("secret/v/1", "secret/", 5, 9))
	f.Add(replica.EncodeMark("", "", 0, 0))
	f.Add(append(replica.EncodeMark("k", "", 1, 2), "left from a longer one"...))
	f.Add([]byte{0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := replica.ReencodeMark(b)
		if err == nil && !bytes.HasPrefix(b, again) {
			t.Fatalf("%x decodes to something that is encoded as %x", b, again)
		}
	})
}
