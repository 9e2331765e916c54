package native

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

func (d dialect) move(m *recordpb.Move) *lifeboatv1.Move {
	if m == nil {
		return nil
	}
	kind, id, _ := strings.Cut(m.GetRecord(), "/")
	if m.GetRecord() == string(record.RegionKey) {
		id = string(d.Region)
	}
	answer := &lifeboatv1.Move{
		Id: id, Kind: strings.ToUpper(kind), To: m.GetTo(), StartedAt: timestamp(record.FromNanos(m.GetStartedAt())), Moved: m.GetMoved(),
		Refused: m.GetRefused(), Total: m.GetTotal(), State: "MOVING", EndedAt: timestamp(record.FromNanos(m.GetEndedAt())),
	}
	if m.GetEndedAt() != 0 {
		answer.State = m.GetEnd()
	} else {
		answer.Waiting = d.Ownership.Waiting(secret.RegionName(m.GetTo()))
	}
	return answer
}

func moveScope(s *service.MoveScope) *lifeboatv1.MoveScope {
	if s == nil {
		return nil
	}
	return &lifeboatv1.MoveScope{
		Accounts: s.Accounts, Identities: s.Identities, Vaults: s.Vaults, Secrets: s.Secrets, Unmovable: s.Unmovable,
		FirstUnmovable: each(s.First, func(u service.Unmovable) *lifeboatv1.Unmovable {
			return &lifeboatv1.Unmovable{Kind: u.Kind, Id: u.ID, Name: u.Name, Reason: u.Reason}
		}),
	}
}

// MoveVault implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) MoveVault(ctx context.Context, req *connect.Request[lifeboatv1.MoveVaultRequest]) (*connect.Response[lifeboatv1.MoveVaultResponse], error) {
	m, err := h.Service.MoveVault(ctx, req.Msg.GetVault(), secret.RegionName(req.Msg.GetTo()))
	return reply(ctx, h.dialect, &lifeboatv1.MoveVaultResponse{Move: h.move(m)}, err)
}

// MoveRegion implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) MoveRegion(ctx context.Context, req *connect.Request[lifeboatv1.MoveRegionRequest]) (*connect.Response[lifeboatv1.MoveRegionResponse], error) {
	answer := &lifeboatv1.MoveRegionResponse{}
	err := h.Service.Operate(ctx, authz.MoveRegion, !req.Msg.GetDryRun(), req.Msg.GetTo(), func(ctx context.Context) error {
		m, scope, err := h.Ownership.MoveRegion(ctx, req.Msg)
		answer.Move, answer.Scope = h.move(m), moveScope(scope)
		if refusal, ok := errors.AsType[*secret.Error](err); ok && req.Msg.GetDryRun() && scope != nil {
			answer.Blocked = refusal.Message
			return nil
		}
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

// ListMoves implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) ListMoves(ctx context.Context, req *connect.Request[lifeboatv1.ListMovesRequest]) (*connect.Response[lifeboatv1.ListMovesResponse], error) {
	answer := &lifeboatv1.ListMovesResponse{}
	err := h.Service.Operate(ctx, authz.ListMoves, false, "", func(ctx context.Context) error {
		moves, err := h.Ownership.Moves(ctx, req.Msg.GetRegion())
		answer.Moves = each(moves, h.move)
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

// AbortMove implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) AbortMove(ctx context.Context, req *connect.Request[lifeboatv1.AbortMoveRequest]) (*connect.Response[lifeboatv1.AbortMoveResponse], error) {
	region := req.Msg.GetRegion()
	switch {
	case region == "":
		return reply(ctx, h.dialect, &lifeboatv1.AbortMoveResponse{}, h.Service.AbortMove(ctx, req.Msg.GetVault()))
	case req.Msg.GetVault() != "":
		return refuse[lifeboatv1.AbortMoveResponse](ctx, h.dialect, "AbortMove", secret.Invalid("region", "and vault are given; only one may be"))
	}
	err := h.Service.Operate(ctx, authz.MoveRegion, true, region, func(ctx context.Context) error { return h.Ownership.AbortRegionMove(ctx, region) })
	return reply(ctx, h.dialect, &lifeboatv1.AbortMoveResponse{}, err)
}
