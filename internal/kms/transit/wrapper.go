package transit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/remote"
)

// lookAfter is how long the description of the keys is used before Unwrap looks
// again, so that a rotation inside the service is noticed.
const lookAfter = time.Minute

// Wrapper is safe for concurrent use. Its master keys are versions of keys; the
// ciphertext it puts into envelopes is the service's text. It does not retry.
type Wrapper struct {
	client *client
	calls  *remote.Calls
	now    func() time.Time
	names  []string // the active key's first

	mu     sync.Mutex
	active keyVersion
	known  map[string]keyVersion // by ID
	named  map[string]keyVersion // those of other names, by ID
	looked time.Time
}

var (
	_ kms.Wrapper = (*Wrapper)(nil)
	_ kms.Rotator = (*Wrapper)(nil)
)

// Open asks the service for the keys and makes sure that it honours associated
// data. Errors: secret.CodeInvalid, kms.ErrFault (ErrToken,
// ErrNoAssociatedData), kms.ErrWrongKey for a key that is missing, forbidden or
// unfit (ErrUnfitKey), and the context's.
func Open(ctx context.Context, o Options) (*Wrapper, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	h, err := o.client()
	if err != nil {
		return nil, err
	}
	w := &Wrapper{
		client: &client{http: h, options: o}, calls: remote.NewCalls(Driver, o.Timeout),
		now: o.Now, names: o.names(), named: map[string]keyVersion{},
	}
	err = w.calls.Do(ctx, func(ctx context.Context) error {
		if err := w.look(ctx, true); err != nil {
			return err
		}
		return w.probe(ctx, w.current())
	})
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Describe says that the driver is for production.
func (w *Wrapper) Describe() kms.Description {
	return kms.Description{Driver: Driver, ActiveKey: w.current().id, Production: true}
}

func (w *Wrapper) current() keyVersion {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.active
}

// Wrap implements kms.Wrapper.
func (w *Wrapper) Wrap(ctx context.Context, plaintext, aad []byte) (kms.Wrapped, error) {
	return w.WrapUnder(ctx, "", plaintext, aad)
}

// WrapUnder implements kms.Wrapper. It first asks for the latest version of the
// key.
func (w *Wrapper) WrapUnder(ctx context.Context, name string, plaintext, aad []byte) (wrapped kms.Wrapped, err error) {
	if err := kms.CheckPlaintext(plaintext); err != nil {
		return kms.Wrapped{}, err
	}
	err = w.calls.Do(ctx, func(ctx context.Context) error {
		key, err := w.latest(ctx, name)
		if err != nil {
			return err
		}
		ciphertext, err := w.client.encrypt(ctx, key, plaintext, kms.Binding(key.id, aad))
		if err != nil {
			return w.judge(ctx, key.id, err)
		}
		wrapped = kms.SealEnvelope(key.id, aad, []byte(ciphertext))
		return nil
	})
	return wrapped, err
}

// MasterKey implements kms.Wrapper.
func (w *Wrapper) MasterKey(ctx context.Context, name string) (id string, err error) {
	err = w.calls.Do(ctx, func(ctx context.Context) error {
		key, err := w.latest(ctx, name)
		id = key.id
		return err
	})
	return id, err
}

// RotateMasterKey implements kms.Rotator. Its token also needs "update" on
// <mount>/keys/<key>/rotate.
func (w *Wrapper) RotateMasterKey(ctx context.Context, name string) (id string, err error) {
	err = w.calls.Do(ctx, func(ctx context.Context) error {
		key, err := w.latest(ctx, name)
		if err != nil {
			return err
		}
		if err := w.client.rotate(ctx, key.name); err != nil {
			return w.judge(ctx, key.id, err)
		}
		if key, err = w.latest(ctx, name); err == nil {
			id = key.id
		}
		return err
	})
	return id, err
}

// latest asks for the latest version of a key, of the active one if name is empty.
func (w *Wrapper) latest(ctx context.Context, name string) (keyVersion, error) {
	if name == "" || name == w.names[0] {
		if err := w.look(ctx, false); err != nil {
			return keyVersion{}, err
		}
		return w.current(), nil
	}
	if checkName("key", name) != nil {
		return keyVersion{}, kms.WrongKey(Driver, name, nil)
	}
	k, err := w.learn(ctx, name)
	if err != nil {
		return keyVersion{}, err
	}
	return k.latest, nil
}

// learn asks for a key by its name, and remembers its versions.
func (w *Wrapper) learn(ctx context.Context, name string) (*key, error) {
	k, err := w.client.key(ctx, name)
	if errors.Is(err, ErrUnfitKey) {
		err = kms.WrongKey(Driver, name, err)
	}
	if err != nil {
		return nil, w.judge(ctx, name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range k.versions {
		w.named[v.id] = v
	}
	return k, nil
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
		key, err := w.find(ctx, wrapped.MasterKey)
		if err != nil {
			return err
		}
		plaintext, err = w.decrypt(ctx, key, string(ciphertext), kms.Binding(key.id, aad))
		return err
	})
	return plaintext, err
}

// decrypt tells apart why the service does not decrypt. It answers a forged
// ciphertext with status 400 or 500, depending on its release, as it does faults
// of its own. So kms.ErrTampered takes that it has the key, that it decrypts
// something else and that it then refuses the ciphertext once more.
func (w *Wrapper) decrypt(ctx context.Context, key keyVersion, ciphertext string, binding []byte) ([]byte, error) {
	plaintext, err := w.client.decrypt(ctx, key.name, ciphertext, binding)
	if !refusedData(err) {
		return plaintext, w.judge(ctx, key.id, err)
	}
	k, lookErr := w.learn(ctx, key.name)
	if lookErr != nil {
		return nil, lookErr
	}
	if !slices.Contains(k.versions, key) {
		return nil, kms.WrongKey(Driver, key.id, err)
	}
	if err := w.probe(ctx, k.latest); err != nil {
		return nil, err
	}
	plaintext, err = w.client.decrypt(ctx, key.name, ciphertext, binding)
	if refusedData(err) {
		return nil, kms.Tampered(key.id)
	}
	return plaintext, w.judge(ctx, key.id, err)
}

func refusedData(err error) bool {
	return refusedWith(err, http.StatusBadRequest, http.StatusInternalServerError)
}

// probe returns an error unless the service decrypts what it encrypted, and only
// with the same associated data.
func (w *Wrapper) probe(ctx context.Context, key keyVersion) error {
	want, data := []byte("lifeboat probe"), []byte("associated data")
	ciphertext, err := w.client.encrypt(ctx, key, want, data)
	if err != nil {
		return w.judge(ctx, key.id, err)
	}
	got, err := w.client.decrypt(ctx, key.name, ciphertext, data)
	switch {
	case err != nil:
		return w.judge(ctx, key.id, err)
	case !bytes.Equal(got, want):
		return errors.New("the service decrypts something other than it encrypted")
	}
	_, err = w.client.decrypt(ctx, key.name, ciphertext, data[:1])
	switch {
	case err == nil:
		return ErrNoAssociatedData
	case refusedData(err):
		return nil
	}
	return w.judge(ctx, key.id, err)
}

// judge makes kms.ErrWrongKey of a refusal that is about the key. Of a token that
// is not accepted it makes ErrToken.
func (w *Wrapper) judge(ctx context.Context, masterKey string, err error) error {
	switch {
	case refusedWith(err, http.StatusNotFound):
		return kms.WrongKey(Driver, masterKey, err)
	case refusedWith(err, http.StatusForbidden):
		if tokenErr := w.client.checkToken(ctx); tokenErr != nil {
			return fmt.Errorf("%w: %w", tokenErr, err)
		}
		return kms.WrongKey(Driver, masterKey, err)
	}
	return err
}

// find returns a master key. For one that it does not know, and once in a while,
// it asks the service.
func (w *Wrapper) find(ctx context.Context, id string) (keyVersion, error) {
	w.mu.Lock()
	old := w.now().Sub(w.looked) >= lookAfter
	w.mu.Unlock()
	key, ok := w.lookup(id)
	if ok && !old {
		return key, nil
	}
	if err := w.look(ctx, false); err != nil {
		return keyVersion{}, err
	}
	if key, ok = w.lookup(id); ok {
		return key, nil
	}
	// A vault may name any key of the engine; the ID of its master key tells it.
	name, ok := nameIn(id, w.client.options.Mount)
	if !ok {
		return keyVersion{}, kms.WrongKey(Driver, id, nil)
	}
	if _, err := w.learn(ctx, name); errors.Is(err, kms.ErrWrongKey) {
		return keyVersion{}, kms.WrongKey(Driver, id, err)
	} else if err != nil {
		return keyVersion{}, err
	}
	if key, ok = w.lookup(id); !ok {
		return keyVersion{}, kms.WrongKey(Driver, id, nil)
	}
	return key, nil
}

func (w *Wrapper) lookup(id string) (keyVersion, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if key, ok := w.known[id]; ok {
		return key, true
	}
	key, ok := w.named[id]
	return key, ok
}

// look asks the service for the keys. An older one that is gone is an error only
// if all are wanted.
func (w *Wrapper) look(ctx context.Context, all bool) error {
	now, known := w.now(), map[string]keyVersion{}
	var active keyVersion
	for i, name := range w.names {
		k, err := w.client.key(ctx, name)
		if errors.Is(err, ErrUnfitKey) {
			err = kms.WrongKey(Driver, name, err)
		}
		err = w.judge(ctx, name, err)
		if errors.Is(err, kms.ErrWrongKey) && i > 0 && !all {
			continue
		}
		if err != nil {
			return err
		}
		if i == 0 {
			active = k.latest
		}
		for _, v := range k.versions {
			known[v.id] = v
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active, w.known, w.looked = active, known, now
	clear(w.named) // they are asked for again when they are used
	return nil
}

// Close ends the requests under way and the connections.
func (w *Wrapper) Close() error {
	w.calls.Close()
	w.client.http.CloseIdleConnections()
	return nil
}
