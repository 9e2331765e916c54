package native

import (
	"context"
	"slices"
	"strings"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// conflictKinds are the names of the kinds of records that conflicts are of, by the
// prefixes of their keys.
func conflictKinds() map[string]string {
	return map[string]string{
		record.SecretPrefix: "SECRET", record.AccountPrefix: "ACCOUNT", record.VaultPrefix: "VAULT", record.PrincipalPrefix: "PRINCIPAL",
		record.CredentialPrefix: "CREDENTIAL", record.PolicyPrefix: "POLICY", record.TrustPrefix: "TRUST", record.BindingPrefix: "BINDING",
		record.IssuerPrefix: "ISSUER", record.IssuerKeysPrefix: "ISSUER_KEYS",
	}
}

// conflictSubject returns the kind of the record that a conflict is of, and its ID; that
// is empty of what is known by its name.
func conflictSubject(key string) (kind, id string) {
	prefix, rest, _ := strings.Cut(key, "/")
	switch kind = conflictKinds()[prefix+"/"]; kind {
	case "SECRET":
		return kind, rest
	case "POLICY", "TRUST", "ISSUER", "ISSUER_KEYS":
		return kind, ""
	}
	return kind, rest[strings.LastIndex(rest, "/")+1:]
}

func conflict(c service.Conflict) *lifeboatv1.Conflict {
	all := &lifeboatv1.Conflict{
		Id: c.GetId(), VaultId: c.GetVault(), Name: c.GetName(), Order: order(record.OrderFromProto(c.GetOrder())),
		CollidesWith: order(record.OrderFromProto(c.GetCollidesWith())), FromRegion: c.GetFrom(), At: timestamp(record.FromNanos(c.GetAt())),
		AccountId: c.GetAccount(), Deleted: c.Deleted(), Held: conflictState(c.Held), Present: conflictState(c.Present),
	}
	all.Kind, all.RecordId = conflictSubject(c.GetRecord())
	if c.Secret == nil {
		return all
	}
	all.SecretId = string(c.Secret.ID)
	for _, id := range c.GetVersions() {
		v := &lifeboatv1.ConflictVersion{Id: id}
		if info := c.Secret.Version(secret.VersionID(id)); info != nil {
			v.Number, v.CreatedAt, v.CreatedBy = info.Number, timestamp(info.CreatedAt), string(info.CreatedBy)
		}
		for stage, at := range c.Secret.Stages {
			if string(at) == id {
				v.Stages = append(v.Stages, string(stage))
			}
		}
		slices.Sort(v.Stages)
		if value, ok := c.Values[secret.VersionID(id)]; ok {
			v.Value = value.Reveal()
		}
		all.Versions = append(all.Versions, v)
	}
	return all
}

// conflictState converts what record.Content reads; nil for none.
func conflictState(content any) *lifeboatv1.ConflictState {
	switch t := content.(type) {
	case *secret.Account:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Account{Account: account(t)}}
	case *secret.Principal:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Principal{Principal: principal(t)}}
	case *secret.Credential:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Credential{Credential: credential(t)}}
	case *secret.Policy:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Policy{Policy: policy(t)}}
	case *secret.TrustBundle:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Trust{Trust: trustBundle(t)}}
	case *secret.Binding:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Binding{Binding: binding(t)}}
	case *secret.Issuer:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Issuer{Issuer: issuer(service.IssuerState{Issuer: t})}}
	case *secret.IssuerKeys:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_IssuerKeys{IssuerKeys: issuerKeys(t)}}
	case *secret.Vault:
		return &lifeboatv1.ConflictState{Record: &lifeboatv1.ConflictState_Vault{Vault: vault(t)}}
	}
	return nil
}

// ListConflicts implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) ListConflicts(ctx context.Context, req *connect.Request[lifeboatv1.ListConflictsRequest]) (*connect.Response[lifeboatv1.ListConflictsResponse], error) {
	found, err := h.Service.ListConflicts(ctx, req.Msg.GetVault(), req.Msg.GetAccount())
	return reply(ctx, h.dialect, &lifeboatv1.ListConflictsResponse{Conflicts: each(found, conflict)}, err)
}

// GetConflict implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) GetConflict(ctx context.Context, req *connect.Request[lifeboatv1.GetConflictRequest]) (*connect.Response[lifeboatv1.GetConflictResponse], error) {
	found, err := h.Service.GetConflict(ctx, req.Msg.GetId())
	if err != nil {
		return reply(ctx, h.dialect, &lifeboatv1.GetConflictResponse{}, err)
	}
	return reply(ctx, h.dialect, &lifeboatv1.GetConflictResponse{Conflict: conflict(found)}, nil)
}

// DiscardConflict implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) DiscardConflict(ctx context.Context, req *connect.Request[lifeboatv1.DiscardConflictRequest]) (*connect.Response[lifeboatv1.DiscardConflictResponse], error) {
	return reply(ctx, h.dialect, &lifeboatv1.DiscardConflictResponse{}, h.Service.DiscardConflict(ctx, req.Msg.GetId()))
}
