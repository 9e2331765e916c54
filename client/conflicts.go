package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// ListConflicts returns what the region that answers held past a fork of its history: of
// a vault and its secrets, or of an account and who may do what in it.
func (c *Client) ListConflicts(ctx context.Context, in *lifeboatv1.ListConflictsRequest) (*lifeboatv1.ListConflictsResponse, error) {
	return readHere(ctx, c, (*endpoint).ListConflicts, in)
}

// GetConflict returns a conflict with what it keeps.
func (c *Client) GetConflict(ctx context.Context, in *lifeboatv1.GetConflictRequest) (*lifeboatv1.GetConflictResponse, error) {
	return readHere(ctx, c, (*endpoint).GetConflict, in)
}

// DiscardConflict deletes a conflict with what it keeps.
func (c *Client) DiscardConflict(ctx context.Context, in *lifeboatv1.DiscardConflictRequest) (*lifeboatv1.DiscardConflictResponse, error) {
	return mutateHere(ctx, c, (*endpoint).DiscardConflict, in)
}

// AdoptConflict makes what a conflict of GetConflict keeps the present state, by ordinary
// mutations at the record's home, which the caller must be permitted. Repeated, it does
// nothing again.
//
// Of a secret it puts the values as new versions, oldest first, and returns the answers;
// a policy gets its text and description, a principal its roles, or is disabled, a vault
// its description, tags and retention, and a credential is revoked. Anything else is
// CodeWrongState, with a hint at what to do instead: nothing that was taken back comes
// back. CodeStale means that a policy or vault has changed since GetConflict.
func (c *Client) AdoptConflict(ctx context.Context, conflict *lifeboatv1.Conflict) (puts []*lifeboatv1.PutSecretVersionResponse, err error) {
	switch conflict.GetHeld().GetRecord().(type) {
	case *lifeboatv1.ConflictState_Policy:
		return nil, c.adoptPolicy(ctx, conflict)
	case *lifeboatv1.ConflictState_Principal:
		return nil, c.adoptPrincipal(ctx, conflict)
	case *lifeboatv1.ConflictState_Vault:
		return nil, c.adoptVault(ctx, conflict)
	case *lifeboatv1.ConflictState_Credential:
		return nil, c.adoptRevocation(ctx, conflict)
	}
	if conflict.GetSecretId() == "" || len(conflict.GetVersions()) == 0 {
		return nil, notAdopted(conflict)
	}
	for _, v := range conflict.GetVersions() {
		sum := sha256.Sum256([]byte(conflict.GetId() + "/" + v.GetId()))
		put, err := c.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{
			Vault: conflict.GetVaultId(), Secret: conflict.GetSecretId(), Value: v.GetValue(), RequestToken: "adopt-" + hex.EncodeToString(sum[:16]),
		})
		if err != nil {
			return puts, err
		}
		puts = append(puts, put)
	}
	return puts, nil
}

// notAdopted refuses what has no meaning, or should not come back, as a mutation.
func notAdopted(conflict *lifeboatv1.Conflict) error {
	kind := strings.ReplaceAll(strings.ToLower(conflict.GetKind()), "_", " ")
	if conflict.GetDeleted() {
		return refusal("what the conflict keeps is that the "+kind+" was deleted",
			"delete it at its home if that is still wanted, then discard the conflict")
	}
	if conflict.GetSecretId() != "" {
		return refusal("the conflict keeps no version of the secret that its home lacks",
			"change what differs at its home (lifeboat secret update, stage or delete), then discard the conflict")
	}
	return refusal("what the conflict keeps of the "+kind+" is not adopted",
		"compare the two states, change what is still wanted at its home, then discard the conflict")
}

func refusal(message, hint string) error {
	return &Error{Code: CodeWrongState, Message: message, Hint: hint}
}

func (c *Client) adoptPolicy(ctx context.Context, conflict *lifeboatv1.Conflict) error {
	held, present := conflict.GetHeld().GetPolicy(), conflict.GetPresent().GetPolicy()
	if present.GetText() == held.GetText() && present.GetDescription() == held.GetDescription() {
		return nil
	}
	expected := present.GetOwnership().GetOrder()
	if expected == nil {
		expected = &lifeboatv1.Order{} // there is none
	}
	_, err := c.PutPolicy(ctx, &lifeboatv1.PutPolicyRequest{
		Account: held.GetAccountId(), Name: held.GetName(), Text: held.GetText(), Description: held.GetDescription(), ExpectedOrder: expected,
	})
	return err
}

// adoptPrincipal never enables a principal: that it was disabled is the newer decision.
func (c *Client) adoptPrincipal(ctx context.Context, conflict *lifeboatv1.Conflict) error {
	held, present := conflict.GetHeld().GetPrincipal(), conflict.GetPresent().GetPrincipal()
	switch {
	case present == nil:
		return refusal("the principal was deleted at its home", "create it anew if it is still wanted, then discard the conflict")
	case present.GetDisabled() && !held.GetDisabled():
		return refusal("the principal was disabled at its home, and is not enabled by adopting a conflict",
			"lifeboat principal update "+held.GetName()+" if it is to be enabled, then discard the conflict")
	case present.GetDisabled() == held.GetDisabled() && slices.Equal(present.GetRoles(), held.GetRoles()):
		return nil
	}
	_, err := c.UpdatePrincipal(ctx, &lifeboatv1.UpdatePrincipalRequest{
		Account: held.GetAccountId(), Principal: held.GetId(), Roles: held.GetRoles(), SetRoles: true, Disabled: &held.Disabled,
	})
	return err
}

// adoptVault leaves alone where the vault goes: regions may have gone since.
func (c *Client) adoptVault(ctx context.Context, conflict *lifeboatv1.Conflict) error {
	held, present := conflict.GetHeld().GetVault(), conflict.GetPresent().GetVault()
	if present == nil || held.GetState() != present.GetState() {
		return notAdopted(conflict)
	}
	retention, now := held.GetDefaultRetention(), present.GetDefaultRetention()
	if retention == nil {
		retention = &lifeboatv1.Retention{}
	}
	same := held.GetDescription() == present.GetDescription() && maps.Equal(held.GetTags(), present.GetTags()) &&
		retention.GetMaxVersions() == now.GetMaxVersions() && retention.GetMaxAge().AsDuration() == now.GetMaxAge().AsDuration()
	switch {
	case same && slices.Equal(holders(held), holders(present)):
		return nil
	case same:
		return refusal("the two states of the vault differ in their targets alone", "lifeboat vault replicate at its home, then discard the conflict")
	}
	request := &lifeboatv1.UpdateVaultRequest{
		Vault: held.GetId(), Description: &held.Description, SetTags: held.GetTags(), DefaultRetention: retention,
		ExpectedOrder: present.GetOwnership().GetOrder(),
	}
	for tag := range present.GetTags() {
		if _, kept := held.GetTags()[tag]; !kept {
			request.RemoveTags = append(request.RemoveTags, tag)
		}
	}
	_, err := c.UpdateVault(ctx, request)
	return err
}

// holders are the regions that hold a vault, wherever its home is.
func holders(v *lifeboatv1.Vault) []string {
	all := append(slices.Clone(v.GetReplication().GetPartial()), v.GetOwnership().GetHomeRegion())
	for _, target := range v.GetReplication().GetTargets() {
		all = append(all, target.GetRegion())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// adoptRevocation revokes a credential that the region had revoked.
func (c *Client) adoptRevocation(ctx context.Context, conflict *lifeboatv1.Conflict) error {
	held, present := conflict.GetHeld().GetCredential(), conflict.GetPresent().GetCredential()
	switch {
	case held.GetRevokedAt() == nil:
		return refusal("a credential does not come back by adopting a conflict", "create a new one if it is still wanted, then discard the conflict")
	case present == nil || present.GetRevokedAt() != nil:
		return nil
	}
	_, err := c.RevokeCredential(ctx, &lifeboatv1.RevokeCredentialRequest{CredentialId: held.GetId()})
	return err
}
