package authz

import (
	"net/netip"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// needs says what of a request conditions can look at, so that the rest, which
// is costly to put into Cedar's values, is left out.
type needs uint16

const (
	needParents needs = 1 << iota
	needName
	needKind
	needAccount
	needVault
	needTags
	needSourceIP
	needTime
	needRegion
	needMethod

	needContext = needSourceIP | needTime | needRegion | needMethod
)

// attributeNeeds returns what the attribute of that name, of whatever, needs.
func attributeNeeds(name cedar.String) needs {
	switch name {
	case "name":
		return needName
	case "kind":
		return needKind
	case "account":
		return needAccount
	case "vault":
		return needVault
	case "tags":
		return needTags
	case "source_ip":
		return needSourceIP
	case "time":
		return needTime
	case "region":
		return needRegion
	case "method":
		return needMethod
	}
	return 0
}

// conditionNeeds returns what an expression needs. An entity's attributes can be
// reached only by name; the context can also be used as a whole.
func conditionNeeds(condition ast.IsNode) needs {
	var n needs
	attribute := func(arg ast.IsNode, name cedar.String) bool {
		n |= attributeNeeds(name)
		v, ok := arg.(ast.NodeTypeVariable)
		return !ok || v.Name != "context"
	}
	ast.Inspect(ast.NewNode(condition), func(node ast.IsNode) bool {
		switch node := node.(type) {
		case ast.NodeTypeAccess:
			return attribute(node.Arg, node.Value)
		case ast.NodeTypeHas:
			return attribute(node.Arg, node.Value)
		case ast.NodeTypeIn, ast.NodeTypeIsIn:
			n |= needParents
		case ast.NodeTypeVariable:
			if node.Name == "context" {
				n |= needContext
			}
		}
		return true
	})
	return n
}

// environment is what Cedar sees of a request: the entities that it is about,
// and the context. Policies can name other entities, but not look into them.
type environment struct {
	needs      needs
	request    Request
	actions    *actionTable
	principals []cedar.EntityUID
	resources  []cedar.EntityUID
	// principal and resource are made when they are first asked for.
	principal, resource       cedar.Entity
	hasPrincipal, hasResource bool
	room                      room
}

// fill makes e that of a request. What q points to is copied: it is on a stack.
func (e *environment) fill(q *question, actions *actionTable, n needs) {
	e.needs, e.request, e.actions = n, *q.request, actions
	e.principals = append(e.room.principals[:0], q.principals...)
	e.resources = append(e.room.resources[:0], q.resources...)
}

// cedar returns the request for Cedar's evaluator.
func (e *environment) cedar() cedar.Request {
	return cedar.Request{
		Principal: e.principals[0], Action: uid(typeAction, e.request.Action), Resource: e.resources[0], Context: e.context(),
	}
}

func (e *environment) context() cedar.Record {
	if e.needs&needContext == 0 {
		return cedar.Record{}
	}
	c := &e.request.Context
	m := cedar.RecordMap{}
	if e.needs&needSourceIP != 0 && c.SourceIP.IsValid() {
		ip := c.SourceIP.Unmap().WithZone("")
		m["source_ip"] = cedar.IPAddr(netip.PrefixFrom(ip, ip.BitLen()))
	}
	if e.needs&needTime != 0 {
		m["time"] = cedar.NewDatetime(c.Time)
	}
	e.text(m, needRegion, "region", string(c.Region))
	e.text(m, needMethod, "method", c.Method)
	return cedar.NewRecord(m)
}

func (e *environment) text(m cedar.RecordMap, n needs, name cedar.String, value string) {
	if e.needs&n != 0 {
		m[name] = cedar.String(value)
	}
}

// Get implements cedar.EntityGetter.
func (e *environment) Get(id cedar.EntityUID) (cedar.Entity, bool) {
	switch {
	case id.Type == typeAction:
		entity, ok := e.actions.entities[id]
		return entity, ok
	case id == e.principals[0]:
		if !e.hasPrincipal {
			e.principal, e.hasPrincipal = e.principalEntity(), true
		}
		return e.principal, true
	case id == e.resources[0]:
		if !e.hasResource {
			e.resource, e.hasResource = e.resourceEntity(), true
		}
		return e.resource, true
	case len(e.resources) == 3 && id == e.resources[1]:
		return e.container(), true
	}
	return cedar.Entity{}, false
}

func (e *environment) principalEntity() cedar.Entity {
	p := e.request.Caller
	m := cedar.RecordMap{}
	e.text(m, needName, "name", p.Name)
	e.text(m, needKind, "kind", string(p.Kind))
	e.text(m, needAccount, "account", string(p.Account))
	return e.entity(e.principals, m)
}

func (e *environment) resourceEntity() cedar.Entity {
	r := &e.request.Resource
	tagged := r.Kind == SecretResource || r.Kind == VaultResource
	if tagged && len(r.Tags) == 0 && e.needs&^needContext == needTags {
		return cedar.Entity{UID: e.resources[0], Attributes: e.actions.untagged}
	}
	m := cedar.RecordMap{}
	e.text(m, needName, "name", r.Name)
	if r.Kind == SecretResource {
		e.text(m, needVault, "vault", r.VaultName)
	}
	if e.needs&needTags != 0 && tagged {
		m["tags"] = tagRecord(r.Tags)
	}
	return e.entity(e.resources, m)
}

// container is the vault of a secret or the owner of a credential.
func (e *environment) container() cedar.Entity {
	m := cedar.RecordMap{}
	if e.request.Resource.Kind == SecretResource {
		e.text(m, needName, "name", e.request.Resource.VaultName)
	}
	return e.entity(e.resources[1:], m)
}

// entity is the first of a line of ancestors.
func (e *environment) entity(line []cedar.EntityUID, attributes cedar.RecordMap) cedar.Entity {
	entity := cedar.Entity{UID: line[0]}
	if len(attributes) > 0 {
		entity.Attributes = cedar.NewRecord(attributes)
	}
	if e.needs&needParents != 0 {
		entity.Parents = cedar.NewEntityUIDSet(line[1:]...)
	}
	return entity
}

func tagRecord(tags map[string]string) cedar.Record {
	if len(tags) == 0 {
		return cedar.Record{}
	}
	m := make(cedar.RecordMap, len(tags))
	for k, v := range tags {
		m[cedar.String(k)] = cedar.String(v)
	}
	return cedar.NewRecord(m)
}
