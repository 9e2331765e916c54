package authz

import (
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// newSchema returns what policies can speak of, in Cedar's terms. A record of
// Cedar has a fixed set of attributes, so the tags are those that the policy to
// be checked asks for, each of them optional.
func newSchema(tags []cedar.String) *resolved.Schema {
	text := func() resolved.Attribute { return resolved.Attribute{Type: resolved.StringType{}} }
	tagged := resolved.RecordType{}
	for _, tag := range tags {
		tagged[tag] = resolved.Attribute{Type: resolved.StringType{}, Optional: true}
	}
	principal := resolved.RecordType{"name": text(), "kind": text(), "account": text()}
	named := resolved.RecordType{"name": text()}
	vault := resolved.RecordType{"name": text(), "tags": {Type: tagged}}
	entities := map[cedar.EntityType]resolved.Entity{}
	add := func(t cedar.EntityType, shape resolved.RecordType, parents ...cedar.EntityType) {
		entities[t] = resolved.Entity{Name: t, Shape: shape, ParentTypes: parents}
	}
	add(typeUser, principal, typeAccount, typeRole)
	add(typeWorkload, principal, typeAccount, typeRole)
	add(typeOperator, principal, typeAccount, typeRole)
	add(typeRole, resolved.RecordType{})
	add(typeAccount, named)
	add(typeVault, vault, typeAccount)
	add(typeSecret, resolved.RecordType{"name": text(), "vault": text(), "tags": {Type: tagged}}, typeVault)
	add(typePrincipal, named, typeAccount)
	add(typePolicy, named, typeAccount)
	add(typeCredential, named, typePrincipal)
	add(typeTrust, named, typeAccount)
	add(typeIssuer, named, typeAccount)
	add(typeRegion, named, typeAccount)
	return &resolved.Schema{Entities: entities, Actions: schemaActions()}
}

func schemaActions() map[cedar.EntityUID]resolved.Action {
	context := resolved.RecordType{
		"source_ip": {Type: resolved.ExtensionType("ipaddr")},
		"time":      {Type: resolved.ExtensionType("datetime")},
		"region":    {Type: resolved.StringType{}},
		"method":    {Type: resolved.StringType{}},
	}
	principals := []cedar.EntityType{typeUser, typeWorkload, typeOperator}
	actions := map[cedar.EntityUID]resolved.Action{}
	for id, entity := range newActionTable().entities {
		actions[id] = resolved.Action{Entity: entity}
	}
	for _, d := range definitions() {
		id := uid(typeAction, d.action)
		var resources []cedar.EntityType
		for _, kind := range d.resources {
			t, _ := resourceType(kind)
			resources = append(resources, t)
		}
		actions[id] = resolved.Action{
			Entity:    actions[id].Entity,
			AppliesTo: &resolved.AppliesTo{Principals: principals, Resources: resources, Context: context},
		}
	}
	return actions
}

// usedTags returns the tags that conditions ask for by name.
func usedTags(conditions []ast.ConditionType) []cedar.String {
	var tags []cedar.String
	note := func(arg ast.IsNode, name cedar.String) {
		if parent, ok := arg.(ast.NodeTypeAccess); ok && parent.Value == "tags" {
			tags = append(tags, name)
		}
	}
	for _, c := range conditions {
		ast.Inspect(ast.NewNode(c.Body), func(node ast.IsNode) bool {
			switch node := node.(type) {
			case ast.NodeTypeAccess:
				note(node.Arg, node.Value)
			case ast.NodeTypeHas:
				note(node.Arg, node.Value)
			}
			return true
		})
	}
	return tags
}
