package native

import (
	"context"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type secretHandler struct{ dialect }

// reply is how every unary method ends.
func reply[T any](ctx context.Context, d dialect, answer *T, err error) (*connect.Response[T], error) {
	if err != nil {
		return nil, d.fail(ctx, err)
	}
	return connect.NewResponse(answer), nil
}

// refuse audits and returns an error found before the use case began.
func refuse[T any](ctx context.Context, d dialect, action string, err error) (*connect.Response[T], error) {
	if r := service.RequestFrom(ctx); r != nil {
		if auditErr := d.Service.Refuse(r, action, secret.CodeOf(err)); auditErr != nil {
			err = auditErr
		}
	}
	return nil, d.fail(ctx, err)
}

func waits(w lifeboatv1.Wait) bool { return w == lifeboatv1.Wait_WAIT_CLEARED }

// CreateSecret implements lifeboatv1connect.SecretServiceHandler, as do the
// other methods.
func (h secretHandler) CreateSecret(ctx context.Context, req *connect.Request[lifeboatv1.CreateSecretRequest]) (*connect.Response[lifeboatv1.CreateSecretResponse], error) {
	m := req.Msg
	rules, err := rulesOf(m.GetRules())
	if err != nil {
		return refuse[lifeboatv1.CreateSecretResponse](ctx, h.dialect, "CreateSecret", err)
	}
	retention, err := retentionOf("retention", m.GetRetention())
	if err != nil {
		return refuse[lifeboatv1.CreateSecretResponse](ctx, h.dialect, "CreateSecret", err)
	}
	o, err := h.Service.CreateSecret(ctx, service.NewSecret{
		Vault: m.GetVault(), Name: m.GetName(), Value: secret.NewPlaintext(m.GetValue()), Generate: generated(m.GetGenerate()),
		Description: secret.NewPlaintext([]byte(m.GetDescription())), Metadata: m.GetMetadata(), ContentType: m.GetContentType(),
		Tags: m.GetTags(), Rules: rules, Retention: retention, VersionID: secret.VersionID(m.GetVersionId()),
		RequestToken: m.GetRequestToken(), WaitCleared: waits(m.GetWait()), AckTargets: int(m.GetAckTargets()),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	answer := &lifeboatv1.CreateSecretResponse{
		Secret: mutated(o), RevisionToken: o.Token.String(), Cleared: o.Cleared, Replayed: o.Replayed, Replicated: replicated(o),
		PublicKey: o.PublicKey,
	}
	if o.Version != nil {
		answer.Version = version(o.Secret, o.Version)
	}
	return connect.NewResponse(answer), nil
}

func mutated(o service.Outcome) *lifeboatv1.Secret { return summary(o.Secret, o.State, "") }

func (h secretHandler) PutSecretVersion(ctx context.Context, req *connect.Request[lifeboatv1.PutSecretVersionRequest]) (*connect.Response[lifeboatv1.PutSecretVersionResponse], error) {
	m := req.Msg
	expires, err := timeOf("expires_at", m.GetExpiresAt())
	if err != nil {
		return refuse[lifeboatv1.PutSecretVersionResponse](ctx, h.dialect, "PutSecretVersion", err)
	}
	o, err := h.Service.PutSecretVersion(ctx, service.NewValue{
		SecretRef: service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()}, Value: secret.NewPlaintext(m.GetValue()), Generate: generated(m.GetGenerate()),
		Stages: stagesOf(m.GetStages()), VersionID: secret.VersionID(m.GetVersionId()), ExpiresAt: expires,
		RequestToken: m.GetRequestToken(), Expected: orderOf(m.GetExpectedOrder()),
		ExpectedCurrent: secret.VersionID(m.GetExpectedCurrentVersionId()), WaitCleared: waits(m.GetWait()), AckTargets: int(m.GetAckTargets()),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.PutSecretVersionResponse{
		Secret: mutated(o), Version: version(o.Secret, o.Version), RevisionToken: o.Token.String(), Cleared: o.Cleared, Replayed: o.Replayed,
		Replicated: replicated(o),
		PublicKey:  o.PublicKey,
	}), nil
}

func (h secretHandler) UpdateSecret(ctx context.Context, req *connect.Request[lifeboatv1.UpdateSecretRequest]) (*connect.Response[lifeboatv1.UpdateSecretResponse], error) {
	m := req.Msg
	u := service.Update{
		SecretRef: service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()}, Metadata: m.GetMetadata(), SetMetadata: m.GetSetMetadata(),
		ContentType: m.ContentType, SetTags: m.GetSetTags(), RemoveTags: m.GetRemoveTags(), Expected: orderOf(m.GetExpectedOrder()),
		RequestToken: m.GetRequestToken(), WaitCleared: waits(m.GetWait()),
	}
	if m.Description != nil {
		p := secret.NewPlaintext([]byte(m.GetDescription()))
		u.Description = &p
	}
	if m.GetRules() != nil {
		rules, err := rulesOf(m.GetRules())
		if err != nil {
			return refuse[lifeboatv1.UpdateSecretResponse](ctx, h.dialect, "UpdateSecret", err)
		}
		u.Rules = &rules
	}
	if m.GetRetention() != nil {
		retention, err := retentionOf("retention", m.GetRetention())
		if err != nil {
			return refuse[lifeboatv1.UpdateSecretResponse](ctx, h.dialect, "UpdateSecret", err)
		}
		u.Retention = &retention
	}
	o, err := h.Service.UpdateSecret(ctx, u)
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.UpdateSecretResponse{
		Secret: mutated(o), RevisionToken: o.Token.String(), Cleared: o.Cleared, Replayed: o.Replayed,
	}), nil
}

func (h secretHandler) DescribeSecret(ctx context.Context, req *connect.Request[lifeboatv1.DescribeSecretRequest]) (*connect.Response[lifeboatv1.DescribeSecretResponse], error) {
	m := req.Msg
	token, err := service.ParseRevisionToken(m.GetRevisionToken())
	if err != nil {
		return refuse[lifeboatv1.DescribeSecretResponse](ctx, h.dialect, "DescribeSecret", err)
	}
	d, err := h.Service.DescribeSecret(ctx, service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()}, token)
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.DescribeSecretResponse{
		Secret: described(d), RevisionToken: d.Token.String(), Freshness: h.freshness(d.Freshness),
	}), nil
}

func (h secretHandler) GetSecretValue(ctx context.Context, req *connect.Request[lifeboatv1.GetSecretValueRequest]) (*connect.Response[lifeboatv1.GetSecretValueResponse], error) {
	answer, err := h.getSecretValue(ctx, req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

func (h secretHandler) getSecretValue(ctx context.Context, m *lifeboatv1.GetSecretValueRequest) (*lifeboatv1.GetSecretValueResponse, error) {
	token, err := service.ParseRevisionToken(m.GetRevisionToken())
	if err != nil {
		_, err := refuse[struct{}](ctx, h.dialect, "GetSecretValue", err)
		return nil, err
	}
	v, err := h.Service.GetSecretValue(ctx, service.ValueRef{
		SecretRef: service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()}, VersionID: secret.VersionID(m.GetVersionId()),
		VersionNumber: m.GetVersionNumber(), Stage: secret.Stage(m.GetStage()), Token: token,
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return h.value(v), nil
}

func (d dialect) value(v service.Value) *lifeboatv1.GetSecretValueResponse {
	return &lifeboatv1.GetSecretValueResponse{
		SecretId: string(v.Secret.ID), VaultId: string(v.Secret.ID.Vault()), Name: v.Secret.Name,
		VersionId: string(v.Version.ID), VersionNumber: v.Version.Number, Stages: stages(v.Secret, v.Version.ID),
		Value: v.Plaintext.Reveal(), ContentType: v.Secret.ContentType, CreatedAt: timestamp(v.Version.CreatedAt),
		ExpiresAt: timestamp(v.Version.ExpiresAt), RevisionToken: v.Token.String(), Freshness: d.freshness(v.Freshness),
	}
}

func (h secretHandler) BatchGetSecretValues(ctx context.Context, req *connect.Request[lifeboatv1.BatchGetSecretValuesRequest]) (*connect.Response[lifeboatv1.BatchGetSecretValuesResponse], error) {
	items, err := h.Service.BatchGetSecretValues(ctx, req.Msg.GetVault(), req.Msg.GetSecrets(), secret.Stage(req.Msg.GetStage()))
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	answer := &lifeboatv1.BatchGetSecretValuesResponse{Region: string(h.Region)}
	for _, item := range items {
		if item.Err != nil {
			answer.Errors = append(answer.Errors, &lifeboatv1.BatchError{
				Secret: item.Ref, Code: string(secret.CodeOf(item.Err)), Message: publicMessage(item.Err), HomeRegion: homeOf(item.Err),
			})
			continue
		}
		answer.Values = append(answer.Values, h.value(item.Value))
	}
	return connect.NewResponse(answer), nil
}

func (h secretHandler) ListSecrets(ctx context.Context, req *connect.Request[lifeboatv1.ListSecretsRequest]) (*connect.Response[lifeboatv1.ListSecretsResponse], error) {
	m := req.Msg
	q := service.ListQuery{
		Vault: m.GetVault(), NamePrefix: m.GetNamePrefix(), Tags: m.GetTags(), PageSize: int(m.GetPageSize()), PageToken: m.GetPageToken(),
	}
	for _, s := range m.GetStates() {
		state, err := stateOf(s)
		if err != nil {
			return refuse[lifeboatv1.ListSecretsResponse](ctx, h.dialect, "ListSecrets", err)
		}
		q.States = append(q.States, state)
	}
	page, err := h.Service.ListSecrets(ctx, q)
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	answer := &lifeboatv1.ListSecretsResponse{NextPageToken: page.NextPageToken, Freshness: h.freshness(page.Freshness)}
	for _, item := range page.Items {
		listed := summary(item.Secret, item.State, item.StateReason)
		listed.LastAccessedAt = timestamp(item.Accessed.At())
		answer.Secrets = append(answer.Secrets, listed)
	}
	return connect.NewResponse(answer), nil
}

func (h secretHandler) MoveStage(ctx context.Context, req *connect.Request[lifeboatv1.MoveStageRequest]) (*connect.Response[lifeboatv1.MoveStageResponse], error) {
	m := req.Msg
	o, err := h.Service.MoveStage(ctx, service.StageMove{
		SecretRef: service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()}, Stage: secret.Stage(m.GetStage()),
		To: secret.VersionID(m.GetToVersionId()), From: secret.VersionID(m.GetFromVersionId()), RequestToken: m.GetRequestToken(),
		Expected: orderOf(m.GetExpectedOrder()), WaitCleared: waits(m.GetWait()),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.MoveStageResponse{
		Secret: mutated(o), RevisionToken: o.Token.String(), Cleared: o.Cleared, Replayed: o.Replayed,
	}), nil
}

func (h secretHandler) DeleteSecret(ctx context.Context, req *connect.Request[lifeboatv1.DeleteSecretRequest]) (*connect.Response[lifeboatv1.DeleteSecretResponse], error) {
	m := req.Msg
	window, err := durationOf("recovery_window", m.GetRecoveryWindow())
	if err != nil {
		return refuse[lifeboatv1.DeleteSecretResponse](ctx, h.dialect, "DeleteSecret", err)
	}
	o, err := h.Service.DeleteSecret(ctx, service.Deletion{
		SecretRef: service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()}, Window: window, Immediate: m.GetImmediate(),
		RequestToken: m.GetRequestToken(), Expected: orderOf(m.GetExpectedOrder()), WaitCleared: waits(m.GetWait()),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.DeleteSecretResponse{
		Secret: mutated(o), RevisionToken: o.Token.String(), Cleared: o.Cleared, Replayed: o.Replayed,
	}), nil
}

func (h secretHandler) RestoreSecret(ctx context.Context, req *connect.Request[lifeboatv1.RestoreSecretRequest]) (*connect.Response[lifeboatv1.RestoreSecretResponse], error) {
	m := req.Msg
	o, err := h.Service.RestoreSecret(ctx, service.Restoration{
		SecretRef:    service.SecretRef{Vault: m.GetVault(), Secret: m.GetSecret()},
		RequestToken: m.GetRequestToken(), WaitCleared: waits(m.GetWait()),
	})
	if err != nil {
		return nil, h.fail(ctx, err)
	}
	return connect.NewResponse(&lifeboatv1.RestoreSecretResponse{
		Secret: mutated(o), RevisionToken: o.Token.String(), Cleared: o.Cleared, Replayed: o.Replayed,
	}), nil
}

func (h secretHandler) WatchSecrets(ctx context.Context, req *connect.Request[lifeboatv1.WatchSecretsRequest], stream *connect.ServerStream[lifeboatv1.WatchSecretsResponse]) error {
	err := h.Service.WatchSecrets(ctx, req.Msg.GetVault(), req.Msg.GetResumeToken(), func(w service.Watched) error {
		answer := &lifeboatv1.WatchSecretsResponse{ResumeToken: w.ResumeToken}
		if e := w.Event; e != nil {
			answer.Event = &lifeboatv1.SecretEvent{
				Id: e.GetId(), Type: e.GetType(), VaultId: e.GetVault(), SecretId: e.GetSubject(), Name: e.GetName(),
				VersionId: e.GetVersion(), Order: order(record.OrderFromProto(e.GetOrder())), PrincipalId: e.GetPrincipal(),
				At: timestamp(record.FromNanos(e.GetAt())),
			}
		}
		return stream.Send(answer)
	})
	if err != nil {
		return h.fail(ctx, err)
	}
	return nil
}
