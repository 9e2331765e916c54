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
