package authz

import (
	"github.com/cedar-policy/cedar-go"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// question is a request in Cedar's words. It and what it points to live on the
// stack of Decide.
type question struct {
	request *Request
	action  actionSet // the one action
	// principals are the principal and all its ancestors, resources likewise.
	principals []cedar.EntityUID
	resources  []cedar.EntityUID
	// foreign says that the caller is not of the resource's account.
	foreign bool
}

func (q *question) principal() cedar.EntityUID { return q.principals[0] }
func (q *question) resource() cedar.EntityUID  { return q.resources[0] }

// room has space for the usual number of ancestors.
type room struct {
	principals [8]cedar.EntityUID
	resources  [3]cedar.EntityUID
}

// ask puts a request into Cedar's words.
func ask(actions *actionTable, r *Request, room *room) (question, error) {
	if r.Caller == nil || r.Caller.Account == "" {
		return question{}, secret.Errorf(secret.CodeInternal, "authorisation of %s without a caller", r.Action)
	}
	bit, ok := actions.bits[r.Action]
	if !ok {
		return question{}, secret.Errorf(secret.CodeInternal, "action %q is not defined", r.Action)
	}
	who, ok := principalType(r.Caller.Kind)
	if !ok {
		return question{}, secret.Errorf(secret.CodeCorrupt, "principal %s is of the unknown kind %q", r.Caller.ID, r.Caller.Kind)
	}
	what, ok := resourceType(r.Resource.Kind)
	if !ok || r.Resource.Account == "" {
		return question{}, secret.Errorf(secret.CodeInternal, "resource of kind %q without an account, or of an unknown kind", r.Resource.Kind)
	}
	q := question{request: r, action: bit, foreign: r.Caller.Account != r.Resource.Account}
	q.principals = appendPrincipals(room.principals[:0], who, r.Caller, q.foreign)
	q.resources = appendResources(room.resources[:0], what, &r.Resource)
	return q, nil
}

// appendPrincipals appends the caller and its ancestors; the roles of a foreign
// caller mean nothing in the resource's account.
func appendPrincipals(ids []cedar.EntityUID, t cedar.EntityType, caller *secret.Principal, foreign bool) []cedar.EntityUID {
	ids = append(ids, uid(t, caller.ID), uid(typeAccount, caller.Account))
	if foreign {
		return ids
	}
	for _, role := range caller.Roles {
		ids = append(ids, uid(typeRole, role))
	}
	return ids
}

// appendResources appends the resource and its ancestors, nearest first.
func appendResources(ids []cedar.EntityUID, t cedar.EntityType, r *Resource) []cedar.EntityUID {
	id := r.ID
	if t == typePolicy || t == typeTrust || t == typeIssuer {
		id = r.Name // names are unique in the account, and policies know no other ID
	}
	ids = append(ids, uid(t, id))
	switch {
	case t == typeSecret && r.Vault != "":
		ids = append(ids, uid(typeVault, r.Vault))
	case t == typeCredential && r.Principal != "":
		ids = append(ids, uid(typePrincipal, r.Principal))
	}
	if t != typeAccount {
		ids = append(ids, uid(typeAccount, r.Account))
	}
	return ids
}
