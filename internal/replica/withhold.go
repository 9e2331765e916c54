package replica

import (
	"bytes"
	"fmt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// identityPrefixes are of the records that decide who may do what. The older
// copy of one in quarantine is not served: the state that could not be applied
// may be a revocation.
func identityPrefixes() [8]string {
	return [8]string{
		record.CredentialPrefix, record.PrincipalPrefix, record.PolicyPrefix, record.AccountPrefix,
		record.TrustPrefix, record.BindingPrefix, record.IssuerPrefix, record.IssuerKeysPrefix,
	}
}

func isIdentity(key record.Key) bool {
	for _, prefix := range identityPrefixes() {
		if key.HasPrefix(prefix) {
			return true
		}
	}
	return false
}

// withheld returns an error if the record is of an identity and in quarantine.
func (v *view) withheld(key record.Key) (err error) {
	if !v.snapshot.quarantines || !isIdentity(key) {
		return nil
	}
	defer v.recovered(&err)
	if v.snapshot.quarantine.Get([]byte(key)) != nil {
		return errWithheld(key)
	}
	return nil
}

// withheldIn is withheld for the records with start <= key < end; an empty end
// means no end.
func (v *view) withheldIn(start, end record.Key) (err error) {
	if !v.snapshot.quarantines {
		return nil
	}
	defer v.recovered(&err)
	c := v.snapshot.quarantine.Cursor()
	for _, prefix := range identityPrefixes() {
		from, to := max(start, record.Key(prefix)), record.PrefixEnd(prefix)
		if end != "" {
			to = min(to, end)
		}
		if k, _ := c.Seek([]byte(from)); k != nil && bytes.Compare(k, []byte(to)) < 0 {
			return errWithheld(record.Key(k))
		}
	}
	return nil
}

func errWithheld(key record.Key) error {
	return secret.Errorf(secret.CodeCorrupt, "the newest state of record %q is in quarantine", key).
		WithHint(fmt.Sprintf("upgrade this host if a newer release wrote the record; else retry it: lifeboat operator retry %s", key))
}
