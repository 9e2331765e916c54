package authz

import (
	"net/netip"

	"github.com/cedar-policy/cedar-go"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The entity types of policies.
const (
	typeUser       cedar.EntityType = "User"
	typeWorkload   cedar.EntityType = "Workload"
	typeOperator   cedar.EntityType = "Operator"
	typeRole       cedar.EntityType = "Role"
	typeAccount    cedar.EntityType = "Account"
	typeVault      cedar.EntityType = "Vault"
	typeSecret     cedar.EntityType = "Secret"
	typePrincipal  cedar.EntityType = "Principal"
	typePolicy     cedar.EntityType = "Policy"
	typeCredential cedar.EntityType = "Credential"
	typeRegion     cedar.EntityType = "Region"
	typeAction     cedar.EntityType = "Action"
)

func principalType(k secret.PrincipalKind) (cedar.EntityType, bool) {
	switch k {
	case secret.User:
		return typeUser, true
	case secret.Workload:
		return typeWorkload, true
	case secret.Operator:
		return typeOperator, true
	}
	return "", false
}

func resourceType(k ResourceKind) (cedar.EntityType, bool) {
	switch k {
	case SecretResource:
		return typeSecret, true
	case VaultResource:
		return typeVault, true
	case AccountResource:
		return typeAccount, true
	case PrincipalResource:
		return typePrincipal, true
	case PolicyResource:
		return typePolicy, true
	case CredentialResource:
		return typeCredential, true
	case RegionResource:
		return typeRegion, true
	}
	return "", false
}

func uid[T ~string](t cedar.EntityType, id T) cedar.EntityUID {
	return cedar.EntityUID{Type: t, ID: cedar.String(id)}
}

// question is a request in Cedar's words. It is also the getter of the entities
// that the request is about; policies can name others, but not see into them.
type question struct {
	request Request
	actions actionTable
	action  uint64 // bit of the action
	// principals are the principal and all its ancestors, resources likewise.
	principals []cedar.EntityUID
	resources  []cedar.EntityUID
	foreign    bool
	// Room for the usual number of ancestors.
	principalRoom [8]cedar.EntityUID
	resourceRoom  [4]cedar.EntityUID
}

// ask puts a request into Cedar's words.
func (q *question) ask(actions actionTable, r Request) error {
	if r.Caller == nil {
		return secret.Errorf(secret.CodeInternal, "authorisation of %s without a caller", r.Action)
	}
	bit, ok := actions.bits[r.Action]
	if !ok {
		return secret.Errorf(secret.CodeInternal, "action %q is not defined", r.Action)
	}
	who, ok := principalType(r.Caller.Kind)
	if !ok {
		return secret.Errorf(secret.CodeCorrupt, "principal %s is of the unknown kind %q", r.Caller.ID, r.Caller.Kind)
	}
	what, ok := resourceType(r.Resource.Kind)
	if !ok || r.Resource.Account == "" || r.Caller.Account == "" {
		return secret.Errorf(secret.CodeInternal, "resource of kind %q without an account, or of an unknown kind", r.Resource.Kind)
	}
	q.request, q.actions, q.action = r, actions, bit
	q.foreign = r.Caller.Account != r.Resource.Account

	q.principals = append(q.principalRoom[:0], uid(who, r.Caller.ID), uid(typeAccount, r.Caller.Account))
	if !q.foreign {
		for _, role := range r.Caller.Roles {
			q.principals = append(q.principals, uid(typeRole, role))
		}
	}
	q.resources = append(q.resourceRoom[:0], uid(what, r.Resource.ID))
	switch {
	case what == typeSecret && r.Resource.Vault != "":
		q.resources = append(q.resources, uid(typeVault, r.Resource.Vault))
	case what == typeCredential && r.Resource.Principal != "":
		q.resources = append(q.resources, uid(typePrincipal, r.Resource.Principal))
	}
	if what != typeAccount {
		q.resources = append(q.resources, uid(typeAccount, r.Resource.Account))
	}
	return nil
}

func (q *question) principal() cedar.EntityUID { return q.principals[0] }
func (q *question) resource() cedar.EntityUID  { return q.resources[0] }

// cedar returns the request for Cedar's evaluator.
func (q *question) cedar() cedar.Request {
	c := q.request.Context
	context := cedar.RecordMap{
		"time":   cedar.NewDatetime(c.Time),
		"region": cedar.String(c.Region),
		"method": cedar.String(c.Method),
	}
	if c.SourceIP.IsValid() {
		ip := c.SourceIP.Unmap().WithZone("")
		context["source_ip"] = cedar.IPAddr(netip.PrefixFrom(ip, ip.BitLen()))
	}
	return cedar.Request{
		Principal: q.principal(), Action: uid(typeAction, q.request.Action), Resource: q.resource(),
		Context: cedar.NewRecord(context),
	}
}

// Get returns an entity of the request.
func (q *question) Get(id cedar.EntityUID) (cedar.Entity, bool) {
	switch {
	case id.Type == typeAction:
		e, ok := q.actions.entities[id]
		return e, ok
	case id == q.principal():
		p := q.request.Caller
		return cedar.Entity{UID: id, Parents: cedar.NewEntityUIDSet(q.principals[1:]...), Attributes: cedar.NewRecord(cedar.RecordMap{
			"name": cedar.String(p.Name), "kind": cedar.String(p.Kind), "account": cedar.String(p.Account),
		})}, true
	case id == q.resource():
		return cedar.Entity{UID: id, Parents: cedar.NewEntityUIDSet(q.resources[1:]...), Attributes: q.resourceAttributes()}, true
	case len(q.resources) == 3 && id == q.resources[1]:
		return q.container(id), true
	}
	return cedar.Entity{}, false
}

// container is the vault of a secret or the principal of a credential.
func (q *question) container(id cedar.EntityUID) cedar.Entity {
	attributes := cedar.RecordMap{}
	if id.Type == typeVault {
		attributes["name"] = cedar.String(q.request.Resource.VaultName)
	}
	return cedar.Entity{UID: id, Parents: cedar.NewEntityUIDSet(q.resources[2]), Attributes: cedar.NewRecord(attributes)}
}

func (q *question) resourceAttributes() cedar.Record {
	r := &q.request.Resource
	attributes := cedar.RecordMap{"name": cedar.String(r.Name)}
	switch r.Kind {
	case SecretResource:
		attributes["vault"] = cedar.String(r.VaultName)
		attributes["tags"] = tagRecord(r.Tags)
	case VaultResource:
		attributes["tags"] = tagRecord(r.Tags)
	}
	return cedar.NewRecord(attributes)
}

func tagRecord(tags map[string]string) cedar.Record {
	m := make(cedar.RecordMap, len(tags))
	for k, v := range tags {
		m[cedar.String(k)] = cedar.String(v)
	}
	return cedar.NewRecord(m)
}

// actionTable has the actions as bits, and the groups as sets of bits.
type actionTable struct {
	bits     map[Action]uint64
	masks    map[cedar.EntityUID]uint64 // of an action or a group: what is in it
	entities map[cedar.EntityUID]cedar.Entity
}

// newActionTable builds the table; there are fewer than 64 actions.
func newActionTable() actionTable {
	t := actionTable{
		bits: map[Action]uint64{}, masks: map[cedar.EntityUID]uint64{}, entities: map[cedar.EntityUID]cedar.Entity{},
	}
	for i, d := range definitions() {
		bit := uint64(1) << i
		id := uid(typeAction, d.action)
		t.bits[d.action] = bit
		t.masks[id] = bit
		var parents []cedar.EntityUID
		for _, g := range d.groups {
			group := uid(typeAction, g)
			parents = append(parents, group)
			t.masks[group] |= bit
			t.entities[group] = cedar.Entity{UID: group}
		}
		t.entities[id] = cedar.Entity{UID: id, Parents: cedar.NewEntityUIDSet(parents...)}
	}
	return t
}
