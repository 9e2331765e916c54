package service_test

import (
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/issuer/issuertest"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Whom an account trusts to say who calls reaches the regions that hold its
// vaults, and so does what it no longer trusts.
func TestWhatProvesWhoCallsArrives(t *testing.T) {
	p := startPair(t)
	ctx := p.east.ctx()
	shop, err := p.east.CreatePrincipal(ctx, service.NewPrincipal{Name: "shop", Kind: secret.Workload})
	must(t, err)
	authority, err := pki.NewAuthority(pki.AuthorityOptions{Region: "clients"})
	must(t, err)
	trust, issuer := record.TrustKey(shop.Account, "mesh"), record.IssuerKey(shop.Account, "ci")
	keys := record.IssuerKeysKey(shop.Account, "ci")
	published := issuertest.New(t)
	for range 2 { // the second time they are newer than what was deleted
		_, err = p.east.CreateTrust(ctx, service.NewTrust{Name: "mesh", CAPEM: string(authority.CertPEM())})
		must(t, err)
		b, err := p.east.BindPrincipal(ctx, service.NewBinding{Principal: "shop", URI: "spiffe://d/shop/*", Trust: "mesh"})
		must(t, err)
		_, err = p.east.CreateIssuer(ctx, service.NewIssuer{Keys: published.Set(t), Issuer: secret.Issuer{
			Name: "ci", URL: published.URL, Audiences: []string{"a"}, Source: secret.KeysStatic,
			Rules: []secret.MappingRule{{Principal: "shop", Claims: map[string]string{"sub": "shop"}}},
		}})
		must(t, err)
		binding := record.BindingKey(b.Account, b.Principal, b.ID)
		if r := p.receive(p.ship(keys)); !secret.HasCode(r.Err, secret.CodeNotFound) {
			t.Fatalf("keys before their issuer: %+v", r)
		}
		for _, key := range []record.Key{record.PrincipalKey(shop.Account, shop.ID), trust, binding, issuer, keys} {
			if _, ok, _ := p.west.shard.snapshot().Get(key); !ok {
				p.send(key)
			}
		}
		p.wantRecords(true, trust, binding, issuer, keys, record.BindingURIKey("spiffe://d/shop/*", shop.Account), record.IssuerURLKey(published.URL, shop.Account))
		if _, err := p.west.UpdateTrust(p.west.as(p.east.token), "", "mesh", string(authority.CertPEM())); !secret.HasCode(err, secret.CodeNotHome) {
			t.Errorf("a replica is changed: %v", err)
		}
		if err := p.west.UnbindPrincipal(p.west.as(p.east.token), "", "shop", string(b.ID)); !secret.HasCode(err, secret.CodeNotHome) {
			t.Errorf("a replica is deleted: %v", err)
		}
		must(t, p.east.DeleteTrust(ctx, "", "mesh"))
		must(t, p.east.UnbindPrincipal(ctx, "", "shop", "spiffe://d/shop/*"))
		must(t, p.east.DeleteIssuer(ctx, "", "ci"))
		for _, key := range []record.Key{trust, binding, issuer, keys} {
			p.send(key)
		}
		p.wantRecords(false, trust, binding, issuer, keys, record.BindingURIKey("spiffe://d/shop/*", shop.Account), record.IssuerURLKey(published.URL, shop.Account))
	}
}

func (p *pair) wantRecords(there bool, keys ...record.Key) {
	p.t.Helper()
	for _, key := range keys {
		if _, ok, err := p.west.shard.snapshot().Get(key); ok != there || err != nil {
			p.t.Errorf("%s in west: %t, %v; want %t", key, ok, err, there)
		}
	}
}
