package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitDenied   = 4
)

// usageError is a mistake in how a command was called.
type usageError struct {
	err  error
	hint string
}

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func usage(err error) error {
	if u, ok := errors.AsType[*usageError](err); ok {
		return u
	}
	return &usageError{err: err}
}

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// exitError is the end of a command that ran another program, which has said
// itself what there was to say.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("the program ended with code %d", e.code) }

// hinted is an error with what to do about it.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

func withHint(err error, hint string) error { return &hinted{err: err, hint: hint} }

// failure is an error as it is shown; its JSON goes to standard error with -o
// json.
type failure struct {
	Code      string `json:"code"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	exit      int
}

func describe(command *cobra.Command, err error) failure {
	f := failure{Code: string(client.CodeInternal), Message: err.Error(), exit: exitFailed}
	if e, ok := errors.AsType[*client.Error](err); ok {
		f.Code, f.Field, f.Hint, f.RequestID = string(e.Code), e.Field, e.Hint, e.RequestID
		if f.Hint == "" {
			f.Hint = clientHints[e.Code]
		}
	} else if e, ok := errors.AsType[*secret.Error](err); ok {
		f.Code, f.Field, f.Hint = string(e.Code), e.Field, e.Hint
	} else if h := (*hinted)(nil); !errors.As(err, &h) {
		f.Code = "failed"
	}
	if h, ok := errors.AsType[*hinted](err); ok {
		f.Hint = h.hint
	}
	switch client.Code(f.Code) {
	case client.CodeNotFound:
		f.exit = exitNotFound
	case client.CodeDenied, client.CodeUnauthenticated:
		f.exit = exitDenied
	}
	if u, ok := errors.AsType[*usageError](err); ok {
		f.Code, f.exit, f.Hint = "usage", exitUsage, u.hint
		if f.Hint == "" {
			f.Hint = "see: " + command.CommandPath() + " --help"
		}
	}
	return f
}

var clientHints = map[client.Code]string{
	client.CodeUnauthenticated:  "set LIFEBOAT_TOKEN, or name a file with a valid token with --token-file",
	client.CodeNotFound:         "check the name, and the vault that --vault or LIFEBOAT_VAULT names",
	client.CodeStale:            "someone else changed it: read it again, then decide",
	client.CodeUnavailable:      "reads go on; try again when the control plane answers: lifeboat operator status",
	client.CodeOutcomeUnknown:   "it may have been done: read it to find out",
	client.CodeThrottled:        "slow down, then try again",
	client.CodeCanceled:         "allow more time with --timeout",
	client.CodeStoreFull:        "the operator must make room in the store",
	client.CodeAuditUnavailable: "the operator must make room for the audit log",
	client.CodeKeyUnavailable:   "the operator must look at the key service",
	client.CodeWrongKey:         "the operator must give the key service its master key back",
	client.CodeLimit:            "the limits are in the documentation of the API",
}

// fail shows an error and returns the exit code.
func (a *app) fail(command *cobra.Command, err error) int {
	f := describe(command, err)
	if a.flags.output == outputJSON {
		_ = writeJSON(a.Stderr, map[string]failure{"error": f})
		return f.exit
	}
	fmt.Fprintf(a.Stderr, "error: %s\n", f.Message)
	if f.Hint != "" {
		fmt.Fprintf(a.Stderr, "hint: %s\n", f.Hint)
	}
	if f.RequestID != "" {
		fmt.Fprintf(a.Stderr, "request: %s\n", f.RequestID)
	}
	return f.exit
}
