package record

import (
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Owner is to whom a record belongs, and where it is mutated.
type Owner struct {
	Account   secret.AccountID
	Ownership secret.Ownership
}

// OwnerOf reads the owner of any record that has an ownership. Errors: those of
// Kind.Decode; CodeUnknownFormat for a record of another kind.
func OwnerOf(key Key, value []byte) (Owner, error) {
	kind, _, _ := strings.Cut(string(key), "/")
	switch kind + "/" {
	case AccountPrefix:
		return ownerOf(Accounts, value, func(a *secret.Account) Owner { return Owner{a.ID, a.Ownership} })
	case VaultPrefix:
		return ownerOf(Vaults, value, func(v *secret.Vault) Owner { return Owner{v.Account, v.Ownership} })
	case PrincipalPrefix:
		return ownerOf(Principals, value, func(p *secret.Principal) Owner { return Owner{p.Account, p.Ownership} })
	case CredentialPrefix:
		return ownerOf(Credentials, value, func(c *secret.Credential) Owner { return Owner{c.Account, c.Ownership} })
	case PolicyPrefix:
		return ownerOf(Policies, value, func(p *secret.Policy) Owner { return Owner{p.Account, p.Ownership} })
	case TrustPrefix:
		return ownerOf(TrustBundles, value, func(t *secret.TrustBundle) Owner { return Owner{t.Account, t.Ownership} })
	case BindingPrefix:
		return ownerOf(Bindings, value, func(b *secret.Binding) Owner { return Owner{b.Account, b.Ownership} })
	case IssuerPrefix:
		return ownerOf(Issuers, value, func(i *secret.Issuer) Owner { return Owner{i.Account, i.Ownership} })
	case IssuerKeysPrefix:
		return ownerOf(IssuerKeySets, value, func(k *secret.IssuerKeys) Owner { return Owner{k.Account, k.Ownership} })
	case SecretPrefix:
		return ownerOf(Secrets, value, func(s *secret.Secret) Owner { return Owner{s.Account, s.Ownership} })
	}
	return Owner{}, secret.Errorf(secret.CodeUnknownFormat, "record %q has no owner that this release knows", key)
}

func ownerOf[T any](kind Kind[T], value []byte, owner func(*T) Owner) (Owner, error) {
	t, err := kind.Decode(value)
	if err != nil {
		return Owner{}, err
	}
	return owner(t), nil
}
