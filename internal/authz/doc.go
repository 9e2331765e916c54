// Package authz decides what a caller may do, by the Cedar policies of the
// account that the resource belongs to.
//
// # What policies speak of
//
// The principal is User::"ID", Workload::"ID" or Operator::"ID", a member of
// Account::"ID" and of Role::"NAME" for each of its roles; it has the attributes
// name, kind and account. Roles are names within one account: a caller of
// another account has none.
//
// The action is Action::"NAME"; a group of actions is written
// action in Action::"read" (see Group).
//
// The resource is Secret::"ID" in Vault::"ID" in Account::"ID", or
// Principal::"ID", Policy::"NAME", Trust::"NAME", Issuer::"NAME" or
// Credential::"ID" in Account::"ID", or Region::"NAME" in the account of the
// operators. Secrets have the attributes
// name, vault (its name) and tags, vaults name and tags, the others name. Only
// secrets and vaults have tags, and a tag may be missing, so a policy asks first:
//
//	permit (principal in Role::"readers", action in Action::"read", resource in Vault::"ID")
//	when { resource.tags has env && resource.tags.env == "test" };
//
// The context has source_ip (ipaddr), time (datetime), region and method: token,
// signature, certificate, jwt or exchange (a short-lived token that was given for
// one of the others).
//
// # How it decides
//
// Nothing is permitted unless a policy permits it, and a forbid overrides every
// permit. A policy whose condition fails to evaluate does not permit if it is a
// permit, and forbids if it is a forbid: where Cedar skips it, this package
// refuses. An account with a policy that cannot be read at all refuses
// everything, with an error that names the policy.
//
// A caller of another account is permitted only by policies whose scope names
// that principal or its account: principal == User::"ID", principal in
// Account::"ID" or principal is User in Account::"ID". A permit for every
// principal, or for every User, means those of the own account. Forbids count
// for everybody.
//
// # Freshness
//
// An account's policies are kept parsed and indexed. Changed marks what the
// change feed applied; a decision that begins after Changed returned obeys it.
// So a policy acts on a host as soon as the feed's handler has run for its
// commit. What is cached was always read from a view that holds every change
// that Changed has named, so a view that was opened before a change and used
// after it cannot bring the old policies back. For that the view says how far it
// has come (Revisioned); with a view that does not, each decision compares the
// account's stored policies with the cached ones.
package authz
