package native

import (
	"context"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Replication is what can be asked of this process about other regions. Its
// methods are called once the caller was authorised.
type Replication interface {
	SecretStatus(ctx context.Context, view record.View, s *secret.Secret) ([]*lifeboatv1.TargetStatus, error)
	VaultStatus(view record.View, v *secret.Vault) ([]*lifeboatv1.VaultTargetStatus, error)
	CompareVault(ctx context.Context, v *secret.Vault, region secret.RegionName) (*lifeboatv1.CompareVaultResponse, error)
	Queues() []*lifeboatv1.Queue
	PauseQueue(ctx context.Context, req *lifeboatv1.PauseQueueRequest) error
	ResumeQueue(ctx context.Context, region secret.RegionName) error
	RetryQueue(ctx context.Context, region secret.RegionName, record string) error
	Failures(ctx context.Context, req *lifeboatv1.ListFailuresRequest) (*lifeboatv1.ListFailuresResponse, error)
}

type replicationHandler struct{ dialect }

func target(t secret.Target) *lifeboatv1.Target {
	return &lifeboatv1.Target{Region: string(t.Region), ForceOverwrite: t.ForceOverwrite, Key: t.Key}
}

func targetsOf(targets []*lifeboatv1.Target) []secret.Target {
	return each(targets, func(t *lifeboatv1.Target) secret.Target {
		return secret.Target{Region: secret.RegionName(t.GetRegion()), ForceOverwrite: t.GetForceOverwrite(), Key: t.GetKey()}
	})
}

func regionNames(regions []secret.RegionName) []string {
	return each(regions, func(r secret.RegionName) string { return string(r) })
}

func replication(r secret.Replication) *lifeboatv1.Replication {
	if len(r.Targets)+len(r.Partial)+len(r.AllowedRegions)+r.AckTargets == 0 {
		return nil
	}
	return &lifeboatv1.Replication{
		Targets: each(r.Targets, target), Partial: regionNames(r.Partial), AllowedRegions: regionNames(r.AllowedRegions),
		AckTargets: uint32(r.AckTargets), //nolint:gosec // at most MaxTargets
	}
}

// replicated says which targets a mutation has reached, if any were waited for.
func replicated(o service.Outcome) *lifeboatv1.Replicated {
	if o.AckTargets == 0 {
		return nil
	}
	return &lifeboatv1.Replicated{
		Received: regionNames(o.Received), Outstanding: regionNames(o.Outstanding), Satisfied: len(o.Received) >= o.AckTargets,
	}
}

// ReplicateVault implements lifeboatv1connect.VaultServiceHandler.
func (h vaultHandler) ReplicateVault(ctx context.Context, req *connect.Request[lifeboatv1.ReplicateVaultRequest]) (*connect.Response[lifeboatv1.ReplicateVaultResponse], error) {
	m := req.Msg
	r := service.VaultReplication{Vault: m.GetVault(), Expected: orderOf(m.GetExpectedOrder())}
	if m.GetTargets() != nil {
		targets := targetsOf(m.GetTargets().GetTargets())
		r.Targets = &targets
	}
	if m.GetAllowedRegions() != nil {
		allowed := each(m.GetAllowedRegions().GetRegions(), func(s string) secret.RegionName { return secret.RegionName(s) })
		r.AllowedRegions = &allowed
	}
	if m.AckTargets != nil {
		n := int(m.GetAckTargets())
		r.AckTargets = &n
	}
	v, err := h.Service.ReplicateVault(ctx, r)
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.ReplicateVaultResponse{Vault: vault(v)}), nil
}

// ReplicateSecret implements lifeboatv1connect.SecretServiceHandler.
func (h secretHandler) ReplicateSecret(ctx context.Context, req *connect.Request[lifeboatv1.ReplicateSecretRequest]) (*connect.Response[lifeboatv1.ReplicateSecretResponse], error) {
	m := req.Msg
	o, err := h.Service.ReplicateSecret(ctx, service.SecretReplication{
		SecretRef: service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()}, Targets: targetsOf(m.GetTargets()),
		Expected: orderOf(m.GetExpectedOrder()), RequestToken: m.GetRequestToken(),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.ReplicateSecretResponse{Secret: mutated(o), RevisionToken: o.Token.String(), Replayed: o.Replayed}), nil
}

// PromoteSecret implements lifeboatv1connect.SecretServiceHandler.
func (h secretHandler) PromoteSecret(ctx context.Context, req *connect.Request[lifeboatv1.PromoteSecretRequest]) (*connect.Response[lifeboatv1.PromoteSecretResponse], error) {
	m := req.Msg
	o, err := h.Service.PromoteSecret(ctx, service.Promotion{
		SecretRef: service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()},
		Expected:  orderOf(m.GetExpectedOrder()), WaitCleared: waits(m.GetWait()),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.PromoteSecretResponse{
		Secret: mutated(o), RevisionToken: o.Token.String(), Cleared: o.Cleared, Replayed: o.Replayed,
	}), nil
}

// GetSecretReplication implements lifeboatv1connect.ReplicationServiceHandler, as
// do the other methods.
func (h replicationHandler) GetSecretReplication(ctx context.Context, req *connect.Request[lifeboatv1.GetSecretReplicationRequest]) (*connect.Response[lifeboatv1.GetSecretReplicationResponse], error) {
	answer := &lifeboatv1.GetSecretReplicationResponse{}
	err := h.Service.InspectSecret(ctx, service.SecretRef{Vault: req.Msg.GetVault(), Secret: req.Msg.GetSecret()},
		func(view record.View, s *secret.Secret) (err error) {
			answer.SecretId, answer.HomeRegion = string(s.ID), string(s.Ownership.Home)
			answer.Targets, err = h.Replication.SecretStatus(ctx, view, s)
			return err
		})
	return reply(ctx, h.dialect, answer, err)
}

func (h replicationHandler) GetVaultReplication(ctx context.Context, req *connect.Request[lifeboatv1.GetVaultReplicationRequest]) (*connect.Response[lifeboatv1.GetVaultReplicationResponse], error) {
	answer := &lifeboatv1.GetVaultReplicationResponse{}
	err := h.Service.InspectVault(ctx, req.Msg.GetVault(), authz.GetVault, func(view record.View, v *secret.Vault) (err error) {
		answer.VaultId, answer.HomeRegion = string(v.ID), string(v.Ownership.Home)
		answer.Targets, err = h.Replication.VaultStatus(view, v)
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

func (h replicationHandler) CompareVault(ctx context.Context, req *connect.Request[lifeboatv1.CompareVaultRequest]) (*connect.Response[lifeboatv1.CompareVaultResponse], error) {
	var found *secret.Vault
	err := h.Service.InspectVault(ctx, req.Msg.GetVault(), authz.ReplicateVault, func(_ record.View, v *secret.Vault) error {
		found = v
		return nil
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	answer, err := h.Replication.CompareVault(ctx, found, secret.RegionName(req.Msg.GetRegion()))
	return reply(ctx, h.dialect, answer, err)
}

func (h replicationHandler) ListQueues(ctx context.Context, _ *connect.Request[lifeboatv1.ListQueuesRequest]) (*connect.Response[lifeboatv1.ListQueuesResponse], error) {
	answer := &lifeboatv1.ListQueuesResponse{}
	err := h.Service.Operate(ctx, authz.GetStatus, false, "", func(context.Context) error {
		answer.Queues = h.Replication.Queues()
		return nil
	})
	return reply(ctx, h.dialect, answer, err)
}

func (h replicationHandler) PauseQueue(ctx context.Context, req *connect.Request[lifeboatv1.PauseQueueRequest]) (*connect.Response[lifeboatv1.PauseQueueResponse], error) {
	err := h.Service.Operate(ctx, authz.ManageQueue, true, req.Msg.GetRegion(), func(ctx context.Context) error {
		return h.Replication.PauseQueue(ctx, req.Msg)
	})
	return reply(ctx, h.dialect, &lifeboatv1.PauseQueueResponse{}, err)
}

func (h replicationHandler) ResumeQueue(ctx context.Context, req *connect.Request[lifeboatv1.ResumeQueueRequest]) (*connect.Response[lifeboatv1.ResumeQueueResponse], error) {
	err := h.Service.Operate(ctx, authz.ManageQueue, true, req.Msg.GetRegion(), func(ctx context.Context) error {
		return h.Replication.ResumeQueue(ctx, secret.RegionName(req.Msg.GetRegion()))
	})
	return reply(ctx, h.dialect, &lifeboatv1.ResumeQueueResponse{}, err)
}

func (h replicationHandler) RetryQueue(ctx context.Context, req *connect.Request[lifeboatv1.RetryQueueRequest]) (*connect.Response[lifeboatv1.RetryQueueResponse], error) {
	err := h.Service.Operate(ctx, authz.ManageQueue, true, req.Msg.GetRegion(), func(ctx context.Context) error {
		return h.Replication.RetryQueue(ctx, secret.RegionName(req.Msg.GetRegion()), req.Msg.GetRecord())
	})
	return reply(ctx, h.dialect, &lifeboatv1.RetryQueueResponse{}, err)
}

func (h replicationHandler) ListFailures(ctx context.Context, req *connect.Request[lifeboatv1.ListFailuresRequest]) (*connect.Response[lifeboatv1.ListFailuresResponse], error) {
	var answer *lifeboatv1.ListFailuresResponse
	err := h.Service.Operate(ctx, authz.GetStatus, false, req.Msg.GetRegion(), func(ctx context.Context) (err error) {
		answer, err = h.Replication.Failures(ctx, req.Msg)
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}
