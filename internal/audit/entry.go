package audit

import (
	"net/netip"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Decision is what authorisation said.
type Decision uint8

// The decisions.
const (
	None  Decision = iota // authorisation was not reached
	Allow                 // at least one policy permits and none forbids
	Deny                  // no policy permits, or one forbids
)

// String returns none, allow or deny.
func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	}
	return "none"
}

// Entry describes one request. All fields are optional but Time. It holds no
// reference after Write returns, so callers may reuse it.
type Entry struct {
	Time time.Time
	// Duration is from the arrival of the request to the call of Write.
	Duration  time.Duration
	RequestID string

	Principal     secret.PrincipalID
	PrincipalName string
	Account       secret.AccountID
	Credential    secret.CredentialID
	// Method is how the caller proved who it is, Proof what it showed beside or in
	// place of a stored credential.
	Method string
	Proof  string
	Source netip.Addr
	// ForwardedFor names the process or principal for which the direct caller
	// acts.
	ForwardedFor string

	Action   string
	Resource Resource
	Decision Decision
	// Policies are the names of the policies that decided.
	Policies []string
	// Outcome is the code of the error, empty for success.
	Outcome secret.Code
	Version secret.VersionID
	Order   secret.Order
	// BreakGlass is set if an override let the request through.
	BreakGlass bool

	// Committed is set if the request changed something that cannot be taken
	// back: then the line is kept for later if no file takes it now.
	Committed bool
}

// Resource is what a request is about.
type Resource struct {
	Kind    string
	ID      string
	Name    string
	Vault   secret.VaultID
	Account secret.AccountID
}
