package native

import (
	"context"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type keyHandler struct{ dialect }

// RotateDataKey implements lifeboatv1connect.KeyServiceHandler, as do the other
// methods.
func (h keyHandler) RotateDataKey(ctx context.Context, req *connect.Request[lifeboatv1.RotateDataKeyRequest]) (*connect.Response[lifeboatv1.RotateDataKeyResponse], error) {
	rotation, running, err := h.Service.RotateDataKey(ctx, service.KeyScope{Vault: req.Msg.GetVault(), Account: req.Msg.GetAccount()})
	return reply(ctx, h.dialect, &lifeboatv1.RotateDataKeyResponse{Rotation: dataKeyRotation(rotation), Running: running}, err)
}

func (h keyHandler) GetDataKeys(ctx context.Context, req *connect.Request[lifeboatv1.GetDataKeysRequest]) (*connect.Response[lifeboatv1.GetDataKeysResponse], error) {
	keys, err := h.Service.GetDataKeys(ctx, service.KeyScope{Vault: req.Msg.GetVault(), Account: req.Msg.GetAccount()})
	answer := &lifeboatv1.GetDataKeysResponse{Rotation: dataKeyRotation(keys.Rotation)}
	for _, k := range keys.Keys {
		answer.Keys = append(answer.Keys, &lifeboatv1.DataKey{
			Generation: k.GetGeneration(), Active: k.GetGeneration() == keys.Active, MasterKey: k.GetMasterKey(),
			CreatedAt: timestamp(record.FromNanos(k.GetCreatedAt())),
		})
	}
	return reply(ctx, h.dialect, answer, err)
}

func dataKeyRotation(r *recordpb.DataKeyRotation) *lifeboatv1.DataKeyRotation {
	if r == nil {
		return nil
	}
	return &lifeboatv1.DataKeyRotation{
		Generation: r.GetGeneration(), StartedAt: timestamp(record.FromNanos(r.GetStartedAt())), FinishedAt: timestamp(record.FromNanos(r.GetFinishedAt())),
		LookedAt: r.GetLookedAt(), Total: r.GetTotal(), Resealed: r.GetResealed(), Failed: r.GetFailed(), Failures: r.GetFailures(),
		RetiredAt: timestamp(record.FromNanos(r.GetRetiredAt())),
	}
}

func (h keyHandler) RetireDataKeys(ctx context.Context, req *connect.Request[lifeboatv1.RetireDataKeysRequest]) (*connect.Response[lifeboatv1.RetireDataKeysResponse], error) {
	retired, err := h.Service.RetireDataKeys(ctx, service.KeyScope{Vault: req.Msg.GetVault(), Account: req.Msg.GetAccount()})
	answer := &lifeboatv1.RetireDataKeysResponse{}
	for _, r := range retired {
		answer.Retired = append(answer.Retired, &lifeboatv1.RetiredDataKeys{Scope: r.Scope, Generations: r.Generations, NeededBy: r.NeededBy})
	}
	return reply(ctx, h.dialect, answer, err)
}

func (h keyHandler) RotateMasterKey(ctx context.Context, req *connect.Request[lifeboatv1.RotateMasterKeyRequest]) (*connect.Response[lifeboatv1.RotateMasterKeyResponse], error) {
	rotation, running, err := h.Service.RotateMasterKey(ctx, req.Msg.GetKey(), req.Msg.GetRewrapOnly())
	return reply(ctx, h.dialect, &lifeboatv1.RotateMasterKeyResponse{Rotation: masterKeyRotation(rotation), Running: running}, err)
}

func masterKeyRotation(r *recordpb.MasterKeyRotation) *lifeboatv1.MasterKeyRotation {
	if r == nil {
		return nil
	}
	return &lifeboatv1.MasterKeyRotation{
		MasterKey: r.GetMasterKey(), StartedAt: timestamp(record.FromNanos(r.GetStartedAt())), FinishedAt: timestamp(record.FromNanos(r.GetFinishedAt())),
		LookedAt: r.GetLookedAt(), Total: r.GetTotal(), Rewrapped: r.GetRewrapped(), Failed: r.GetFailed(), Failures: r.GetFailures(),
	}
}

func (h keyHandler) GetKeyStatus(ctx context.Context, _ *connect.Request[lifeboatv1.GetKeyStatusRequest]) (*connect.Response[lifeboatv1.GetKeyStatusResponse], error) {
	s, err := h.Service.GetKeyStatus(ctx)
	answer := &lifeboatv1.GetKeyStatusResponse{
		Scopes: count(s.Scopes), OlderGenerations: count(s.Older), HighestGeneration: s.HighestGeneration, OldestActiveAt: timestamp(s.OldestActive),
		Rotating: count(s.Rotating), FailedRecords: s.Failed, MasterKeyRotation: masterKeyRotation(s.MasterRotation),
	}
	for _, m := range s.MasterKeys {
		answer.MasterKeys = append(answer.MasterKeys, &lifeboatv1.MasterKeyUse{
			Id: m.ID, Own: m.Check, DataKeys: count(m.DataKeys), OldestDataKeyAt: timestamp(m.Oldest),
			Backups: count(m.Backups), BackupsUntil: timestamp(m.BackupsUntil),
		})
	}
	return reply(ctx, h.dialect, answer, err)
}

func count(n int) uint64 { return uint64(n) } //nolint:gosec // a count

func (h keyHandler) ShredVault(ctx context.Context, req *connect.Request[lifeboatv1.ShredVaultRequest]) (*connect.Response[lifeboatv1.ShredVaultResponse], error) {
	shredded, err := h.Service.ShredVault(ctx, req.Msg.GetVault(), req.Msg.GetConfirmName())
	answer := &lifeboatv1.ShredVaultResponse{VaultId: string(shredded.ID)}
	for _, b := range shredded.Backups {
		answer.Backups = append(answer.Backups, &lifeboatv1.KeptBackup{Id: b.ID, Until: timestamp(b.Until)})
	}
	return reply(ctx, h.dialect, answer, err)
}
