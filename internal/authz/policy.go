package authz

import (
	"strconv"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// policy is one permit or forbid, with its scope taken apart.
type policy struct {
	id        string // NAME/INDEX
	forbid    bool
	principal scope
	resource  scope
	actions   actionSet // those in the scope
	// conditional says that Cedar must evaluate it: it has conditions, or a scope
	// that this package does not know.
	conditional bool
	needs       needs
	// cedar is the policy without the scope that this package has matched; nil if
	// it is not conditional.
	cedar *cedar.Policy
}

// scope is what a policy says of the principal or the resource.
type scope struct {
	// entity is what the entity must be, or be in; zero if the scope names none.
	entity cedar.EntityUID
	// exact says that it must be the entity itself.
	exact bool
	// kind is the type it must have; empty for any.
	kind cedar.EntityType
}

// matches reports whether an entity of which s.entity, if any, is known to be
// the entity itself or an ancestor is in the scope.
func (s *scope) matches(e cedar.EntityUID) bool {
	return (!s.exact || s.entity == e) && (s.kind == "" || s.kind == e.Type)
}

func newPolicy(actions *actionTable, name string, index int, parsed *cedar.Policy) *policy {
	tree := (*ast.Policy)(parsed.AST())
	principal, knownPrincipal := newScope(tree.Principal)
	resource, knownResource := newScope(tree.Resource)
	mask, knownAction := actions.mask(tree.Action)
	p := &policy{
		id: name + "/" + strconv.Itoa(index), forbid: tree.Effect == ast.EffectForbid,
		principal: principal, resource: resource, actions: mask,
	}
	switch {
	case !knownPrincipal || !knownResource || !knownAction:
		p.conditional, p.cedar, p.needs = true, parsed, ^needs(0)
	case len(tree.Conditions) > 0:
		for _, c := range tree.Conditions {
			p.needs |= conditionNeeds(c.Body)
		}
		p.conditional, p.cedar = true, withoutScope(tree)
	}
	return p
}

// withoutScope returns a policy that is the conditions of another.
func withoutScope(tree *ast.Policy) *cedar.Policy {
	conditions := *tree
	conditions.Principal, conditions.Action, conditions.Resource = ast.ScopeTypeAll{}, ast.ScopeTypeAll{}, ast.ScopeTypeAll{}
	return cedar.NewPolicyFromAST((*publicast.Policy)(&conditions))
}

// newScope takes a scope apart. One that it does not know matches everything and
// is left to Cedar.
func newScope(n ast.IsScopeNode) (s scope, known bool) {
	switch n := n.(type) {
	case ast.ScopeTypeAll:
		return scope{}, true
	case ast.ScopeTypeEq:
		return scope{entity: n.Entity, exact: true}, true
	case ast.ScopeTypeIn:
		return scope{entity: n.Entity}, true
	case ast.ScopeTypeIs:
		return scope{kind: n.Type}, true
	case ast.ScopeTypeIsIn:
		return scope{entity: n.Entity, kind: n.Type}, true
	}
	return scope{}, false
}

// mask returns the actions that an action scope covers.
func (t *actionTable) mask(n ast.IsActionScopeNode) (mask actionSet, known bool) {
	switch n := n.(type) {
	case ast.ScopeTypeAll:
		return allActions(), true
	case ast.ScopeTypeEq:
		// action == Action::"read" means the group itself, which nobody asks for.
		return t.bits[Action(n.Entity.ID)].and(t.masks[n.Entity]), true
	case ast.ScopeTypeIn:
		return t.masks[n.Entity], true
	case ast.ScopeTypeInSet:
		for _, e := range n.Entities {
			mask = mask.or(t.masks[e])
		}
		return mask, true
	}
	return allActions(), false
}

// index finds the policies whose scope can match a request: by the entity that
// the principal scope names, then by the one that the resource scope names. The
// zero entity stands for none.
type index map[cedar.EntityUID]map[cedar.EntityUID][]*policy

func (x index) add(p *policy) {
	resources := x[p.principal.entity]
	if resources == nil {
		resources = map[cedar.EntityUID][]*policy{}
		x[p.principal.entity] = resources
	}
	resources[p.resource.entity] = append(resources[p.resource.entity], p)
}

// match calls visit for each policy whose scope matches, apart from permits that
// do not count for a caller of another account.
func (x index) match(q *question, visit func(*policy)) {
	for i := range q.principals {
		if resources, ok := x[q.principals[i]]; ok {
			matchResources(resources, q, false, visit)
		}
	}
	if resources, ok := x[cedar.EntityUID{}]; ok {
		matchResources(resources, q, q.foreign, visit)
	}
}

func matchResources(resources map[cedar.EntityUID][]*policy, q *question, onlyForbids bool, visit func(*policy)) {
	matchList(resources[cedar.EntityUID{}], q, onlyForbids, visit)
	for i := range q.resources {
		matchList(resources[q.resources[i]], q, onlyForbids, visit)
	}
}

func matchList(list []*policy, q *question, onlyForbids bool, visit func(*policy)) {
	for _, p := range list {
		if p.actions.meets(q.action) && (p.forbid || !onlyForbids) &&
			p.principal.matches(q.principal()) && p.resource.matches(q.resource()) {
			visit(p)
		}
	}
}
