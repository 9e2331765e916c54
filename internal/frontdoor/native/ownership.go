package native

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Ownership is what an operator does with the homes of records. Its methods are called
// once the caller was authorised.
type Ownership interface {
	// TakeOver takes a region over, or in a dry run says what that would do.
	TakeOver(ctx context.Context, req *lifeboatv1.TakeOverRegionRequest) (*recordpb.Takeover, *lifeboatv1.TakeoverScope, error)
	// Forget forgets a region for good, or in a dry run says what that would do.
	Forget(ctx context.Context, req *lifeboatv1.ForgetRegionRequest) (*recordpb.Peer, *lifeboatv1.ForgetScope, error)
	Takeovers(ctx context.Context) (Takeovers, error)
	CutDrillVault(ctx context.Context, vault secret.VaultID, lasts time.Duration) (until time.Time, err error)
	// MoveRegion has all of a region moved, or in a dry run says what that would do.
	MoveRegion(ctx context.Context, req *lifeboatv1.MoveRegionRequest) (*recordpb.Move, *service.MoveScope, error)
	AbortRegionMove(ctx context.Context, region string) error
	// Moves returns the moves out of a region, empty for this one; Waiting why those to
	// a region do not go on now.
	Moves(ctx context.Context, region string) ([]*recordpb.Move, error)
	Waiting(to secret.RegionName) string
}

// Takeovers is what a region knows of takeovers, and of what they left.
type Takeovers struct {
	Of []*recordpb.Takeover
	// By are the regions that have taken this one over.
	By        []secret.RegionName
	Conflicts []service.AccountConflicts
}

type ownershipHandler struct{ dialect }

// maxAccountsListed bounds the accounts whose conflicts are counted one by one.
const maxAccountsListed = 100

func accountConflicts(n service.AccountConflicts) *lifeboatv1.AccountConflicts {
	return &lifeboatv1.AccountConflicts{
		AccountId: string(n.Account), Account: n.Name, Conflicts: uint64(n.All), OfSecrets: uint64(n.OfSecrets), //nolint:gosec // counts
	}
}

func takeover(t *recordpb.Takeover) *lifeboatv1.Takeover {
	return &lifeboatv1.Takeover{
		Region: t.GetRegion(), At: timestamp(record.FromNanos(t.GetAt())), Moved: t.GetMoved(), MovedAt: timestamp(record.FromNanos(t.GetMovedAt())),
		Unfenced: t.GetUnfenced(), DrillVault: t.GetVault(), HeldUpRecords: t.GetHeldUp(),
	}
}

// TakeOverRegion implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) TakeOverRegion(ctx context.Context, req *connect.Request[lifeboatv1.TakeOverRegionRequest]) (*connect.Response[lifeboatv1.TakeOverRegionResponse], error) {
	answer := &lifeboatv1.TakeOverRegionResponse{}
	action, subject := authz.TakeOverRegion, req.Msg.GetRegion()
	if vault := req.Msg.GetDrillVault(); vault != "" {
		action, subject = authz.RunDrill, subject+"/"+vault
	}
	err := h.Service.Operate(ctx, action, !req.Msg.GetDryRun(), subject, func(ctx context.Context) error {
		t, scope, err := h.Ownership.TakeOver(ctx, req.Msg)
		answer.Scope = scope
		if refusal, ok := errors.AsType[*secret.Error](err); ok && req.Msg.GetDryRun() && scope != nil {
			answer.Blocked = refusal.Message
			return nil
		}
		if t != nil {
			answer.Takeover = takeover(t)
		}
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

// ForgetRegion implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) ForgetRegion(ctx context.Context, req *connect.Request[lifeboatv1.ForgetRegionRequest]) (*connect.Response[lifeboatv1.ForgetRegionResponse], error) {
	answer := &lifeboatv1.ForgetRegionResponse{}
	err := h.Service.Operate(ctx, authz.ForgetRegion, !req.Msg.GetDryRun(), req.Msg.GetRegion(), func(ctx context.Context) error {
		peer, scope, err := h.Ownership.Forget(ctx, req.Msg)
		answer.Scope = scope
		if refusal, ok := errors.AsType[*secret.Error](err); ok && req.Msg.GetDryRun() && scope != nil {
			answer.Blocked = refusal.Message
			return nil
		}
		answer.ForgottenAt, answer.Incarnations = timestamp(record.FromNanos(peer.GetForgottenAt())), peer.GetForgotten()
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

// ListTakeovers implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) ListTakeovers(ctx context.Context, _ *connect.Request[lifeboatv1.ListTakeoversRequest]) (*connect.Response[lifeboatv1.ListTakeoversResponse], error) {
	answer := &lifeboatv1.ListTakeoversResponse{}
	err := h.Service.Operate(ctx, authz.ListTakeovers, false, "", func(ctx context.Context) error {
		found, err := h.Ownership.Takeovers(ctx)
		answer.Takeovers, answer.SupersededBy = each(found.Of, takeover), regionNames(found.By)
		for _, n := range found.Conflicts {
			answer.Conflicts += uint64(n.All) //nolint:gosec // a count
		}
		answer.FirstConflicts = each(found.Conflicts[:min(len(found.Conflicts), maxAccountsListed)], accountConflicts)
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}

// CutDrillVault implements lifeboatv1connect.OwnershipServiceHandler.
func (h ownershipHandler) CutDrillVault(ctx context.Context, req *connect.Request[lifeboatv1.CutDrillVaultRequest]) (*connect.Response[lifeboatv1.CutDrillVaultResponse], error) {
	answer := &lifeboatv1.CutDrillVaultResponse{}
	err := h.Service.Operate(ctx, authz.RunDrill, true, req.Msg.GetVault(), func(ctx context.Context) error {
		until, err := h.Ownership.CutDrillVault(ctx, secret.VaultID(req.Msg.GetVault()), req.Msg.GetLasts().AsDuration())
		answer.Until = timestamp(until)
		return err
	})
	return reply(ctx, h.dialect, answer, err)
}
