package service_test

import (
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/issuer/issuertest"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// forkAccount has east change who may do what past the fork, and return.
func (p *pair) forkAccount() *secret.Credential {
	p.t.Helper()
	put := func(name, text string) {
		p.t.Helper()
		_, err := p.east.PutPolicy(p.east.ctx(), service.NewPolicy{Name: name, Text: text})
		must(p.t, err)
	}
	put("changed", `permit (principal, action, resource) when { 1 == 2 };`)
	put("deleted", `permit (principal, action, resource) when { 1 == 2 };`)
	_, err := p.east.CreatePrincipal(p.east.ctx(), service.NewPrincipal{Name: "bob", Kind: secret.User, Roles: []string{"readers"}})
	must(p.t, err)
	key, _, err := p.east.CreateAccessKey(p.east.ctx(), service.NewCredential{Principal: "bob"})
	must(p.t, err)
	p.sendIdentities()

	put("changed", `permit (principal, action, resource) when { 1 == 3 };`)
	must(p.t, p.east.DeletePolicy(p.east.ctx(), "", "deleted"))
	disabled, described := true, "of east"
	_, err = p.east.UpdatePrincipal(p.east.ctx(), service.PrincipalUpdate{Principal: "bob", Disabled: &disabled})
	must(p.t, err)
	_, err = p.east.RevokeCredential(p.east.ctx(), key.ID)
	must(p.t, err)
	_, err = p.east.UpdateVault(p.east.ctx(), service.VaultUpdate{Vault: "v", Description: &described})
	must(p.t, err)

	p.takeOver()
	must(p.t, p.west.InheritAll(p.t.Context(), "east"))
	p.bringBack()
	return key
}

// suffixes are what the keys of the records of conflicts end in.
func suffixes(all []service.Conflict) map[string]service.Conflict {
	found := map[string]service.Conflict{}
	for _, c := range all {
		kind, rest, _ := strings.Cut(c.GetRecord(), "/")
		found[kind+" "+rest[strings.LastIndex(rest, "/")+1:]] = c
	}
	return found
}

func TestConflictsOfOtherRecordsAreListedShownAndDiscarded(t *testing.T) {
	p := startPair(t)
	key := p.forkAccount()
	listed, err := p.east.ListConflicts(p.east.ctx(), "", "")
	must(t, err)
	found := suffixes(listed)
	if len(listed) != 5 || len(found) != 5 || p.east.audited(`"action":"ListAccountConflicts"`, `"decision":"allow"`) != 1 {
		t.Fatalf("listed: %+v", found)
	}
	of := func(what string) service.Conflict {
		t.Helper()
		c, err := p.east.GetConflict(p.east.ctx(), found[what].GetId())
		must(t, err)
		return c
	}
	c := of("policy changed")
	if held, present := c.Held.(*secret.Policy), c.Present.(*secret.Policy); c.GetName() != "changed" ||
		!strings.Contains(held.Text, "1 == 3") || !strings.Contains(present.Text, "1 == 2") || present.Ownership.Home != "west" {
		t.Errorf("of the policy that was changed: %+v, %+v", held, present)
	}
	if c := of("policy deleted"); !c.Deleted() || c.Held != nil || c.Present == nil || c.GetName() != "deleted" {
		t.Errorf("of the policy that was deleted: %+v", c)
	}
	if c := of("credential " + string(key.ID)); c.Held.(*secret.Credential).RevokedAt.IsZero() || !c.Present.(*secret.Credential).RevokedAt.IsZero() ||
		len(c.Held.(*secret.Credential).SealedKey) > 0 {
		t.Errorf("of the access key: %+v, %+v", c.Held, c.Present)
	}
	if c := of("vault " + string(p.vault.ID)); c.Held.(*secret.Vault).Description != "of east" || c.Present.(*secret.Vault).Description != "" {
		t.Errorf("of the vault: %+v, %+v", c.Held, c.Present)
	}
	ofVault, err := p.east.ListConflicts(p.east.ctx(), "v", "")
	must(t, err)
	if len(ofVault) != 1 || ofVault[0].GetName() != "v" {
		t.Errorf("of the vault are listed: %+v", ofVault)
	}
	if _, err := p.east.ListConflicts(p.east.ctx(), "v", "test"); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("of a vault and an account: %v", err)
	}
	for _, c := range listed {
		must(t, p.east.DiscardConflict(p.east.ctx(), c.GetId()))
	}
	if left := p.east.conflicts(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
}

// Who may read secrets may not look at what else an account has.
func TestConflictsOfOtherRecordsAreForManagers(t *testing.T) {
	p := startPair(t)
	p.forkAccount()
	listed, err := p.east.ListConflicts(p.east.ctx(), "", "")
	must(t, err)
	_, reader, err := p.west.CreateToken(p.west.as(p.east.token), service.NewCredential{Principal: "bob"})
	must(t, err)
	_, err = p.west.PutPolicy(p.west.as(p.east.token), service.NewPolicy{
		Name: "readers", Text: `permit (principal in Role::"readers", action in [Action::"read", Action::"write", Action::"purge"], resource);`,
	})
	must(t, err)
	p.bringBack()
	made, err := p.east.CreateAccount(p.east.as(p.east.operator), "other", "")
	must(t, err)
	for who, token := range map[string]string{
		"a reader": string(reader.Reveal()), "another account": string(made.Token.Reveal()), "an operator": p.east.operator,
	} {
		ctx := p.east.as(token)
		for what, err := range map[string]error{
			"lists":    second(p.east.ListConflicts(ctx, "", "test")),
			"shows":    second(p.east.GetConflict(ctx, listed[0].GetId())),
			"discards": p.east.DiscardConflict(ctx, listed[0].GetId()),
		} {
			if !secret.HasCode(err, secret.CodeDenied) {
				t.Errorf("%s %s: %v", who, what, err)
			}
		}
		if _, err := p.east.ListConflicts(ctx, "", "unheard-of"); who == "another account" && !secret.HasCode(err, secret.CodeDenied) {
			t.Errorf("%s is told which accounts there are: %v", who, err)
		}
	}
	if p.east.audited(`"action":"GetAccountConflict"`, `"decision":"deny"`) != 3 {
		t.Error("who was denied was not audited")
	}
}

func second[T any](_ T, err error) error { return err }

// forkSecret has east return with a conflict of a secret.
func (p *pair) forkSecret() (key record.Key, id string) {
	p.t.Helper()
	key = record.SecretKey(p.east.create(service.NewSecret{Name: "forked"}).Secret.ID)
	p.send(key)
	p.put("forked", "lost in east")
	p.takeOver()
	_, err := p.putIn(p.west, "forked", "kept in west")
	must(p.t, err)
	must(p.t, p.west.InheritAll(p.t.Context(), "east"))
	p.bringBack()
	p.bringBack()
	all := p.east.conflicts()
	if len(all) != 1 {
		p.t.Fatalf("conflicts: %+v", all)
	}
	return key, all[0].GetId()
}

func TestConflictsOfAVaultThatWasGivenUp(t *testing.T) {
	p := startPair(t)
	_, _, err := p.east.CreateVault(p.east.ctx(), service.NewVault{Name: "keeps-the-account-here"})
	must(t, err)
	_, id := p.forkSecret()
	p.targetsOf(p.west)
	must(t, deliver(t, p.west, p.east, record.VaultKey(p.vault.ID)).Err)
	listed, err := p.east.ListConflicts(p.east.ctx(), "", "")
	must(t, err)
	if len(listed) != 1 || listed[0].GetId() != id || listed[0].GetVaultName() != "v" {
		t.Fatalf("listed: %+v", listed)
	}
	shown, err := p.east.GetConflict(p.east.ctx(), id)
	must(t, err)
	for _, value := range shown.Values {
		if string(value.Reveal()) != "lost in east" {
			t.Errorf("it keeps %q", value.Reveal())
		}
	}
	must(t, p.east.DiscardConflict(p.east.ctx(), id))
}

// Of an account that a region has given up only its operators are left.
func TestConflictsOfAnAccountThatWasGivenUp(t *testing.T) {
	p := startPair(t)
	_, id := p.forkSecret()
	p.targetsOf(p.west)
	must(t, deliver(t, p.west, p.east, record.VaultKey(p.vault.ID)).Err)
	counts, err := service.CountConflicts(p.east.shard.snapshot())
	must(t, err)
	if len(counts) != 1 || counts[0] != (service.AccountConflicts{Account: p.vault.Account, All: 1, OfSecrets: 1}) {
		t.Errorf("counted: %+v", counts)
	}
	operator := p.east.as(p.east.operator)
	listed, err := p.east.ListConflicts(operator, "", string(p.vault.Account))
	must(t, err)
	if len(listed) != 1 || listed[0].GetId() != id {
		t.Fatalf("listed: %+v", listed)
	}
	if _, err := p.east.GetConflict(operator, id); !secret.HasCode(err, secret.CodeWrongState) {
		t.Errorf("an operator looks into it: %v", err)
	}
	made, err := p.east.CreateAccount(operator, "other", "")
	must(t, err)
	stranger := p.east.as(string(made.Token.Reveal()))
	if err := p.east.DiscardConflict(stranger, id); !secret.HasCode(err, secret.CodeDenied) {
		t.Errorf("a stranger discards it: %v", err)
	}
	if _, err := p.east.ListConflicts(stranger, "", string(p.vault.Account)); !secret.HasCode(err, secret.CodeDenied) {
		t.Errorf("a stranger lists it: %v", err)
	}
	must(t, p.east.DiscardConflict(operator, id))
}

// Conflicts keep a vault from being deleted, and go with one that is shredded.
func TestConflictsOfAVaultThatIsDeleted(t *testing.T) {
	p := startPair(t)
	key, _ := p.forkSecret()
	must(t, p.west.EndTakeover(t.Context(), "east"))
	must(t, p.east.Supersede(t.Context(), "west", false, nil))
	for _, moved := range []record.Key{record.VaultKey(p.vault.ID), key} {
		must(t, p.west.HandOver(t.Context(), moved, "east"))
		must(t, deliver(t, p.west, p.east, moved).Err)
	}
	admin := p.east.ctx()
	_, err := p.east.DeleteSecret(admin, service.Deletion{SecretRef: service.SecretRef{Vault: "v", Secret: "forked"}, Immediate: true})
	must(t, err)
	if err := p.east.DeleteVault(admin, "v"); !secret.HasCode(err, secret.CodeWrongState) || !strings.Contains(err.Error(), "conflict") {
		t.Errorf("the vault is deleted: %v", err)
	}
	p.targetsOf(p.east)
	_, err = p.east.ShredVault(admin, "v", "v")
	must(t, err)
	_, err = p.east.MaintainShreddings(t.Context())
	must(t, err)
	for _, prefix := range []string{record.ConflictPrefix, record.ConflictVersionPrefix} {
		must(t, p.east.shard.snapshot().Scan(record.Key(prefix), record.PrefixEnd(prefix), func(s record.Stored) bool {
			t.Errorf("%s is left", s.Key)
			return true
		}))
	}
}

// What proves who calls is kept too, but not keys that are fetched again anyway.
func TestConflictsOfWhatProvesWhoCalls(t *testing.T) {
	p := startPair(t)
	ctx, one, other := p.east.ctx(), issuertest.New(t), issuertest.New(t)
	_, err := p.east.CreatePrincipal(ctx, service.NewPrincipal{Name: "shop", Kind: secret.Workload})
	must(t, err)
	authority, err := pki.NewAuthority(pki.AuthorityOptions{Region: "clients"})
	must(t, err)
	_, err = p.east.CreateTrust(ctx, service.NewTrust{Name: "mesh", CAPEM: string(authority.CertPEM())})
	must(t, err)
	b, err := p.east.BindPrincipal(ctx, service.NewBinding{Principal: "shop", URI: "spiffe://d/shop/*", Trust: "mesh"})
	must(t, err)
	_, err = p.east.CreateIssuer(ctx, service.NewIssuer{Keys: one.Set(t), Issuer: secret.Issuer{
		Name: "ci", URL: one.URL, Audiences: []string{"a"}, Source: secret.KeysStatic,
		Rules: []secret.MappingRule{{Principal: "shop", Claims: map[string]string{"sub": "shop"}}},
	}})
	must(t, err)
	p.sendIdentities()
	account := p.vault.Account
	forked := []record.Key{record.TrustKey(account, "mesh"), record.BindingKey(account, b.Principal, b.ID), record.IssuerKey(account, "ci"), record.IssuerKeysKey(account, "ci")}
	for _, key := range forked {
		p.send(key)
	}

	described := "of east"
	_, err = p.east.UpdateIssuer(ctx, service.IssuerUpdate{Name: "ci", Description: &described, Keys: other.Set(t)})
	must(t, err)
	must(t, p.east.UnbindPrincipal(ctx, "", "shop", string(b.ID)))
	must(t, p.east.DeleteTrust(ctx, "", "mesh"))
	p.takeOver()
	must(t, p.west.InheritAll(t.Context(), "east"))
	p.bringBack()
	for _, key := range forked {
		must(t, deliver(t, p.west, p.east, key).Err)
	}
	listed, err := p.east.ListConflicts(ctx, "", "")
	must(t, err)
	found := suffixes(listed)
	for what, deleted := range map[string]bool{"trust mesh": true, "binding " + string(b.ID): true, "issuer ci": false, "issuer-keys ci": false} {
		if c, ok := found[what]; !ok || c.Deleted() != deleted || c.GetName() == "" {
			t.Errorf("of the %s: %+v", what, c)
		}
	}
	if len(found) != 4 {
		t.Errorf("listed: %+v", found)
	}
}

// A vault that was deleted past the fork comes back, and does so in a conflict.
func TestConflictsOfAVaultThatComesBack(t *testing.T) {
	p := startPair(t)
	must(t, p.east.DeleteVault(p.east.ctx(), "v"))
	p.takeOver()
	must(t, p.west.InheritAll(t.Context(), "east"))
	must(t, deliver(t, p.west, p.east, record.VaultKey(p.vault.ID)).Err) // by which west is known to hold the account
	p.bringBack()
	listed, err := p.east.ListConflicts(p.east.ctx(), "v", "")
	must(t, err)
	if len(listed) != 1 || !listed[0].Deleted() || listed[0].GetName() != "v" {
		t.Fatalf("listed: %+v", listed)
	}
	must(t, p.east.DiscardConflict(p.east.ctx(), listed[0].GetId()))
}

// Only what conflicts of secrets keep is sealed.
func TestConflictsThatNeedDataKeys(t *testing.T) {
	for what, needed := range map[string]bool{"a secret": true, "an account": false} {
		p := startPair(t)
		scope := service.KeyScope{Account: "test"}
		if needed {
			scope = service.KeyScope{Vault: string(p.vault.ID)}
			p.forkSecret()
		} else {
			p.forkAccount()
		}
		_, _, err := p.east.RotateDataKey(p.east.ctx(), scope)
		must(t, err)
		_, err = p.east.MaintainDataKeys(t.Context())
		must(t, err)
		_, err = p.east.RetireDataKeys(p.east.as(p.east.operator), scope)
		if !secret.HasCode(err, secret.CodeKeyInUse) || strings.Contains(err.Error(), "conflict") != needed {
			t.Errorf("conflicts of %s: %v", what, err)
		}
	}
}
