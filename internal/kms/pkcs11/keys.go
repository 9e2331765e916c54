//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	hsm "github.com/miekg/pkcs11"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// key is a master key in the HSM; the handle is good for one connection.
type key struct {
	id     string
	handle hsm.ObjectHandle
}

const idBytes = 16

func keyID(cka []byte) string { return "pkcs11-" + hex.EncodeToString(cka) }

// errNoKey means that no key has a label.
var errNoKey = errors.New("there is no such AES key")

// findKey returns the key of a label. Errors: errNoKey, ErrUnfitKey, and the
// HSM's.
func (m *module) findKey(session hsm.SessionHandle, label string) (key, error) {
	handles, err := m.find(session, hsm.NewAttribute(hsm.CKA_LABEL, label))
	switch {
	case err != nil:
		return key{}, err
	case len(handles) == 0:
		return key{}, fmt.Errorf("%w: label %q", errNoKey, label)
	case len(handles) > 1:
		return key{}, fmt.Errorf("%w: several keys have the label %q", ErrUnfitKey, label)
	}
	id, err := m.keyFitness(session, handles[0])
	if err != nil {
		return key{}, fmt.Errorf("key with the label %q: %w", label, err)
	}
	return key{id: id, handle: handles[0]}, nil
}

// findByID returns the key of the ID of a master key. Errors: those of findKey.
func (m *module) findByID(session hsm.SessionHandle, id string) (key, error) {
	text, ok := strings.CutPrefix(id, "pkcs11-")
	cka, err := hex.DecodeString(text)
	if !ok || err != nil || len(cka) < MinIDBytes {
		return key{}, fmt.Errorf("%w: %q is no ID of this driver", errNoKey, id)
	}
	handles, err := m.find(session, hsm.NewAttribute(hsm.CKA_ID, cka))
	switch {
	case err != nil:
		return key{}, err
	case len(handles) == 0:
		return key{}, fmt.Errorf("%w with that CKA_ID", errNoKey)
	case len(handles) > 1:
		return key{}, fmt.Errorf("%w: several keys have that CKA_ID", ErrUnfitKey)
	}
	if _, err := m.keyFitness(session, handles[0]); err != nil {
		return key{}, err
	}
	return key{id: id, handle: handles[0]}, nil
}

// find returns at most two keys with an attribute.
func (m *module) find(session hsm.SessionHandle, attribute *hsm.Attribute) (_ []hsm.ObjectHandle, err error) {
	if err := m.FindObjectsInit(session, []*hsm.Attribute{
		hsm.NewAttribute(hsm.CKA_CLASS, hsm.CKO_SECRET_KEY),
		hsm.NewAttribute(hsm.CKA_KEY_TYPE, hsm.CKK_AES),
		hsm.NewAttribute(hsm.CKA_TOKEN, true),
		attribute,
	}); err != nil {
		return nil, fmt.Errorf("cannot look for keys: %w", err)
	}
	handles, _, err := m.FindObjects(session, 2)
	if err := errors.Join(err, m.FindObjectsFinal(session)); err != nil {
		return nil, fmt.Errorf("cannot look for keys: %w", err)
	}
	return handles, nil
}

// keyFitness returns the ID of the key, or ErrUnfitKey.
func (m *module) keyFitness(session hsm.SessionHandle, handle hsm.ObjectHandle) (string, error) {
	attributes, err := m.GetAttributeValue(session, handle, []*hsm.Attribute{
		hsm.NewAttribute(hsm.CKA_ID, nil),
		hsm.NewAttribute(hsm.CKA_ENCRYPT, nil),
		hsm.NewAttribute(hsm.CKA_DECRYPT, nil),
		hsm.NewAttribute(hsm.CKA_SENSITIVE, nil),
		hsm.NewAttribute(hsm.CKA_EXTRACTABLE, nil),
		hsm.NewAttribute(hsm.CKA_VALUE_LEN, nil),
	})
	if err != nil {
		return "", fmt.Errorf("cannot read its attributes: %w", err)
	}
	id := attributes[0].Value
	is := func(i int) bool { return len(attributes[i].Value) > 0 && attributes[i].Value[0] != 0 }
	switch {
	case len(id) < MinIDBytes || len(id) > maxLabelBytes:
		return "", fmt.Errorf("%w: CKA_ID has %d bytes, not %d to %d", ErrUnfitKey, len(id), MinIDBytes, maxLabelBytes)
	case !is(1) || !is(2):
		return "", fmt.Errorf("%w: it does not allow encryption and decryption", ErrUnfitKey)
	case !is(3):
		return "", fmt.Errorf("%w: CKA_SENSITIVE is false", ErrUnfitKey)
	case is(4):
		return "", fmt.Errorf("%w: CKA_EXTRACTABLE is true", ErrUnfitKey)
	case ulong(attributes[5].Value) != 32:
		return "", fmt.Errorf("%w: it has %d bytes, not 32", ErrUnfitKey, ulong(attributes[5].Value))
	}
	return keyID(id), nil
}

// ulong decodes a CK_ULONG, which has the machine's size and order.
func ulong(b []byte) uint64 {
	var full [8]byte
	if len(b) > len(full) {
		return 0
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		copy(full[:], b)
	} else {
		copy(full[len(full)-len(b):], b)
	}
	return binary.NativeEndian.Uint64(full[:])
}

// CreateKey makes the AES-256 key o.Key in the HSM, sensitive and not
// extractable, with a random CKA_ID, and returns the ID of the master key. It
// never replaces: a key of that label is an error (secret.CodeExists). Errors:
// also secret.CodeInvalid, kms.ErrFault, and the context's.
func CreateKey(ctx context.Context, o Options) (string, error) {
	if err := o.check(); err != nil {
		return "", err
	}
	if err := kms.Cancelled(ctx); err != nil {
		return "", err
	}
	m, err := modules.use(o.Module)
	if err != nil {
		return "", kms.Fault(Driver, err)
	}
	id, err := m.createKey(o)
	if err = errors.Join(err, modules.release(m)); err == nil {
		return id, nil
	}
	if secret.HasCode(err, secret.CodeExists) {
		return "", err
	}
	return "", kms.Fault(Driver, err)
}

func (m *module) createKey(o Options) (_ string, err error) {
	t := token{module: m, label: o.Token, pinFile: o.PINFile}
	_, session, err := t.connect()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, m.CloseSession(session)) }()
	switch handles, err := m.find(session, hsm.NewAttribute(hsm.CKA_LABEL, o.Key)); {
	case err != nil:
		return "", err
	case len(handles) > 0:
		return "", secret.Errorf(secret.CodeExists, "a key with the label %q is in the token already", o.Key).
			WithHint("use it, or name another label; a key is never replaced")
	}
	cka := make([]byte, idBytes)
	_, _ = rand.Read(cka) // never fails
	if _, err := m.GenerateKey(session, []*hsm.Mechanism{hsm.NewMechanism(hsm.CKM_AES_KEY_GEN, nil)}, []*hsm.Attribute{
		hsm.NewAttribute(hsm.CKA_CLASS, hsm.CKO_SECRET_KEY),
		hsm.NewAttribute(hsm.CKA_KEY_TYPE, hsm.CKK_AES),
		hsm.NewAttribute(hsm.CKA_VALUE_LEN, 32),
		hsm.NewAttribute(hsm.CKA_LABEL, o.Key),
		hsm.NewAttribute(hsm.CKA_ID, cka),
		hsm.NewAttribute(hsm.CKA_TOKEN, true),
		hsm.NewAttribute(hsm.CKA_PRIVATE, true),
		hsm.NewAttribute(hsm.CKA_SENSITIVE, true),
		hsm.NewAttribute(hsm.CKA_EXTRACTABLE, false),
		hsm.NewAttribute(hsm.CKA_ENCRYPT, true),
		hsm.NewAttribute(hsm.CKA_DECRYPT, true),
		hsm.NewAttribute(hsm.CKA_WRAP, false),
		hsm.NewAttribute(hsm.CKA_UNWRAP, false),
	}); err != nil {
		return "", fmt.Errorf("cannot generate a key: %w", err)
	}
	return keyID(cka), nil
}
