package record

import (
	"slices"
	"strings"
	"time"

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

// owned are the parts of a record that say where and when it was last mutated;
// updatedAt is nil if the record does not say when.
type owned struct {
	ownership *secret.Ownership
	updatedAt *time.Time
}

// Content reads any record, other than a secret, that has an ownership, as a pointer to
// its type in package secret. Errors: as OwnerOf.
func Content(key Key, value []byte) (content any, err error) {
	_, err = alter(key, value, func(t any, _ owned) { content = t })
	return content, err
}

// WithOwnership returns the stored form of a record, other than a secret or a vault,
// with another ownership. Errors: as OwnerOf.
func WithOwnership(key Key, value []byte, o secret.Ownership) ([]byte, error) {
	return alter(key, value, func(_ any, parts owned) { *parts.ownership = o })
}

// WithoutOwnership returns the stored form of a record, other than a secret, that
// has an ownership without it: equal contents of two regions have equal ones. A vault
// is also without what moving its home changes. Errors: as OwnerOf.
func WithoutOwnership(key Key, value []byte) ([]byte, error) {
	return alter(key, value, func(t any, parts owned) {
		switch t := t.(type) {
		case *secret.Vault:
			t.Replication, t.Key = holdersOf(t), ""
		case *secret.Credential:
			t.SealedKey = nil // under the keys of its region
		case *secret.IssuerKeys:
			*t = secret.IssuerKeys{Account: t.Account, Issuer: t.Issuer, Name: t.Name, Set: t.Set}
		}
		*parts.ownership = secret.Ownership{}
		if parts.updatedAt != nil {
			*parts.updatedAt = time.Time{}
		}
	})
}

func alter(key Key, value []byte, edit func(any, owned)) ([]byte, error) {
	kind, _, _ := strings.Cut(string(key), "/")
	switch kind + "/" {
	case AccountPrefix:
		return alterOne(Accounts, value, edit, func(a *secret.Account) owned { return owned{&a.Ownership, &a.UpdatedAt} })
	case VaultPrefix:
		return alterOne(Vaults, value, edit, func(v *secret.Vault) owned { return owned{&v.Ownership, &v.UpdatedAt} })
	case PrincipalPrefix:
		return alterOne(Principals, value, edit, func(p *secret.Principal) owned { return owned{&p.Ownership, &p.UpdatedAt} })
	case CredentialPrefix:
		return alterOne(Credentials, value, edit, func(c *secret.Credential) owned { return owned{&c.Ownership, nil} })
	case PolicyPrefix:
		return alterOne(Policies, value, edit, func(p *secret.Policy) owned { return owned{&p.Ownership, &p.UpdatedAt} })
	case TrustPrefix:
		return alterOne(TrustBundles, value, edit, func(t *secret.TrustBundle) owned { return owned{&t.Ownership, &t.UpdatedAt} })
	case BindingPrefix:
		return alterOne(Bindings, value, edit, func(b *secret.Binding) owned { return owned{&b.Ownership, nil} })
	case IssuerPrefix:
		return alterOne(Issuers, value, edit, func(i *secret.Issuer) owned { return owned{&i.Ownership, &i.UpdatedAt} })
	case IssuerKeysPrefix:
		return alterOne(IssuerKeySets, value, edit, func(k *secret.IssuerKeys) owned { return owned{&k.Ownership, nil} })
	}
	return nil, secret.Errorf(secret.CodeUnknownFormat, "record %q has no owner that this release knows", key)
}

func alterOne[T any](kind Kind[T], value []byte, edit func(any, owned), parts func(*T) owned) ([]byte, error) {
	t, err := kind.Decode(value)
	if err != nil {
		return nil, err
	}
	edit(t, parts(t))
	return kind.Encode(t), nil
}

// holdersOf is a vault's replication without which of the regions is its home.
func holdersOf(v *secret.Vault) secret.Replication {
	all := append(v.Replication.Holders(), v.Ownership.Home)
	slices.Sort(all)
	same := secret.Replication{Partial: slices.Compact(all), AckTargets: v.Replication.AckTargets}
	if len(v.Replication.AllowedRegions) > 0 {
		allowed := append(slices.Clone(v.Replication.AllowedRegions), v.Ownership.Home)
		slices.Sort(allowed)
		same.AllowedRegions = slices.Compact(allowed)
	}
	return same
}
