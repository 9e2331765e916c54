package transit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/kmstest"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/transit"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	plaintext = bytes.Repeat([]byte{7}, 32)
	aad       = []byte("what the key is for")
)

func open(t *testing.T, o transit.Options) *transit.Wrapper {
	t.Helper()
	w, err := transit.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func wrap(t *testing.T, w kms.Wrapper) kms.Wrapped {
	t.Helper()
	wrapped, err := w.Wrap(t.Context(), plaintext, aad)
	if err != nil {
		t.Fatalf("Wrap: %v", err)
	}
	return wrapped
}

func wantPlaintext(t *testing.T, w kms.Wrapper, wrapped kms.Wrapped) {
	t.Helper()
	if got, err := w.Unwrap(t.Context(), wrapped, aad); err != nil || !bytes.Equal(got, plaintext) {
		t.Fatalf("Unwrap: %v", err)
	}
}

// causes are exclusive: whoever handles one must not see another.
func wantCause(t *testing.T, err, cause error) {
	t.Helper()
	for _, c := range []error{kms.ErrTampered, kms.ErrWrongKey, kms.ErrFault} {
		if errors.Is(err, c) != (c == cause) {
			t.Errorf("got %v, want the cause %q alone", err, cause)
		}
	}
	if strings.Contains(err.Error(), goodToken) {
		t.Errorf("%v has the token", err)
	}
}

func TestConformance(t *testing.T) {
	for name, badData := range map[string]int{"400": http.StatusBadRequest, "500": http.StatusInternalServerError} {
		t.Run("bad data is "+name, func(t *testing.T) {
			services := int64(0)
			kmstest.Run(t, func(t *testing.T) kms.Wrapper {
				v := newVault(t)
				v.badData = badData
				v.createKey("lifeboat")
				services++
				v.keys["lifeboat"].created += services
				w := open(t, v.options("lifeboat"))
				if d := w.Describe(); d.Driver != transit.Driver || !d.Production {
					t.Errorf("Describe = %+v", d)
				}
				return w
			})
		})
	}
}

func TestNamedKeys(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	v.createKey("payments")
	opened := func(t *testing.T) kms.Wrapper { return open(t, v.options("lifeboat")) }
	kmstest.Named(t, "payments", opened)
	kmstest.Rotating(t, "payments", opened)
	v.set(func() { v.denied["keys/payments/rotate"] = true })
	if _, err := opened(t).(kms.Rotator).RotateMasterKey(t.Context(), "payments"); !errors.Is(err, kms.ErrWrongKey) {
		t.Errorf("rotation that the policy forbids: %v", err)
	}
}

func TestRotationInsideTheService(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	now := time.Now()
	o := v.options("lifeboat")
	o.Now = func() time.Time { return now }
	w := open(t, o)
	first := wrap(t, w)
	if want := "transit/transit/lifeboat/v1@1700000000"; first.MasterKey != want {
		t.Errorf("wrapped by %q, want %q", first.MasterKey, want)
	}
	v.rotate("lifeboat")
	wantPlaintext(t, w, first)
	if got := w.Describe().ActiveKey; got != first.MasterKey {
		t.Errorf("the active key is %q before the driver looked", got)
	}
	now = now.Add(time.Minute)
	wantPlaintext(t, w, first)
	if got := w.Describe().ActiveKey; !strings.HasSuffix(got, "/v2@1700000001") {
		t.Errorf("the active key is %q", got)
	}
	v.rotate("lifeboat")
	third := wrap(t, w)
	if !strings.HasSuffix(third.MasterKey, "/v3@1700000002") || w.Describe().ActiveKey != third.MasterKey {
		t.Errorf("wrapped by %q, the active key is %q", third.MasterKey, w.Describe().ActiveKey)
	}
	v.set(func() { v.keys["lifeboat"].minDecrypt = 2 })
	_, err := w.Unwrap(t.Context(), first, aad)
	wantCause(t, err, kms.ErrWrongKey)
	wantPlaintext(t, w, third)
}

func TestOlderKeysUnwrap(t *testing.T) {
	v := newVault(t)
	v.createKey("first")
	v.createKey("second")
	wrapped := wrap(t, open(t, v.options("first")))
	w := open(t, v.options("second", "first"))
	wantPlaintext(t, w, wrapped)
	// The ID names the key, so that it need not be configured.
	wantPlaintext(t, open(t, v.options("second")), wrapped)
	v.set(func() { delete(v.keys, "first") })
	wantPlaintext(t, w, wrap(t, w))
	_, err := w.Unwrap(t.Context(), wrapped, aad)
	wantCause(t, err, kms.ErrWrongKey)
	_, err = transit.Open(t.Context(), v.options("second", "first"))
	wantCause(t, err, kms.ErrWrongKey)
}

func TestKeyMadeAnewIsAnotherKey(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	w := open(t, v.options("lifeboat"))
	wrapped := wrap(t, w)
	v.createKey("lifeboat")
	v.set(func() { v.keys["lifeboat"].created++ })
	_, err := w.Unwrap(t.Context(), wrapped, aad)
	wantCause(t, err, kms.ErrWrongKey)
}

func TestForgedEnvelopeIsTampered(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	w := open(t, v.options("lifeboat"))
	id := w.Describe().ActiveKey
	good, err := kms.OpenEnvelope(wrap(t, w), aad)
	if err != nil {
		t.Fatal(err)
	}
	for _, forged := range []string{"x", "vault:v9:AAAA", "vault:v1:AAAA", string(good[:len(good)-4]), "vault:v1:" + strings.Repeat("A", 80)} {
		_, err := w.Unwrap(t.Context(), kms.SealEnvelope(id, aad, []byte(forged)), aad)
		wantCause(t, err, kms.ErrTampered)
	}
	other := []byte("other")
	_, err = w.Unwrap(t.Context(), kms.SealEnvelope(id, other, good), other)
	wantCause(t, err, kms.ErrTampered)
}

// A fault that ends while the driver finds out is not tampering.
func TestPassingFaultOfADecryptionIsRepeated(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	w := open(t, v.options("lifeboat"))
	wrapped := wrap(t, w)
	failed := false
	v.set(func() {
		v.fail = func(operation string) (int, string) {
			if failed || !strings.HasPrefix(operation, "decrypt/") {
				return 0, ""
			}
			failed = true
			return http.StatusInternalServerError, `{"errors":["internal error"]}`
		}
	})
	wantPlaintext(t, w, wrapped)
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(v *vault)
		want   error
		also   error
	}{
		"policy denies encryption": {func(v *vault) { v.denied["encrypt/lifeboat"] = true; v.denied["decrypt/lifeboat"] = true }, kms.ErrWrongKey, nil},
		"policy denies the key": {func(v *vault) {
			for _, verb := range []string{"keys", "encrypt", "decrypt"} {
				v.denied[verb+"/lifeboat"] = true
			}
		}, kms.ErrWrongKey, nil},
		"token expired":   {func(v *vault) { clear(v.tokens) }, kms.ErrFault, transit.ErrToken},
		"namespace":       {func(v *vault) { v.namespace = "other" }, kms.ErrFault, transit.ErrToken},
		"key deleted":     {func(v *vault) { delete(v.keys, "lifeboat") }, kms.ErrWrongKey, nil},
		"engine disabled": {func(v *vault) { v.mount = "elsewhere" }, kms.ErrWrongKey, nil},
		"exportable":      {func(v *vault) { v.keys["lifeboat"].flag = "exportable" }, kms.ErrWrongKey, transit.ErrUnfitKey},
		"sealed":          {always(http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`), kms.ErrFault, nil},
		"throttled":       {always(http.StatusTooManyRequests, `{"errors":["request path \"transit/encrypt/lifeboat\": rate limit quota exceeded"]}`), kms.ErrFault, nil},
		"internal error":  {always(http.StatusInternalServerError, `{"errors":["1 error occurred:\n\t* context deadline exceeded\n\n"]}`), kms.ErrFault, nil},
		"bad request":     {always(http.StatusBadRequest, `{"errors":["nonsense"]}`), kms.ErrFault, nil},
		"a proxy's 404":   {always(http.StatusNotFound, `<html>not found</html>`), kms.ErrFault, nil},
		"a proxy's 403":   {always(http.StatusForbidden, `{"message":"forbidden"}`), kms.ErrFault, nil},
		"a proxy's 502":   {always(http.StatusBadGateway, ``), kms.ErrFault, nil},
		"empty 200":       {always(http.StatusOK, `{}`), kms.ErrFault, nil},
		"a page with 200": {always(http.StatusOK, `<html>log in here</html>`), kms.ErrFault, nil},
		"too long":        {always(http.StatusOK, `{"data":{"ciphertext":"vault:v1:`+strings.Repeat("A", 300<<10)+`"}}`), kms.ErrFault, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVault(t)
			v.createKey("lifeboat")
			now := time.Now()
			o := v.options("lifeboat")
			o.Now = func() time.Time { return now }
			w := open(t, o)
			wrapped := wrap(t, w)
			v.set(func() { c.change(v) })
			now = now.Add(time.Hour)
			_, wrapErr := w.Wrap(t.Context(), plaintext, aad)
			_, unwrapErr := w.Unwrap(t.Context(), wrapped, aad)
			_, openErr := transit.Open(t.Context(), v.options("lifeboat"))
			for _, err := range []error{wrapErr, unwrapErr, openErr} {
				wantCause(t, err, c.want)
				if c.also != nil && !errors.Is(err, c.also) {
					t.Errorf("got %v, want %v", err, c.also)
				}
				if !secret.HasCode(err, codeOf(err)) {
					t.Errorf("%v has the code %s", err, secret.CodeOf(err))
				}
			}
		})
	}
}

func always(status int, body string) func(v *vault) {
	return func(v *vault) { v.fail = func(string) (int, string) { return status, body } }
}

func TestTokenIsReadAgain(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	w := open(t, v.options("lifeboat"))
	wrapped := wrap(t, w)
	v.set(func() { v.tokens = map[string]bool{"hvs.renewed": true} })
	_, err := w.Unwrap(t.Context(), wrapped, aad)
	wantCause(t, err, kms.ErrFault)
	v.write("token", []byte("hvs.renewed\n"))
	wantPlaintext(t, w, wrapped)
}

func TestNamespaceAndMount(t *testing.T) {
	v := newVault(t)
	v.namespace, v.mount = "teams/lifeboat", "engines/transit"
	v.createKey("lifeboat")
	o := v.options("lifeboat")
	o.Namespace, o.Mount = v.namespace, v.mount
	w := open(t, o)
	wantPlaintext(t, w, wrap(t, w))
}

func TestServiceThatIgnoresAssociatedDataIsRefused(t *testing.T) {
	v := newVault(t)
	v.ignoreData = true
	v.createKey("lifeboat")
	_, err := transit.Open(t.Context(), v.options("lifeboat"))
	wantCause(t, err, kms.ErrFault)
	if !errors.Is(err, transit.ErrNoAssociatedData) {
		t.Errorf("got %v", err)
	}
}

// A standby redirects to the active node; the token must not go out in the clear.
func TestRedirects(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	standby := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, v.server.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	standby.StartTLS()
	defer standby.Close()
	o := v.options("lifeboat")
	o.Address = standby.URL
	w := open(t, o)
	wantPlaintext(t, w, wrap(t, w))

	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the token went out by http") }))
	defer plain.Close()
	downgrade := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer downgrade.Close()
	o.Address = downgrade.URL
	_, err := transit.Open(t.Context(), o)
	wantCause(t, err, kms.ErrFault)
}

func TestUnreachableAndUntrusted(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	o := v.options("lifeboat")
	o.CAFile = ""
	_, err := transit.Open(t.Context(), o)
	wantCause(t, err, kms.ErrFault)
	w := open(t, v.options("lifeboat"))
	wrapped := wrap(t, w)
	v.server.Close()
	_, err = w.Unwrap(t.Context(), wrapped, aad)
	wantCause(t, err, kms.ErrFault)
}

func TestSilentServiceIsAFault(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices a closed connection only then
		<-r.Context().Done()
	}))
	defer silent.Close()
	o := v.options("lifeboat")
	o.Address, o.Timeout = silent.URL, time.Millisecond
	_, err := transit.Open(t.Context(), o)
	wantCause(t, err, kms.ErrFault)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestErrorsQuoteNoPlaintext(t *testing.T) {
	v := newVault(t)
	v.createKey("lifeboat")
	w := open(t, v.options("lifeboat"))
	v.set(func() {
		v.fail = func(operation string) (int, string) {
			if strings.HasPrefix(operation, "encrypt/") {
				return http.StatusBadRequest, `{"errors":["cannot parse BwcHBwcHBwcHBwcHBwcH"]}`
			}
			return 0, ""
		}
	})
	_, err := w.Wrap(t.Context(), plaintext, aad)
	wantCause(t, err, kms.ErrFault)
	if strings.Contains(err.Error(), "BwcH") {
		t.Errorf("%v quotes the request", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := transit.Options{Address: "https://localhost:1", Key: "k", TokenFile: "/nowhere"}
	for field, changes := range map[string][]func(*transit.Options){
		"address": {
			func(o *transit.Options) { o.Address = "" },
			func(o *transit.Options) { o.Address = "localhost:8200" },
			func(o *transit.Options) { o.Address = "http://vault.example:8200" },
			func(o *transit.Options) { o.Address = "https://user:password@vault.example" },
		},
		"namespace":     {func(o *transit.Options) { o.Namespace = "a\nb" }},
		"mount":         {func(o *transit.Options) { o.Mount = "/transit" }, func(o *transit.Options) { o.Mount = "../sys" }},
		"key":           {func(o *transit.Options) { o.Key = "" }, func(o *transit.Options) { o.Key = "a/b" }, func(o *transit.Options) { o.Key = ".." }},
		"older_keys":    {func(o *transit.Options) { o.OlderKeys = slices.Repeat([]string{"x"}, 101) }},
		"older_keys[0]": {func(o *transit.Options) { o.OlderKeys = []string{"k"} }},
		"token_file":    {func(o *transit.Options) { o.TokenFile = "" }},
		"timeout":       {func(o *transit.Options) { o.Timeout = time.Hour }},
	} {
		for _, change := range changes {
			o := good
			change(&o)
			_, err := transit.Open(t.Context(), o)
			if e, ok := errors.AsType[*secret.Error](err); !ok || e.Code != secret.CodeInvalid || e.Field != field {
				t.Errorf("%s: got %v", field, err)
			}
		}
	}
	v := newVault(t)
	o := v.options("k")
	o.CAFile = filepath.Join(v.dir, "token")
	if _, err := transit.Open(t.Context(), o); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("authorities without a certificate: %v", err)
	}
}

// codeOf is the code that belongs to the cause of an error.
func codeOf(err error) secret.Code {
	if errors.Is(err, kms.ErrWrongKey) {
		return secret.CodeWrongKey
	}
	return secret.CodeKeyUnavailable
}
