package service

import (
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// identity is what replication needs to know of any record but a secret.
type identity struct {
	// key is where a record of that content belongs.
	key       record.Key
	account   secret.AccountID
	ownership secret.Ownership
	// name is the index entry that no other record may hold, empty if there is none;
	// refersTo is the ID in it.
	name     record.Key
	refersTo string
	// scope is that of the record's own data keys; empty if it has none.
	scope string
	// needs is the record that must be there first; empty if there is none.
	needs record.Key
	// listed is an index entry that lists the record; empty if there is none.
	listed record.Key
}

// identityOf reads an account, vault, principal, credential or policy, or what
// proves who calls: a trust bundle, binding, issuer or issuer's keys. Errors:
// those of record.Kind.Decode; CodeUnknownFormat for another kind.
func identityOf(key record.Key, value []byte) (identity, error) {
	kind, _, _ := strings.Cut(string(key), "/")
	switch kind + "/" {
	case record.AccountPrefix:
		a, err := record.Accounts.Decode(value)
		if err != nil {
			return identity{}, err
		}
		return identity{
			key: record.AccountKey(a.ID), account: a.ID, ownership: a.Ownership, name: record.AccountNameKey(a.Name), refersTo: string(a.ID), scope: string(a.ID),
		}, nil
	case record.VaultPrefix:
		v, err := record.Vaults.Decode(value)
		if err != nil {
			return identity{}, err
		}
		return identity{
			key: record.VaultKey(v.ID), account: v.Account, ownership: v.Ownership, name: record.VaultNameKey(v.Account, v.Name), refersTo: string(v.ID),
			scope: string(v.ID), needs: record.AccountKey(v.Account),
		}, nil
	case record.PrincipalPrefix:
		p, err := record.Principals.Decode(value)
		if err != nil {
			return identity{}, err
		}
		return identity{
			key: record.PrincipalKey(p.Account, p.ID), account: p.Account, ownership: p.Ownership, name: record.PrincipalNameKey(p.Account, p.Name), refersTo: string(p.ID),
			needs: record.AccountKey(p.Account),
		}, nil
	case record.CredentialPrefix:
		c, err := record.Credentials.Decode(value)
		if err != nil {
			return identity{}, err
		}
		return identity{
			key: record.CredentialKey(c.ID), account: c.Account, ownership: c.Ownership, refersTo: string(c.ID), needs: record.PrincipalKey(c.Account, c.Principal),
			listed: record.CredentialOfKey(c.Account, c.Principal, c.ID),
		}, nil
	case record.PolicyPrefix:
		p, err := record.Policies.Decode(value)
		if err != nil {
			return identity{}, err
		}
		return identity{key: record.PolicyKey(p.Account, p.Name), account: p.Account, ownership: p.Ownership, needs: record.AccountKey(p.Account)}, nil
	case record.TrustPrefix, record.BindingPrefix, record.IssuerPrefix, record.IssuerKeysPrefix:
		return proofOf(kind+"/", value)
	}
	return identity{}, secret.Errorf(secret.CodeUnknownFormat, "records like %q are not replicated by this release", key).
		WithHint("upgrade this region")
}

// proofOf is identityOf for what proves who calls.
func proofOf(prefix string, value []byte) (identity, error) {
	switch prefix {
	case record.TrustPrefix:
		t, err := record.TrustBundles.Decode(value)
		if err != nil {
			return identity{}, err
		}
		return identity{key: record.TrustKey(t.Account, t.Name), account: t.Account, ownership: t.Ownership, needs: record.AccountKey(t.Account)}, nil
	case record.BindingPrefix:
		b, err := record.Bindings.Decode(value)
		if err != nil {
			return identity{}, err
		}
		return identity{
			key: record.BindingKey(b.Account, b.Principal, b.ID), account: b.Account, ownership: b.Ownership,
			name: record.BindingURIKey(b.URI, b.Account), refersTo: string(b.Principal) + "/" + string(b.ID), needs: record.PrincipalKey(b.Account, b.Principal),
		}, nil
	case record.IssuerPrefix:
		i, err := record.Issuers.Decode(value)
		if err != nil {
			return identity{}, err
		}
		return identity{
			key: record.IssuerKey(i.Account, i.Name), account: i.Account, ownership: i.Ownership,
			name: record.IssuerURLKey(i.URL, i.Account), refersTo: i.Name, needs: record.AccountKey(i.Account),
		}, nil
	}
	k, err := record.IssuerKeySets.Decode(value)
	if err != nil {
		return identity{}, err
	}
	return identity{key: record.IssuerKeysKey(k.Account, k.Name), account: k.Account, ownership: k.Ownership, needs: record.IssuerKey(k.Account, k.Name)}, nil
}
