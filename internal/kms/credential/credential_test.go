package credential_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/credential"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		mode    fs.FileMode
		want    string
		err     string
	}{
		"plain":           {"1234", 0o600, "1234", ""},
		"line break":      {"1234\r\n", 0o600, "1234", ""},
		"spaces count":    {" 12 34 \n", 0o400, " 12 34 ", ""},
		"group reads":     {"1234", 0o640, "1234", ""},
		"group writes":    {"1234", 0o660, "", "open to others"},
		"others read":     {"1234", 0o604, "", "open to others"},
		"others write":    {"1234", 0o602, "", "open to others"},
		"empty":           {"\n", 0o600, "", "is empty"},
		"two lines":       {"12\n34", 0o600, "", "more than one line"},
		"the limit":       {strings.Repeat("x", credential.MaxBytes), 0o600, strings.Repeat("x", credential.MaxBytes), ""},
		"above the limit": {strings.Repeat("x", credential.MaxBytes+1), 0o600, "", "more than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "credential")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			got, err := credential.Read(path)
			if c.err == "" {
				if err != nil || !bytes.Equal(got, []byte(c.want)) {
					t.Fatalf("got %d bytes and error %v", len(got), err)
				}
				return
			}
			if got != nil || !secret.HasCode(err, secret.CodeKeyUnavailable) || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got %d bytes and error %v, want %q", len(got), err, c.err)
			}
			if strings.Contains(err.Error(), "1234") {
				t.Errorf("%v quotes the credential", err)
			}
		})
	}
}

func TestReadWithoutFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := credential.Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !secret.HasCode(err, secret.CodeKeyUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := credential.Read(dir); !secret.HasCode(err, secret.CodeKeyUnavailable) {
		t.Errorf("a directory: got %v", err)
	}
}
