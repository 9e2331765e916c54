package file

import (
	"encoding/json"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func FuzzDecode(f *testing.F) {
	file := &keyFile{Format: fileFormat}
	file.add("")
	file.add("")
	good, err := json.Marshal(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"keys":[{"id":"x","key":"AAAA"}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decode(b)
		if err != nil {
			if code := secret.CodeOf(err); code != secret.CodeCorrupt && code != secret.CodeUnknownFormat {
				t.Errorf("code %s", code)
			}
			return
		}
		if err := got.check(); err != nil || len(got.Keys) == 0 {
			t.Errorf("decoded an unusable file: %v", err)
		}
	})
}
