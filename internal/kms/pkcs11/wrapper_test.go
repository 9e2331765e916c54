//go:build pkcs11 && cgo

package pkcs11_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	hsm "github.com/miekg/pkcs11"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/kmstest"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/pkcs11"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

var (
	plaintext = bytes.Repeat([]byte{7}, 32)
	aad       = []byte("what the key is for")
)

func TestConformance(t *testing.T) {
	k := newToken(t)
	keys := 0
	k.addToken("other token")
	kmstest.Run(t, func(t *testing.T) kms.Wrapper {
		keys++
		o := k.options
		o.Key = fmt.Sprint("key ", keys)
		if keys%2 == 0 { // all keys of a token can be used
			o.Token = "other token"
		}
		if _, err := pkcs11.CreateKey(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		w, err := pkcs11.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if d := w.Describe(); d.Driver != pkcs11.Driver || !d.Production {
			t.Errorf("Describe = %+v", d)
		}
		return w
	})
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
}

func TestOlderKeysUnwrap(t *testing.T) {
	k := newToken(t)
	first, second := k.createKey("first"), k.createKey("second")
	before := k.open("first")
	wrapped := wrap(t, before)
	if wrapped.MasterKey != first {
		t.Errorf("wrapped by %q, made %q", wrapped.MasterKey, first)
	}
	after := k.open("second", "first")
	wantPlaintext(t, after, wrapped)
	if got := wrap(t, after).MasterKey; got != second || after.Describe().ActiveKey != second {
		t.Errorf("wrapped by %q, made %q", got, second)
	}
	// The ID is enough to find the key, so that its label need not be configured.
	wantPlaintext(t, k.open("second"), wrapped)
}

func TestNamedKeys(t *testing.T) {
	k := newToken(t)
	k.createKey("first")
	k.createKey("payments")
	kmstest.Named(t, "payments", func(*testing.T) kms.Wrapper { return k.open("first") })
}

func TestForgedEnvelopeIsTamperedAndNotAFault(t *testing.T) {
	k := newToken(t)
	id := k.createKey("first")
	w := k.open("first")
	ciphertext, err := kms.OpenEnvelope(wrap(t, w), aad)
	if err != nil {
		t.Fatal(err)
	}
	for n := range ciphertext {
		_, err := w.Unwrap(t.Context(), kms.SealEnvelope(id, aad, ciphertext[:n]), aad)
		wantCause(t, err, kms.ErrTampered)
	}
	_, err = w.Unwrap(t.Context(), kms.SealEnvelope(id, []byte("other"), ciphertext), []byte("other"))
	wantCause(t, err, kms.ErrTampered)
	wantPlaintext(t, w, wrap(t, w))
}

// The HSM forgets what the driver relies on; the next use must bring it back.
func TestLossesAreRepaired(t *testing.T) {
	for name, lose := range map[string]func(r raw){
		"sessions": func(r raw) { r.must(r.CloseAllSessions(r.slot())) },
		"login": func(r raw) {
			s := r.session()
			r.must(r.Logout(s))
			r.must(r.CloseSession(s))
		},
		"library": func(r raw) { r.must(r.Finalize()) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newToken(t)
			k.createKey("first")
			w := k.open("first")
			wrapped := wrap(t, w)
			r := k.raw()
			for range 3 {
				lose(r)
				wantPlaintext(t, w, wrapped)
				lose(r)
				wantPlaintext(t, w, wrap(t, w))
			}
		})
	}
}

// A library that starts anew gives out the same handles again: who comes back
// with one of before must not close the session that has it now.
func TestHandlesOfALostConnectionAreLeftAlone(t *testing.T) {
	k := newToken(t)
	k.createKey("first")
	w := k.open("first")
	r := k.raw()
	before, releaseBefore, err := pkcs11.TakeSession(w)
	r.must(err)
	r.must(r.Finalize())
	wrap(t, w) // connects again
	now, releaseNow, err := pkcs11.TakeSession(w)
	r.must(err)
	defer releaseNow()
	if now != before {
		t.Fatalf("the library started anew with handle %d, not %d: the test shows nothing", now, before)
	}
	releaseBefore()
	if _, err := r.GetSessionInfo(now); err != nil {
		t.Errorf("the session of another operation: %v", err)
	}
}

func TestLossUnderLoad(t *testing.T) {
	k := newToken(t)
	k.createKey("first")
	w := k.open("first")
	r := k.raw()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				wrapped, err := w.Wrap(t.Context(), plaintext, aad)
				if err != nil {
					wantCause(t, err, kms.ErrFault) // lost twice in a row
					continue
				}
				got, err := w.Unwrap(t.Context(), wrapped, aad)
				if err != nil {
					wantCause(t, err, kms.ErrFault)
				} else if !bytes.Equal(got, plaintext) {
					t.Error("other plaintext")
				}
			}
		})
	}
	slot := r.slot()
	for range 20 {
		// Between operations: SoftHSM frees a session that another thread works in.
		give := pkcs11.TakeSessions(w)
		r.must(r.CloseAllSessions(slot))
		give()
	}
	wg.Wait()
	wantPlaintext(t, w, wrap(t, w))
}

// One wrapper's login, sessions and end must not disturb another's.
func TestWrappersComeAndGo(t *testing.T) {
	k := newToken(t)
	k.createKey("first")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 15 {
				if err := k.useOnce(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantPlaintext(t, k.open("first"), wrap(t, k.open("first")))
}

func (k *token) useOnce() (err error) {
	w, err := pkcs11.Open(k.t.Context(), k.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	wrapped, err := w.Wrap(k.t.Context(), plaintext, aad)
	if err != nil {
		return err
	}
	got, err := w.Unwrap(k.t.Context(), wrapped, aad)
	if err == nil && !bytes.Equal(got, plaintext) {
		err = errors.New("other plaintext")
	}
	return err
}

func TestTokenRemovedAndBack(t *testing.T) {
	k := newToken(t)
	k.createKey("first")
	w := k.open("first")
	wrapped := wrap(t, w)
	r := k.raw()
	r.must(os.Rename(k.dir, k.dir+".away"))
	r.must(os.Mkdir(k.dir, 0o700))
	r.must(r.Finalize())
	for range 2 {
		_, err := w.Unwrap(t.Context(), wrapped, aad)
		wantCause(t, err, kms.ErrFault)
		_, err = w.Wrap(t.Context(), plaintext, aad)
		wantCause(t, err, kms.ErrFault)
	}
	r.must(os.Remove(k.dir))
	r.must(os.Rename(k.dir+".away", k.dir))
	r.must(r.Finalize())
	wantPlaintext(t, w, wrapped)
}

func TestKeyRemoved(t *testing.T) {
	k := newToken(t)
	id := k.createKey("first")
	k.createKey("second")
	w := k.open("second", "first")
	old := k.open("first")
	wrapped := wrap(t, old)
	r := k.raw()
	s := r.session()
	r.must(r.DestroyObject(s, r.find("first")))
	r.must(r.CloseSession(s))
	_, err := w.Unwrap(t.Context(), wrapped, aad)
	wantCause(t, err, kms.ErrWrongKey)
	if !strings.Contains(err.Error(), id) {
		t.Errorf("%v does not name %s", err, id)
	}
	_, err = old.Wrap(t.Context(), plaintext, aad)
	wantCause(t, err, kms.ErrWrongKey)
	wantPlaintext(t, w, wrap(t, w))
}

func TestRefusedPINIsNotTriedAgain(t *testing.T) {
	k := newToken(t)
	k.createKey("first")
	w := k.open("first")
	wrapped := wrap(t, w)
	r := k.raw()
	k.setPIN("wrong pin")
	r.must(r.CloseAllSessions(r.slot()))
	_, err := w.Unwrap(t.Context(), wrapped, aad)
	wantCause(t, err, kms.ErrFault)
	if !errors.Is(err, pkcs11.ErrLogin) || !errors.Is(err, hsm.Error(hsm.CKR_PIN_INCORRECT)) {
		t.Errorf("got %v", err)
	}
	_, err = w.Unwrap(t.Context(), wrapped, aad)
	if !errors.Is(err, pkcs11.ErrLogin) || errors.Is(err, hsm.Error(hsm.CKR_PIN_INCORRECT)) {
		t.Errorf("the HSM was asked again: %v", err)
	}
	if strings.Contains(err.Error(), "wrong pin") {
		t.Error("the error has the PIN")
	}
	k.setPIN(pin)
	wantPlaintext(t, w, wrapped)
}

func TestOpenRefuses(t *testing.T) {
	k := newToken(t)
	k.createKey("first")
	k.addToken("twin")
	k.addToken("twin")
	for name, c := range map[string]struct {
		change func(o *pkcs11.Options)
		cause  error
		want   string
	}{
		"no library":        {func(o *pkcs11.Options) { o.Module = "/nowhere/lib.so" }, kms.ErrFault, "no such file"},
		"not a library":     {func(o *pkcs11.Options) { o.Module = o.PINFile }, kms.ErrFault, "is not a PKCS#11 library"},
		"no token":          {func(o *pkcs11.Options) { o.Token = "none" }, kms.ErrFault, `no token has the label "none"`},
		"ambiguous token":   {func(o *pkcs11.Options) { o.Token = "twin" }, kms.ErrFault, `2 tokens have the label "twin"`},
		"no PIN file":       {func(o *pkcs11.Options) { o.PINFile = "/nowhere/pin" }, kms.ErrFault, "credential file"},
		"no active key":     {func(o *pkcs11.Options) { o.Key = "none" }, kms.ErrWrongKey, `no such AES key: label "none"`},
		"a missing old key": {func(o *pkcs11.Options) { o.OlderKeys = []string{"none"} }, kms.ErrWrongKey, `no such AES key: label "none"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := k.options
			c.change(&o)
			w, err := pkcs11.Open(t.Context(), o)
			if w != nil || !secret.HasCode(err, codeOf(err)) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			wantCause(t, err, c.cause)
		})
	}
}

func TestUnfitKeys(t *testing.T) {
	k := newToken(t)
	k.createKey("good")
	w := k.open("good")
	_ = w
	r := k.raw()
	for label, change := range map[string][]*hsm.Attribute{
		"CKA_EXTRACTABLE is true": {hsm.NewAttribute(hsm.CKA_EXTRACTABLE, true)},
		"CKA_SENSITIVE is false":  {hsm.NewAttribute(hsm.CKA_SENSITIVE, false)},
		"CKA_ID has 2 bytes":      {hsm.NewAttribute(hsm.CKA_ID, []byte{0, 1})},
		"does not allow":          {hsm.NewAttribute(hsm.CKA_DECRYPT, false)},
		"it has 16 bytes, not 32": {hsm.NewAttribute(hsm.CKA_VALUE_LEN, 16)},
		"same CKA_ID":             {hsm.NewAttribute(hsm.CKA_ID, []byte("12345678"))},
		"several keys have":       nil,
	} {
		t.Run(label, func(t *testing.T) {
			r.generate(label, change...)
			o := k.options
			o.Key = label
			if label == "several keys have" {
				r.generate(label)
			}
			if label == "same CKA_ID" {
				o.OlderKeys = []string{"other"}
				r.generate("other", change...)
			}
			_, err := pkcs11.Open(t.Context(), o)
			wantCause(t, err, kms.ErrWrongKey)
			if !errors.Is(err, pkcs11.ErrUnfitKey) || !strings.Contains(err.Error(), label) {
				t.Errorf("got %v, want %q", err, label)
			}
		})
	}
}

// generate makes a key that is fit but for the change.
func (r raw) generate(label string, change ...*hsm.Attribute) {
	r.t.Helper()
	template := []*hsm.Attribute{
		hsm.NewAttribute(hsm.CKA_TOKEN, true), hsm.NewAttribute(hsm.CKA_LABEL, label), hsm.NewAttribute(hsm.CKA_ID, []byte(fmt.Sprintf("%016x", len(label)))),
		hsm.NewAttribute(hsm.CKA_VALUE_LEN, 32), hsm.NewAttribute(hsm.CKA_SENSITIVE, true), hsm.NewAttribute(hsm.CKA_EXTRACTABLE, false),
		hsm.NewAttribute(hsm.CKA_ENCRYPT, true), hsm.NewAttribute(hsm.CKA_DECRYPT, true),
	}
	for _, c := range change {
		for i := range template {
			if template[i].Type == c.Type {
				template[i] = c
			}
		}
	}
	s := r.session()
	_, err := r.GenerateKey(s, []*hsm.Mechanism{hsm.NewMechanism(hsm.CKM_AES_KEY_GEN, nil)}, template)
	r.must(err)
	r.must(r.CloseSession(s))
}

func TestCreateKey(t *testing.T) {
	k := newToken(t)
	id := k.createKey("first")
	if _, err := pkcs11.CreateKey(t.Context(), k.options); !secret.HasCode(err, secret.CodeExists) {
		t.Errorf("second key of that label: %v", err)
	}
	if got := k.open("first").Describe().ActiveKey; got != id {
		t.Errorf("opened %q, made %q", got, id)
	}
	r := k.raw()
	s := r.session()
	value, err := r.GetAttributeValue(s, r.find("first"), []*hsm.Attribute{hsm.NewAttribute(hsm.CKA_VALUE, nil)})
	if !errors.Is(err, hsm.Error(hsm.CKR_ATTRIBUTE_SENSITIVE)) {
		t.Errorf("the HSM gives the key away: %d attributes, %v", len(value), err)
	}
	k.setPIN("wrong pin")
	r.must(r.CloseAllSessions(r.slot()))
	if _, err := pkcs11.CreateKey(t.Context(), k.options); !errors.Is(err, pkcs11.ErrLogin) || !errors.Is(err, kms.ErrFault) {
		t.Errorf("with a wrong PIN: %v", err)
	}
}

func TestWaitsForASessionNoLongerThanItsCaller(t *testing.T) {
	k := newToken(t)
	k.createKey("first")
	k.options.Sessions = 1
	w := k.open("first")
	give := pkcs11.TakeSessions(w)
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	go func() {
		_, err := w.Wrap(ctx, plaintext, aad)
		waited <- err
	}()
	cancel()
	if err := <-waited; !errors.Is(err, context.Canceled) || errors.Is(err, kms.ErrFault) {
		t.Errorf("got %v, want the context's error", err)
	}
	give()
	wantPlaintext(t, w, wrap(t, w))
}

// codeOf is the code that belongs to the cause of an error.
func codeOf(err error) secret.Code {
	if errors.Is(err, kms.ErrWrongKey) {
		return secret.CodeWrongKey
	}
	return secret.CodeKeyUnavailable
}
