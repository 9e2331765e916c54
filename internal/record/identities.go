package record

import (
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// identityPrefixes are those of the keys of who may do what in an account, each after
// what it belongs to. Credentials are found by the entries that refer to them.
var identityPrefixes = []string{
	PrincipalPrefix, CredentialOfPrefix, PolicyPrefix, TrustPrefix, BindingPrefix, IssuerPrefix, IssuerKeysPrefix,
}

// IdentityPrefixes returns the prefixes of the keys of who may do what in an account,
// each after what it belongs to. Of a credential it is that of the entry that refers to it.
func IdentityPrefixes(account secret.AccountID) []string {
	prefixes := make([]string, len(identityPrefixes))
	for i, prefix := range identityPrefixes {
		prefixes[i] = prefix + string(account) + "/"
	}
	return prefixes
}

// IdentityKeys returns the keys of the records of who may do what in an account, each
// after what it belongs to. Errors: those of the view and of decoding.
func IdentityKeys(view View, account secret.AccountID) (keys []Key, err error) {
	for _, prefix := range IdentityPrefixes(account) {
		var inner error
		err := view.Scan(Key(prefix), PrefixEnd(prefix), func(stored Stored) bool {
			key := stored.Key
			if key.HasPrefix(CredentialOfPrefix) {
				var id string
				if id, inner = DecodeReference(stored.Value); inner != nil {
					return false
				}
				key = CredentialKey(secret.CredentialID(id))
			}
			keys = append(keys, key)
			return true
		})
		if err = errors.Join(err, inner); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// BuriedIdentityKeys returns the keys of what IdentityKeys returned before it was
// deleted, as long as its tombstone is there. Errors: those of the view and of decoding.
func BuriedIdentityKeys(view View, account secret.AccountID) (keys []Key, err error) {
	for i, prefix := range IdentityPrefixes(account) {
		if identityPrefixes[i] == CredentialOfPrefix {
			prefix = CredentialPrefix
		}
		prefix = string(TombstoneKey(Key(prefix)))
		var inner error
		err := view.Scan(Key(prefix), PrefixEnd(prefix), func(stored Stored) bool {
			var grave *secret.Tombstone
			if grave, inner = Tombstones.Decode(stored.Value); inner != nil {
				return false
			}
			if grave.Account == account {
				keys = append(keys, Key(grave.Record))
			}
			return true
		})
		if err = errors.Join(err, inner); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
