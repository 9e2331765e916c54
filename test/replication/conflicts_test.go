package replication_test

import (
	"context"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// records are a policy and a principal with a token, which are forked.
type records struct {
	*shop
	token string
}

// makeRecords makes them in east, and waits until west has them.
func (s *shop) makeRecords() *records {
	s.t.Helper()
	east, ctx := s.at("east"), s.t.Context()
	_, err := east.CreatePrincipal(ctx, connect.NewRequest(&lifeboatv1.CreatePrincipalRequest{Name: "bob", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_USER}))
	must(s.t, err)
	made, err := east.CreateToken(ctx, connect.NewRequest(&lifeboatv1.CreateTokenRequest{Principal: "bob"}))
	must(s.t, err)
	_, err = east.PutPolicy(ctx, connect.NewRequest(&lifeboatv1.PutPolicyRequest{Name: "ops", Text: `permit (principal in Role::"ops", action, resource);`}))
	must(s.t, err)
	r := &records{s, made.Msg.GetCredential().GetId()}
	for _, region := range []string{"west", "south"} {
		until(s.t, region+" has all records", func(ctx context.Context) (bool, any) {
			_, err := s.at(region).GetPolicy(ctx, connect.NewRequest(&lifeboatv1.GetPolicyRequest{Name: "ops"}))
			if err != nil {
				return false, err
			}
			listed, err := s.at(region).ListCredentials(ctx, connect.NewRequest(&lifeboatv1.ListCredentialsRequest{Principal: "bob"}))
			return err == nil && len(listed.Msg.GetCredentials()) == 1, err
		})
	}
	return r
}

// fork changes them in east, which nobody else hears of.
func (r *records) fork() {
	r.t.Helper()
	east, ctx, disabled, described := r.at("east"), r.t.Context(), true, "of east"
	_, err := east.UpdatePrincipal(ctx, connect.NewRequest(&lifeboatv1.UpdatePrincipalRequest{Principal: "bob", Disabled: &disabled}))
	must(r.t, err)
	_, err = east.RevokeCredential(ctx, connect.NewRequest(&lifeboatv1.RevokeCredentialRequest{CredentialId: r.token}))
	must(r.t, err)
	_, err = east.DeletePolicy(ctx, connect.NewRequest(&lifeboatv1.DeletePolicyRequest{Name: "ops"}))
	must(r.t, err)
	_, err = east.UpdateVault(ctx, connect.NewRequest(&lifeboatv1.UpdateVaultRequest{
		Vault: "shop", Description: &described, SetTags: map[string]string{"of": "east"}, DefaultRetention: &lifeboatv1.Retention{MaxVersions: 7},
	}))
	must(r.t, err)
}

// settle adopts what can be, from east to the home in west, and discards all.
func (r *records) settle() {
	r.t.Helper()
	all, err := client.New(client.Config{Regions: r.regions.ForClients(), Token: client.NewValue(r.shop.token)})
	must(r.t, err)
	defer all.Close()
	east, err := all.At("east")
	must(r.t, err)
	ctx, kinds := r.t.Context(), map[string]error{}
	listed, err := east.ListConflicts(ctx, &lifeboatv1.ListConflictsRequest{})
	must(r.t, err)
	for _, c := range listed.GetConflicts() {
		shown, err := east.GetConflict(ctx, &lifeboatv1.GetConflictRequest{Id: c.GetId()})
		must(r.t, err)
		_, kinds[c.GetKind()] = all.AdoptConflict(ctx, shown.GetConflict())
		_, err = east.DiscardConflict(ctx, &lifeboatv1.DiscardConflictRequest{Id: c.GetId()})
		must(r.t, err)
	}
	if len(kinds) != 4 || kinds["PRINCIPAL"] != nil || kinds["CREDENTIAL"] != nil || kinds["VAULT"] != nil || client.CodeOf(kinds["POLICY"]) != client.CodeWrongState {
		r.t.Errorf("adopted: %v", kinds)
	}
	west, err := all.At("west")
	must(r.t, err)
	bob, err := west.GetPrincipal(ctx, &lifeboatv1.GetPrincipalRequest{Principal: "bob"})
	must(r.t, err)
	vault, err := west.GetVault(ctx, &lifeboatv1.GetVaultRequest{Vault: "shop"})
	must(r.t, err)
	v := vault.GetVault()
	if !bob.GetPrincipal().GetDisabled() || v.GetDescription() != "of east" || v.GetTags()["of"] != "east" || v.GetDefaultRetention().GetMaxVersions() != 7 {
		r.t.Errorf("west has %v and %v", bob, v)
	}
	for c, err := range west.ListCredentials(ctx, &lifeboatv1.ListCredentialsRequest{Principal: "bob"}) {
		must(r.t, err)
		if c.GetRevokedAt() == nil {
			r.t.Errorf("the token works: %v", c)
		}
	}
}
