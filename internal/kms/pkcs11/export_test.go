//go:build pkcs11 && cgo

package pkcs11

import (
	hsm "github.com/miekg/pkcs11"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
)

// TakeSessions is as if all sessions were in use until the returned function is
// called.
func TakeSessions(k kms.Wrapper) func() {
	w := k.(*wrapper)
	for range cap(w.permits) {
		w.permits <- struct{}{}
	}
	return func() {
		for range cap(w.permits) {
			<-w.permits
		}
	}
}

// TakeSession takes one session as an operation does; release ends the
// operation.
func TakeSession(k kms.Wrapper) (_ hsm.SessionHandle, release func(), _ error) {
	w := k.(*wrapper)
	s, err := w.acquire()
	return s.handle, func() { w.release(s, nil) }, err
}
