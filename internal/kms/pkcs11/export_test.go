//go:build pkcs11 && cgo

package pkcs11

import "github.com/lifeboat-secrets/lifeboat/internal/kms"

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
