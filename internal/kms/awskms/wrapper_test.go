package awskms_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/awskms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/kmstest"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	plaintext = bytes.Repeat([]byte{7}, 32)
	aad       = []byte("what the key is for")
)

func open(t *testing.T, o awskms.Options) *awskms.Wrapper {
	t.Helper()
	w, err := awskms.Open(t.Context(), o)
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
	if err != nil && strings.Contains(err.Error(), privateKey) {
		t.Errorf("%v has the credentials", err)
	}
}

func TestConformance(t *testing.T) {
	kmstest.Run(t, func(t *testing.T) kms.Wrapper {
		s := newService(t)
		w := open(t, s.options(s.createKey(account)))
		if d := w.Describe(); d.Driver != awskms.Driver || !d.Production {
			t.Errorf("Describe = %+v", d)
		}
		return w
	})
}

func TestNamedKeys(t *testing.T) {
	s := newService(t)
	first, second, foreign := s.createKey(account), s.createKey(account), s.createKey("444455556666")
	s.set(func() { s.aliases["alias/payments"] = second })
	opened := func(t *testing.T) kms.Wrapper { return open(t, s.options(first)) }
	kmstest.Named(t, "alias/payments", opened)
	kmstest.Named(t, second, opened)
	if _, err := opened(t).MasterKey(t.Context(), foreign); !errors.Is(err, kms.ErrWrongKey) {
		t.Errorf("a key of another account: %v", err)
	}
}

func TestAliasThatMoves(t *testing.T) {
	s := newService(t)
	first, second := s.createKey(account), s.createKey(account)
	s.set(func() { s.aliases["alias/lifeboat"] = first })
	now := time.Now()
	o := s.options("alias/lifeboat")
	o.Now = func() time.Time { return now }
	w := open(t, o)
	wrapped := wrap(t, w)
	if wrapped.MasterKey != first {
		t.Errorf("wrapped by %q, the alias is of %q", wrapped.MasterKey, first)
	}
	s.set(func() { s.aliases["alias/lifeboat"] = second })
	now = now.Add(time.Minute)
	wantPlaintext(t, w, wrapped)
	if got := w.Describe().ActiveKey; got != second {
		t.Errorf("the active key is %q, the alias is of %q", got, second)
	}
	s.set(func() { s.aliases["alias/lifeboat"] = first })
	if got := wrap(t, w).MasterKey; got != first {
		t.Errorf("wrapped by %q, the alias is of %q", got, first)
	}
}

func TestKeysOfOtherAccountsMustBeNamed(t *testing.T) {
	s := newService(t)
	mine, other := s.createKey(account), s.createKey("999999999999")
	wrapped := wrap(t, open(t, s.options(other)))
	asked := false
	w := open(t, s.options(mine))
	s.set(func() {
		s.fail = func(action string) (int, string) { asked = asked || action == "Decrypt"; return 0, "" }
	})
	_, err := w.Unwrap(t.Context(), wrapped, aad)
	wantCause(t, err, kms.ErrWrongKey)
	if asked {
		t.Error("the service was asked")
	}
	wantPlaintext(t, open(t, s.options(mine, other)), wrapped)
}

func TestForgedEnvelopeIsTampered(t *testing.T) {
	s := newService(t)
	key, other := s.createKey(account), s.createKey(account)
	w := open(t, s.options(key))
	good, err := kms.OpenEnvelope(wrap(t, w), aad)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := kms.OpenEnvelope(wrap(t, open(t, s.options(other))), aad)
	if err != nil {
		t.Fatal(err)
	}
	for _, forged := range [][]byte{[]byte("x"), good[:len(good)-1], foreign} {
		_, err := w.Unwrap(t.Context(), kms.SealEnvelope(key, aad, forged), aad)
		wantCause(t, err, kms.ErrTampered)
	}
	_, err = w.Unwrap(t.Context(), kms.SealEnvelope(key, []byte("other"), good), []byte("other"))
	wantCause(t, err, kms.ErrTampered)
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *service, key *serviceKey)
		want   error
		also   error
	}{
		"denied":              {func(s *service, _ *serviceKey) { s.denied = deny("Encrypt", "Decrypt", "DescribeKey") }, kms.ErrWrongKey, nil},
		"disabled":            {state("Disabled"), kms.ErrWrongKey, nil},
		"to be deleted":       {state("PendingDeletion"), kms.ErrWrongKey, nil},
		"key store away":      {state("Unavailable"), kms.ErrFault, nil},
		"deleted":             {func(s *service, _ *serviceKey) { clear(s.keys) }, kms.ErrWrongKey, nil},
		"unknown access key":  {func(s *service, _ *serviceKey) { s.credentials.AccessKeyID = "AKIDOTHER" }, kms.ErrFault, awskms.ErrCredentials},
		"wrong private key":   {func(s *service, _ *serviceKey) { s.credentials.SecretAccessKey = "other" }, kms.ErrFault, awskms.ErrCredentials},
		"expired token":       {always(400, "ExpiredTokenException"), kms.ErrFault, awskms.ErrCredentials},
		"throttled":           {always(400, "ThrottlingException"), kms.ErrFault, nil},
		"limit":               {always(400, "LimitExceededException"), kms.ErrFault, nil},
		"internal":            {always(500, "KMSInternalException"), kms.ErrFault, nil},
		"key not at hand":     {always(500, "KeyUnavailableException"), kms.ErrFault, nil},
		"timeout inside":      {always(503, "DependencyTimeoutException"), kms.ErrFault, nil},
		"a code to come":      {always(400, "BrandNewException"), kms.ErrFault, nil},
		"service unavailable": {always(503, ""), kms.ErrFault, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			key := s.createKey(account)
			w := open(t, s.options(key))
			wrapped := wrap(t, w)
			s.set(func() { c.change(s, s.keys[key]) })
			_, wrapErr := w.Wrap(t.Context(), plaintext, aad)
			_, unwrapErr := w.Unwrap(t.Context(), wrapped, aad)
			_, openErr := awskms.Open(t.Context(), s.options(key))
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

func deny(actions ...string) map[string]bool {
	denied := map[string]bool{}
	for _, a := range actions {
		denied[a] = true
	}
	return denied
}

func state(state string) func(*service, *serviceKey) {
	return func(_ *service, k *serviceKey) { k.state = state }
}

func always(status int, code string) func(*service, *serviceKey) {
	return func(s *service, _ *serviceKey) { s.fail = func(string) (int, string) { return status, code } }
}

func TestUnfitKeys(t *testing.T) {
	for name, change := range map[string]func(*serviceKey){
		"asymmetric":  func(k *serviceKey) { k.spec = "RSA_4096" },
		"for signing": func(k *serviceKey) { k.usage = "SIGN_VERIFY" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			key := s.createKey(account)
			s.set(func() { change(s.keys[key]) })
			_, err := awskms.Open(t.Context(), s.options(key))
			wantCause(t, err, kms.ErrWrongKey)
			if !errors.Is(err, awskms.ErrUnfitKey) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	s := newService(t)
	key := s.createKey(account)

	o := s.options(key)
	o.CredentialsFile = filepath.Join(s.dir, "none")
	_, err := awskms.Open(t.Context(), o)
	wantCause(t, err, kms.ErrFault)
	if !errors.Is(err, awskms.ErrCredentials) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}

	o = s.options(key)
	o.Profile = "none"
	if _, err = awskms.Open(t.Context(), o); !errors.Is(err, awskms.ErrCredentials) {
		t.Errorf("without the profile: %v", err)
	}

	s.writeCredentials("AKIDSESSION", "private", "token")
	s.set(func() {
		s.credentials.AccessKeyID, s.credentials.SecretAccessKey, s.credentials.SessionToken = "AKIDSESSION", "private", "token"
	})
	w := open(t, s.options(key))
	wantPlaintext(t, w, wrap(t, w))

	if err := os.Chmod(filepath.Join(s.dir, "credentials"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err = awskms.Open(t.Context(), s.options(key)); !errors.Is(err, awskms.ErrCredentials) {
		t.Errorf("with a file that all may read: %v", err)
	}
}

func TestDefaultChain(t *testing.T) {
	s := newService(t)
	key := s.createKey(account)
	o := s.options(key)
	o.CredentialsFile, o.Region = "", ""
	_, err := awskms.Open(t.Context(), o)
	wantCause(t, err, kms.ErrFault)
	if !errors.Is(err, awskms.ErrCredentials) {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", privateKey)
	w := open(t, o) // with the region of the ARN
	wantPlaintext(t, w, wrap(t, w))

	o.Key = "alias/lifeboat"
	if _, err := awskms.Open(t.Context(), o); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("without a region: %v", err)
	}
	t.Setenv("AWS_REGION", region)
	s.set(func() { s.aliases["alias/lifeboat"] = key })
	if got := open(t, o).Describe().ActiveKey; got != key {
		t.Errorf("the active key is %q", got)
	}
}

func TestSilentServiceIsAFault(t *testing.T) {
	s := newService(t)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices a closed connection only then
		<-r.Context().Done()
	}))
	defer silent.Close()
	o := s.options(s.createKey(account))
	o.Endpoint, o.Timeout = silent.URL, 50*time.Millisecond
	_, err := awskms.Open(t.Context(), o)
	wantCause(t, err, kms.ErrFault)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	good := awskms.Options{Key: arn}
	for field, changes := range map[string][]func(*awskms.Options){
		"key":        {func(o *awskms.Options) { o.Key = "" }, func(o *awskms.Options) { o.Key = strings.Repeat("x", 2049) }},
		"older_keys": {func(o *awskms.Options) { o.OlderKeys = slices.Repeat([]string{arn}, 101) }},
		"older_keys[0]": {
			func(o *awskms.Options) { o.OlderKeys = []string{"alias/old"} },
			func(o *awskms.Options) { o.OlderKeys = []string{strings.Replace(arn, "central", "west", 1)} },
		},
		"endpoint": {func(o *awskms.Options) { o.Endpoint = "http://kms.example" }},
		"timeout":  {func(o *awskms.Options) { o.Timeout = time.Hour }},
	} {
		for _, change := range changes {
			o := good
			change(&o)
			_, err := awskms.Open(t.Context(), o)
			if e, ok := errors.AsType[*secret.Error](err); !ok || e.Code != secret.CodeInvalid || e.Field != field {
				t.Errorf("%s: got %v", field, err)
			}
		}
	}
}

// codeOf is the code that belongs to the cause of an error.
func codeOf(err error) secret.Code {
	if errors.Is(err, kms.ErrWrongKey) {
		return secret.CodeWrongKey
	}
	return secret.CodeKeyUnavailable
}
