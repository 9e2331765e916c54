//go:build pkcs11 && cgo

package pkcs11

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"

	hsm "github.com/miekg/pkcs11"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/credential"
)

// token is a token of a loaded library. Login is a state of the whole process,
// so connecting is serialized by the mutex.
type token struct {
	module  *module
	label   string
	pinFile string

	mu      sync.Mutex
	refused [sha256.Size]byte // digest of the PIN that was refused last
}

// connect finds the token, opens a session and logs in.
func (t *token) connect() (slot uint, _ hsm.SessionHandle, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slot, err = t.slot(); err != nil {
		return 0, 0, err
	}
	session, err := t.module.OpenSession(slot, hsm.CKF_SERIAL_SESSION|hsm.CKF_RW_SESSION)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot open a session: %w", err)
	}
	if err := t.login(session); err != nil {
		_ = t.module.CloseSession(session)
		return 0, 0, err
	}
	return slot, session, nil
}

// slot returns the slot of the token, which may change when an HSM restarts.
func (t *token) slot() (uint, error) {
	slots, err := t.module.GetSlotList(true)
	if isCode(err, hsm.CKR_CRYPTOKI_NOT_INITIALIZED) {
		if err = modules.revive(t.module); err == nil {
			slots, err = t.module.GetSlotList(true)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("cannot list the slots: %w", err)
	}
	var found []uint
	var failure error
	for _, slot := range slots {
		info, err := t.module.GetTokenInfo(slot)
		if err != nil {
			failure = err // of this token, or of another that just left
		} else if strings.TrimRight(info.Label, " \x00") == t.label {
			found = append(found, slot)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return 0, fmt.Errorf("%d tokens have the label %q", len(found), t.label)
	case failure != nil:
		return 0, fmt.Errorf("no token has the label %q: %w", t.label, failure)
	default:
		return 0, fmt.Errorf("no token has the label %q", t.label)
	}
}

func (t *token) login(session hsm.SessionHandle) error {
	if info, err := t.module.GetSessionInfo(session); err == nil &&
		(info.State == hsm.CKS_RW_USER_FUNCTIONS || info.State == hsm.CKS_RO_USER_FUNCTIONS) {
		return nil // another wrapper of the process did
	}
	pin, err := credential.Read(t.pinFile)
	if err != nil {
		return err
	}
	defer clear(pin)
	digest := sha256.Sum256(pin)
	if digest == t.refused {
		return fmt.Errorf("%w; it was refused before and is not tried again, since the HSM would lock", ErrLogin)
	}
	switch err := t.module.Login(session, hsm.CKU_USER, string(pin)); {
	case err == nil || isCode(err, hsm.CKR_USER_ALREADY_LOGGED_IN):
		return nil
	case isCode(err, hsm.CKR_PIN_INCORRECT, hsm.CKR_PIN_INVALID, hsm.CKR_PIN_LEN_RANGE, hsm.CKR_PIN_LOCKED, hsm.CKR_PIN_EXPIRED, hsm.CKR_USER_PIN_NOT_INITIALIZED):
		t.refused = digest
		return fmt.Errorf("%w: %w", ErrLogin, err)
	default:
		return fmt.Errorf("cannot log in: %w", err)
	}
}

func isCode(err error, codes ...uint) bool {
	e, ok := errors.AsType[hsm.Error](err)
	for _, code := range codes {
		if ok && e == hsm.Error(code) {
			return true
		}
	}
	return false
}

// lost reports whether err says that the session, the login or the token is gone,
// or that handles are not valid any more: connecting again may help.
func lost(err error) bool {
	return sessionsGone(err) || isCode(err,
		hsm.CKR_USER_NOT_LOGGED_IN, hsm.CKR_DEVICE_ERROR, hsm.CKR_KEY_HANDLE_INVALID, hsm.CKR_OBJECT_HANDLE_INVALID)
}

// sessionsGone reports whether err says that the HSM has no session any more of
// those that were open.
func sessionsGone(err error) bool {
	return isCode(err,
		hsm.CKR_SESSION_HANDLE_INVALID, hsm.CKR_SESSION_CLOSED, hsm.CKR_CRYPTOKI_NOT_INITIALIZED,
		hsm.CKR_DEVICE_REMOVED, hsm.CKR_TOKEN_NOT_PRESENT, hsm.CKR_TOKEN_NOT_RECOGNIZED, hsm.CKR_SLOT_ID_INVALID)
}

// refusedData reports whether err is how HSMs answer a ciphertext that fails its
// authentication. Some of the codes are also those of faults.
func refusedData(err error) bool {
	return isCode(err,
		hsm.CKR_GENERAL_ERROR, hsm.CKR_FUNCTION_FAILED, hsm.CKR_ENCRYPTED_DATA_INVALID, hsm.CKR_ENCRYPTED_DATA_LEN_RANGE,
		hsm.CKR_DATA_INVALID, hsm.CKR_DATA_LEN_RANGE, hsm.CKR_SIGNATURE_INVALID, ckrAEADDecryptFailed)
}

// ckrAEADDecryptFailed is of PKCS#11 3.0, section 4.3, CKR_AEAD_DECRYPT_FAILED.
const ckrAEADDecryptFailed = 0x00000042

// forbidden reports whether err says that the key may not be used so.
func forbidden(err error) bool {
	return isCode(err, hsm.CKR_KEY_FUNCTION_NOT_PERMITTED, hsm.CKR_KEY_TYPE_INCONSISTENT, hsm.CKR_ACTION_PROHIBITED)
}
