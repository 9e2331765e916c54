package record

import (
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Prefixes of the keys of what proves who calls.
const (
	TrustPrefix      = "trust/"
	BindingPrefix    = "binding/"
	BindingURIPrefix = "binding-uri/"
	IssuerPrefix     = "issuer/"
	IssuerKeysPrefix = "issuer-keys/"
	IssuerURLPrefix  = "issuer-url/"
)

// The kinds of records of what proves who calls.
var (
	TrustBundles  = newKind("trust", 1, trustToProto, trustFromProto)
	Bindings      = newKind("binding", 1, bindingToProto, bindingFromProto)
	Issuers       = newKind("issuer", 1, issuerToProto, issuerFromProto)
	IssuerKeySets = newKind("issuer-keys", 1, issuerKeysToProto, issuerKeysFromProto)
)

// TrustKey is the key of a trust bundle.
func TrustKey(account secret.AccountID, name string) Key {
	return Key(TrustPrefix + string(account) + "/" + name)
}

// BindingKey is the key of a binding.
func BindingKey(account secret.AccountID, principal secret.PrincipalID, id secret.BindingID) Key {
	return Key(BindingPrefix + string(account) + "/" + string(principal) + "/" + string(id))
}

// BindingURIKey refers to the binding, PRINCIPAL/ID, of that URI or pattern in an
// account. It ends in the account: a request may not say which one it is about.
func BindingURIKey(uri string, account secret.AccountID) Key {
	return Key(BindingURIPrefix + uri + "|" + string(account))
}

// IssuerKey is the key of an issuer.
func IssuerKey(account secret.AccountID, name string) Key {
	return Key(IssuerPrefix + string(account) + "/" + name)
}

// IssuerKeysKey is the key of the public keys of an issuer.
func IssuerKeysKey(account secret.AccountID, name string) Key {
	return Key(IssuerKeysPrefix + string(account) + "/" + name)
}

// IssuerURLKey refers to the issuer of that URL in an account. It ends in the
// account, as BindingURIKey does.
func IssuerURLKey(url string, account secret.AccountID) Key {
	return Key(IssuerURLPrefix + url + "|" + string(account))
}

func trustToProto(t *secret.TrustBundle) *recordpb.TrustBundle {
	return &recordpb.TrustBundle{
		Account: string(t.Account), Name: t.Name, Description: t.Description, CaPem: t.CAPEM, Ownership: ownershipToProto(t.Ownership),
		CreatedAt: nanos(t.CreatedAt), UpdatedAt: nanos(t.UpdatedAt),
	}
}

func trustFromProto(p *recordpb.TrustBundle) *secret.TrustBundle {
	return &secret.TrustBundle{
		Account: secret.AccountID(p.GetAccount()), Name: p.GetName(), Description: p.GetDescription(), CAPEM: p.GetCaPem(),
		Ownership: ownershipFromProto(p.GetOwnership()), CreatedAt: FromNanos(p.GetCreatedAt()), UpdatedAt: FromNanos(p.GetUpdatedAt()),
	}
}

func bindingToProto(b *secret.Binding) *recordpb.Binding {
	return &recordpb.Binding{
		Id: string(b.ID), Account: string(b.Account), Principal: string(b.Principal), Uri: b.URI, Trust: b.Trust,
		Ownership: ownershipToProto(b.Ownership), CreatedAt: nanos(b.CreatedAt),
	}
}

func bindingFromProto(p *recordpb.Binding) *secret.Binding {
	return &secret.Binding{
		ID: secret.BindingID(p.GetId()), Account: secret.AccountID(p.GetAccount()), Principal: secret.PrincipalID(p.GetPrincipal()),
		URI: p.GetUri(), Trust: p.GetTrust(), Ownership: ownershipFromProto(p.GetOwnership()), CreatedAt: FromNanos(p.GetCreatedAt()),
	}
}

func issuerToProto(i *secret.Issuer) *recordpb.Issuer {
	p := &recordpb.Issuer{
		Id: string(i.ID), Account: string(i.Account), Name: i.Name, Description: i.Description, Url: i.URL,
		Audiences: i.Audiences, Algorithms: i.Algorithms, Source: string(i.Source), KeysUrl: i.KeysURL, CaPem: i.CAPEM,
		Leeway: int64(i.Leeway), MaxLifetime: int64(i.MaxLifetime), RefreshEvery: int64(i.RefreshEvery), MaxKeyAge: int64(i.MaxKeyAge),
		Ownership: ownershipToProto(i.Ownership), CreatedAt: nanos(i.CreatedAt), UpdatedAt: nanos(i.UpdatedAt),
	}
	for n := range i.Rules {
		r := &i.Rules[n]
		p.Rules = append(p.Rules, &recordpb.MappingRule{Claims: r.Claims, Principal: string(r.Principal), Template: r.Template})
	}
	return p
}

func issuerFromProto(p *recordpb.Issuer) *secret.Issuer {
	i := &secret.Issuer{
		ID: secret.IssuerID(p.GetId()), Account: secret.AccountID(p.GetAccount()), Name: p.GetName(), Description: p.GetDescription(),
		URL: p.GetUrl(), Audiences: p.GetAudiences(), Algorithms: p.GetAlgorithms(), Source: secret.KeySource(p.GetSource()),
		KeysURL: p.GetKeysUrl(), CAPEM: p.GetCaPem(), Leeway: time.Duration(p.GetLeeway()), MaxLifetime: time.Duration(p.GetMaxLifetime()),
		RefreshEvery: time.Duration(p.GetRefreshEvery()), MaxKeyAge: time.Duration(p.GetMaxKeyAge()),
		Ownership: ownershipFromProto(p.GetOwnership()), CreatedAt: FromNanos(p.GetCreatedAt()), UpdatedAt: FromNanos(p.GetUpdatedAt()),
	}
	for _, r := range p.GetRules() {
		i.Rules = append(i.Rules, secret.MappingRule{Claims: r.GetClaims(), Principal: secret.PrincipalID(r.GetPrincipal()), Template: r.GetTemplate()})
	}
	return i
}

func issuerKeysToProto(k *secret.IssuerKeys) *recordpb.IssuerKeys {
	return &recordpb.IssuerKeys{
		Account: string(k.Account), Name: k.Name, Issuer: string(k.Issuer), Set: k.Set, FetchedAt: nanos(k.FetchedAt),
		LastError: k.LastError, FailedAt: nanos(k.FailedAt), Ownership: ownershipToProto(k.Ownership),
	}
}

func issuerKeysFromProto(p *recordpb.IssuerKeys) *secret.IssuerKeys {
	return &secret.IssuerKeys{
		Account: secret.AccountID(p.GetAccount()), Name: p.GetName(), Issuer: secret.IssuerID(p.GetIssuer()), Set: p.GetSet(), FetchedAt: FromNanos(p.GetFetchedAt()),
		LastError: p.GetLastError(), FailedAt: FromNanos(p.GetFailedAt()), Ownership: ownershipFromProto(p.GetOwnership()),
	}
}
