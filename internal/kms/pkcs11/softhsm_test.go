//go:build pkcs11 && cgo

package pkcs11_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	hsm "github.com/miekg/pkcs11"
	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/pkcs11"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	pin        = "2468"
	soPIN      = "13579"
	tokenLabel = "lifeboat test"
)

// token is a SoftHSM token in a directory of its own.
type token struct {
	t       *testing.T
	dir     string
	options pkcs11.Options
}

// newToken makes a token without keys. SoftHSM reads its configuration when the
// library is initialized, which is when the first wrapper of a test opens.
func newToken(t *testing.T) *token {
	t.Helper()
	dir := t.TempDir()
	k := &token{t: t, dir: filepath.Join(dir, "tokens"), options: pkcs11.Options{
		Module: library(t), Token: tokenLabel, PINFile: filepath.Join(dir, "pin"), Key: "first",
	}}
	if err := os.Mkdir(k.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", k.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	k.setPIN(pin)
	k.addToken(tokenLabel)
	return k
}

func (k *token) addToken(label string) {
	k.t.Helper()
	out, err := exec.Command("softhsm2-util", "--module", k.options.Module, "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", soPIN).CombinedOutput()
	if err != nil {
		k.t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
}

func (k *token) setPIN(pin string) {
	k.t.Helper()
	if err := os.WriteFile(k.options.PINFile, []byte(pin+"\n"), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func library(t *testing.T) string {
	t.Helper()
	_, err := exec.LookPath("softhsm2-util")
	for _, pattern := range []string{"/usr/lib/softhsm", "/usr/lib/*/softhsm", "/usr/lib64/softhsm", "/usr/lib64/pkcs11", "/usr/local/lib/softhsm", "/opt/homebrew/lib/softhsm"} {
		found, globErr := filepath.Glob(filepath.Join(pattern, "libsofthsm2.so"))
		if globErr != nil {
			t.Fatal(globErr)
		}
		if err == nil && len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("the tests of this driver need SoftHSM 2: apt-get install softhsm2")
	return ""
}

func (k *token) createKey(label string) string {
	k.t.Helper()
	o := k.options
	o.Key, o.OlderKeys = label, nil
	id, err := pkcs11.CreateKey(k.t.Context(), o)
	if err != nil {
		k.t.Fatal(err)
	}
	return id
}

func (k *token) open(key string, older ...string) kms.Wrapper {
	k.t.Helper()
	o := k.options
	o.Key, o.OlderKeys = key, older
	w, err := pkcs11.Open(k.t.Context(), o)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			k.t.Errorf("Close: %v", err)
		}
	})
	return w
}

// raw is the library as any other code of the process would use it.
type raw struct {
	*hsm.Ctx
	t *testing.T
}

// raw needs an open wrapper, which keeps the library initialized.
func (k *token) raw() raw {
	k.t.Helper()
	r := raw{hsm.New(k.options.Module), k.t}
	if r.Ctx == nil {
		k.t.Fatal("cannot load the library")
	}
	k.t.Cleanup(r.Destroy)
	return r
}

func (r raw) slot() uint {
	r.t.Helper()
	slots, err := r.GetSlotList(true)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, slot := range slots {
		if info, err := r.GetTokenInfo(slot); err == nil && info.Label == tokenLabel {
			return slot
		}
	}
	r.t.Fatal("no token")
	return 0
}

func (r raw) session() hsm.SessionHandle {
	r.t.Helper()
	s, err := r.OpenSession(r.slot(), hsm.CKF_SERIAL_SESSION|hsm.CKF_RW_SESSION)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r raw) find(label string) hsm.ObjectHandle {
	r.t.Helper()
	s := r.session()
	defer func() { _ = r.CloseSession(s) }()
	r.must(r.FindObjectsInit(s, []*hsm.Attribute{hsm.NewAttribute(hsm.CKA_LABEL, label)}))
	handles, _, err := r.FindObjects(s, 1)
	r.must(err)
	r.must(r.FindObjectsFinal(s))
	if len(handles) != 1 {
		r.t.Fatalf("%d keys with the label %q", len(handles), label)
	}
	return handles[0]
}

func (r raw) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}
