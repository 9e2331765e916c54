package native

import (
	"context"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type vaultHandler struct{ dialect }

// CreateVault implements lifeboatv1connect.VaultServiceHandler, as do the other
// methods.
func (h vaultHandler) CreateVault(ctx context.Context, req *connect.Request[lifeboatv1.CreateVaultRequest]) (*connect.Response[lifeboatv1.CreateVaultResponse], error) {
	m := req.Msg
	retention, err := retentionOf("default_retention", m.GetDefaultRetention())
	if err != nil {
		return refuse[lifeboatv1.CreateVaultResponse](ctx, h.dialect, "CreateVault", err)
	}
	v, cleared, err := h.Service.CreateVault(ctx, service.NewVault{
		Account: m.GetAccount(), Name: m.GetName(), Description: m.GetDescription(), Tags: m.GetTags(),
		Retention: retention, RequestToken: m.GetRequestToken(), Key: m.GetKey(),
	})
	if err != nil {
		return nil, h.fail(ctx, renamed(err, "retention.", "default_retention."))
	}
	return connect.NewResponse(&lifeboatv1.CreateVaultResponse{Vault: vault(v), Cleared: cleared}), nil
}

func (h vaultHandler) GetVault(ctx context.Context, req *connect.Request[lifeboatv1.GetVaultRequest]) (*connect.Response[lifeboatv1.GetVaultResponse], error) {
	v, err := h.Service.GetVault(ctx, req.Msg.GetVault())
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.GetVaultResponse{Vault: vault(v)}), nil
}

func (h vaultHandler) ListVaults(ctx context.Context, req *connect.Request[lifeboatv1.ListVaultsRequest]) (*connect.Response[lifeboatv1.ListVaultsResponse], error) {
	m := req.Msg
	vs, next, err := h.Service.ListVaults(ctx, m.GetAccount(), int(m.GetPageSize()), m.GetPageToken())
	return reply(ctx, h.dialect, &lifeboatv1.ListVaultsResponse{Vaults: each(vs, vault), NextPageToken: next}, err)
}

func (h vaultHandler) UpdateVault(ctx context.Context, req *connect.Request[lifeboatv1.UpdateVaultRequest]) (*connect.Response[lifeboatv1.UpdateVaultResponse], error) {
	m := req.Msg
	u := service.VaultUpdate{
		Vault: m.GetVault(), Description: m.Description, SetTags: m.GetSetTags(), RemoveTags: m.GetRemoveTags(),
		Expected: orderOf(m.GetExpectedOrder()), Key: m.Key,
	}
	if m.GetDefaultRetention() != nil {
		retention, err := retentionOf("default_retention", m.GetDefaultRetention())
		if err != nil {
			return refuse[lifeboatv1.UpdateVaultResponse](ctx, h.dialect, "UpdateVault", err)
		}
		u.Retention = &retention
	}
	v, err := h.Service.UpdateVault(ctx, u)
	if err != nil {
		return nil, h.fail(ctx, renamed(err, "retention.", "default_retention."))
	}
	return connect.NewResponse(&lifeboatv1.UpdateVaultResponse{Vault: vault(v)}), nil
}

func (h vaultHandler) DeleteVault(ctx context.Context, req *connect.Request[lifeboatv1.DeleteVaultRequest]) (*connect.Response[lifeboatv1.DeleteVaultResponse], error) {
	err := h.Service.DeleteVault(ctx, req.Msg.GetVault())
	return reply(ctx, h.dialect, &lifeboatv1.DeleteVaultResponse{}, err)
}
