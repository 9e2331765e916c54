package authz

import (
	"net/netip"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// ResourceKind says what a resource is.
type ResourceKind string

// The kinds of resources.
const (
	SecretResource     ResourceKind = "secret"
	VaultResource      ResourceKind = "vault"
	AccountResource    ResourceKind = "account"
	PrincipalResource  ResourceKind = "principal"
	PolicyResource     ResourceKind = "policy"
	CredentialResource ResourceKind = "credential"
	TrustResource      ResourceKind = "trust"
	IssuerResource     ResourceKind = "issuer"
	RegionResource     ResourceKind = "region"
)

// Resource is what an action is done to. What does not exist yet is described
// as it is going to be. A list of something is done to its container: a vault
// or an account.
type Resource struct {
	Kind ResourceKind
	// ID may be empty for something that does not exist. Policies know a policy,
	// trust bundle or issuer by its name, whatever the ID.
	ID   string
	Name string
	// Account is the one whose policies decide; secret.SystemAccount for a region.
	Account secret.AccountID
	// Vault and VaultName are those of a secret's vault; a vault may leave them
	// empty.
	Vault     secret.VaultID
	VaultName string
	// Principal is the owner of a credential.
	Principal secret.PrincipalID
	// Tags are those of a secret or a vault. They are read during the decision only.
	Tags map[string]string
}

// RegionOf returns the region as a resource: what the operators' actions are
// done to.
func RegionOf(name secret.RegionName) Resource {
	return Resource{Kind: RegionResource, ID: string(name), Name: string(name), Account: secret.SystemAccount}
}

// Context is what policies can know of a request beside who, what and to what.
type Context struct {
	// SourceIP is the client's address. Without one, conditions that ask for it
	// fail: permits do not permit, forbids forbid.
	SourceIP netip.Addr
	Time     time.Time
	Region   secret.RegionName
	// Method is how the caller proved who it is, as package authn names it.
	Method string
}

// Request is what Decide decides.
type Request struct {
	Caller   *secret.Principal
	Action   Action
	Resource Resource
	Context  Context
}

// Decision is an answer, with what it is based on for the audit log.
type Decision struct {
	Allowed bool
	// Policies are those that determined it, as NAME/INDEX: the permits if it is
	// allowed, the forbids if one forbids it, none if nothing permits it. Sorted.
	Policies []string
	// Reason says in words why, for logs and for who writes policies.
	Reason string
}
