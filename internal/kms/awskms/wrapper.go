package awskms

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/remote"
)

// lookAfter is how long the description of the active key is used before Unwrap
// looks again, so that an alias that points elsewhere is noticed.
const lookAfter = time.Minute

// contextKey names the one entry of the encryption context, whose value is the
// binding in hex: 64 bytes. AWS writes it to its audit log.
const contextKey = "lifeboat"

// Wrapper is safe for concurrent use. The IDs of its master keys are ARNs of
// keys. It does not retry.
type Wrapper struct {
	client    *awskms.Client
	transport *http.Transport
	calls     *remote.Calls
	now       func() time.Time
	key       string
	older     []string

	mu     sync.Mutex
	active arn.ARN
	looked time.Time
}

var _ kms.Wrapper = (*Wrapper)(nil)

// Open asks the service for the active key. Errors: secret.CodeInvalid,
// kms.ErrFault (ErrCredentials), kms.ErrWrongKey for a key that is missing,
// forbidden, disabled or unfit (ErrUnfitKey), and the context's.
func Open(ctx context.Context, o Options) (*Wrapper, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	w := &Wrapper{calls: remote.NewCalls(Driver, o.Timeout), now: o.Now, key: o.Key, older: o.OlderKeys}
	err := w.calls.Do(ctx, func(ctx context.Context) (err error) {
		if w.client, w.transport, err = o.client(ctx); err != nil {
			return err
		}
		return w.look(ctx)
	})
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Describe says that the driver is for production.
func (w *Wrapper) Describe() kms.Description {
	return kms.Description{Driver: Driver, ActiveKey: w.current().String(), Production: true}
}

func (w *Wrapper) current() arn.ARN {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.active
}

// Wrap implements kms.Wrapper.
func (w *Wrapper) Wrap(ctx context.Context, plaintext, aad []byte) (kms.Wrapped, error) {
	return w.WrapUnder(ctx, "", plaintext, aad)
}

// MasterKey implements kms.Wrapper.
func (w *Wrapper) MasterKey(ctx context.Context, name string) (id string, err error) {
	err = w.calls.Do(ctx, func(ctx context.Context) error {
		id, err = w.find(ctx, name)
		return err
	})
	return id, err
}

// find asks which key a name is of, which of the active one if it is empty. A key
// that Unwrap would not take is kms.ErrWrongKey.
func (w *Wrapper) find(ctx context.Context, name string) (string, error) {
	if name == "" || name == w.key {
		err := w.look(ctx)
		return w.current().String(), err
	}
	found, err := w.describe(ctx, name)
	if err != nil {
		return "", w.judge(ctx, name, err)
	}
	if id := found.String(); w.allowed(id) {
		return id, nil
	}
	return "", kms.WrongKey(Driver, name, errors.New("it is of another account or region, and not among the older keys"))
}

// WrapUnder implements kms.Wrapper. It first asks which key that is.
func (w *Wrapper) WrapUnder(ctx context.Context, name string, plaintext, aad []byte) (wrapped kms.Wrapped, err error) {
	if err := kms.CheckPlaintext(plaintext); err != nil {
		return kms.Wrapped{}, err
	}
	err = w.calls.Do(ctx, func(ctx context.Context) error {
		id, err := w.find(ctx, name)
		if err != nil {
			return err
		}
		out, err := w.client.Encrypt(ctx, &awskms.EncryptInput{
			KeyId: &id, Plaintext: plaintext, EncryptionContext: encryptionContext(id, aad),
		})
		if err != nil {
			return w.judge(ctx, id, err)
		}
		if aws.ToString(out.KeyId) != id || len(out.CiphertextBlob) == 0 {
			return fmt.Errorf("asked for %q, the service encrypted %d bytes with %q", id, len(out.CiphertextBlob), aws.ToString(out.KeyId))
		}
		wrapped = kms.SealEnvelope(id, aad, out.CiphertextBlob)
		return nil
	})
	return wrapped, err
}

// Unwrap implements kms.Wrapper.
func (w *Wrapper) Unwrap(ctx context.Context, wrapped kms.Wrapped, aad []byte) (plaintext []byte, err error) {
	if err := kms.Cancelled(ctx); err != nil {
		return nil, err
	}
	ciphertext, err := kms.OpenEnvelope(wrapped, aad)
	if err != nil {
		return nil, err
	}
	err = w.calls.Do(ctx, func(ctx context.Context) (err error) {
		w.lookOnceInAWhile(ctx)
		if !w.allowed(wrapped.MasterKey) {
			return kms.WrongKey(Driver, wrapped.MasterKey, errors.New("it is of another account or region"))
		}
		plaintext, err = w.decrypt(ctx, wrapped.MasterKey, ciphertext, aad)
		return err
	})
	return plaintext, err
}

func (w *Wrapper) decrypt(ctx context.Context, id string, ciphertext, aad []byte) ([]byte, error) {
	out, err := w.client.Decrypt(ctx, &awskms.DecryptInput{
		KeyId: &id, CiphertextBlob: ciphertext, EncryptionContext: encryptionContext(id, aad),
	})
	switch {
	case hasCode(err, codesTampered...):
		return nil, kms.Tampered(id) // an ARN means one key for ever
	case err != nil:
		return nil, w.judge(ctx, id, err)
	case aws.ToString(out.KeyId) != id || kms.CheckPlaintext(out.Plaintext) != nil:
		clear(out.Plaintext)
		return nil, fmt.Errorf("asked for %q, the service decrypted %d bytes with %q", id, len(out.Plaintext), aws.ToString(out.KeyId))
	}
	return out.Plaintext, nil
}

func encryptionContext(masterKey string, aad []byte) map[string]string {
	return map[string]string{contextKey: hex.EncodeToString(kms.Binding(masterKey, aad))}
}

// allowed keeps whoever can write data keys from making the region use keys of
// theirs.
func (w *Wrapper) allowed(masterKey string) bool {
	a, ok := keyARN(masterKey)
	active := w.current()
	return ok && a.Partition == active.Partition && a.Region == active.Region && a.AccountID == active.AccountID ||
		slices.Contains(w.older, masterKey)
}

// look asks which key is the active one.
func (w *Wrapper) look(ctx context.Context) error {
	now := w.now()
	active, err := w.describe(ctx, w.key)
	if err != nil {
		return w.judge(ctx, w.key, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active, w.looked = active, now
	return nil
}

// lookOnceInAWhile leaves an error to the call that follows.
func (w *Wrapper) lookOnceInAWhile(ctx context.Context) {
	w.mu.Lock()
	old := w.now().Sub(w.looked) >= lookAfter
	w.mu.Unlock()
	if old {
		_ = w.look(ctx)
	}
}

func (w *Wrapper) describe(ctx context.Context, key string) (arn.ARN, error) {
	out, err := w.client.DescribeKey(ctx, &awskms.DescribeKeyInput{KeyId: &key})
	if err != nil {
		return arn.ARN{}, err
	}
	if out.KeyMetadata == nil {
		return arn.ARN{}, errors.New("the service describes nothing")
	}
	if err := stateError(key, out.KeyMetadata); err != nil {
		return arn.ARN{}, err
	}
	a, ok := keyARN(aws.ToString(out.KeyMetadata.Arn))
	if !ok {
		return arn.ARN{}, fmt.Errorf("the service says %q for an ARN", aws.ToString(out.KeyMetadata.Arn))
	}
	return a, nil
}

// Close ends the requests under way and the connections.
func (w *Wrapper) Close() error {
	w.calls.Close()
	if w.transport != nil {
		w.transport.CloseIdleConnections()
	}
	return nil
}
