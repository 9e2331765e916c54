package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// ErrCompacted is wrapped by the error of Feed when the history after the
// wanted revision is no longer kept. The caller must resynchronise.
var ErrCompacted = record.ErrCompacted

// ErrAhead is wrapped by the error of Feed when the store is behind the wanted
// revision or is another one than before: it was restored from a backup or
// replaced. The caller must resynchronise and must not keep what it holds
// merely because its revision is higher.
var ErrAhead = record.ErrAhead

// refusals are answers of the store that prove that it did not do what was
// asked, with the code to report.
var refusals = []struct {
	err     error
	code    secret.Code
	message string
}{
	{rpctypes.ErrNoSpace, secret.CodeStoreFull, "the store is full"},
	{rpctypes.ErrTooManyOps, secret.CodeLimit, "the transaction has too many operations for the store"},
	{rpctypes.ErrRequestTooLarge, secret.CodeLimit, "the transaction is too large for the store"},
	{rpctypes.ErrCorrupt, secret.CodeCorrupt, "the store has raised its corruption alarm"},
	{rpctypes.ErrTooManyRequests, secret.CodeUnavailable, "the store is overloaded"},
	{rpctypes.ErrNoLeader, secret.CodeUnavailable, "the store has no leader"},
	{rpctypes.ErrNotLeader, secret.CodeUnavailable, "the store has no leader"},
	{rpctypes.ErrNotCapable, secret.CodeUnavailable, "the store is starting"},
	{rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner), secret.CodeUnavailable, "the store member is a learner"},
	{rpctypes.ErrPermissionDenied, secret.CodeUnavailable, "the store denies this server its keys"},
	{rpctypes.ErrAuthFailed, secret.CodeUnavailable, "the store refuses this server's password"},
	{rpctypes.ErrUserEmpty, secret.CodeUnavailable, "the store wants a user and password"},
	{rpctypes.ErrUserNotFound, secret.CodeUnavailable, "the store does not know this server's user"},
	{rpctypes.ErrInvalidAuthToken, secret.CodeUnavailable, "the store refuses this server's session"},
	{rpctypes.ErrAuthOldRevision, secret.CodeUnavailable, "the store's users have just changed"},
}

// refusal returns the typed error if err proves that the store refused, else nil.
func refusal(err error) error {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return secret.Wrap(r.code, err, r.message)
		}
	}
	// gRPC itself refuses messages over a limit at either end.
	if status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max") {
		return secret.Wrap(secret.CodeLimit, err, "the transaction is too large for the store")
	}
	return nil
}

// readError returns the typed error of a failed read.
func readError(ctx context.Context, err error) error {
	if refused := refusal(err); refused != nil {
		return refused
	}
	return secret.Wrap(secret.CodeUnavailable, withCause(ctx, err), "the store does not answer")
}

// writeError returns the typed error of a failed transaction. Unless it is
// proven that nothing was done the outcome is unknown.
func writeError(ctx context.Context, err error, a *attempt) error {
	if refused := refusal(err); refused != nil {
		return refused
	}
	if a.provablyNotSent() {
		return secret.Wrap(secret.CodeUnavailable, withCause(ctx, err), "the store cannot be reached")
	}
	return secret.Wrap(secret.CodeOutcomeUnknown, withCause(ctx, err), "the store did not answer; the transaction may have committed")
}

// withCause adds the context's own error, which gRPC replaces by a status.
func withCause(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}
