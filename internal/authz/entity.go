package authz

import (
	"sync"

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
	typeTrust      cedar.EntityType = "Trust"
	typeIssuer     cedar.EntityType = "Issuer"
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
	case TrustResource:
		return typeTrust, true
	case IssuerResource:
		return typeIssuer, true
	case RegionResource:
		return typeRegion, true
	}
	return "", false
}

func uid[T ~string](t cedar.EntityType, id T) cedar.EntityUID {
	return cedar.EntityUID{Type: t, ID: cedar.String(id)}
}

// actionSet is a set of actions, by their place in definitions.
type actionSet [2]uint64

// oneAction returns the set of the action at a place below maxActions.
func oneAction(i int) (s actionSet) {
	s[i/64] = 1 << (i % 64)
	return s
}

// maxActions bounds the actions that there can be.
const maxActions = 64 * len(actionSet{})

func allActions() actionSet { return actionSet{^uint64(0), ^uint64(0)} }

func (s actionSet) or(t actionSet) actionSet { return actionSet{s[0] | t[0], s[1] | t[1]} }

func (s actionSet) and(t actionSet) actionSet { return actionSet{s[0] & t[0], s[1] & t[1]} }

// meets reports whether the sets have an action in common.
func (s actionSet) meets(t actionSet) bool { return s.and(t) != actionSet{} }

// actionTable has the actions as bits, and the groups as sets of bits.
type actionTable struct {
	bits     map[Action]actionSet
	masks    map[cedar.EntityUID]actionSet // of an action or a group: what is in it
	entities map[cedar.EntityUID]cedar.Entity
	// untagged are the attributes of what has no tags, where nothing else is looked at.
	untagged cedar.Record
	// environments are pooled.
	environments sync.Pool
}

// newActionTable builds the table.
func newActionTable() *actionTable {
	t := &actionTable{
		bits: map[Action]actionSet{}, masks: map[cedar.EntityUID]actionSet{}, entities: map[cedar.EntityUID]cedar.Entity{},
		untagged: cedar.NewRecord(cedar.RecordMap{"tags": cedar.Record{}}),
	}
	t.environments.New = func() any { return new(environment) }
	for i, d := range definitions() {
		bit := oneAction(i)
		id := uid(typeAction, d.action)
		t.bits[d.action] = bit
		t.masks[id] = bit
		var parents []cedar.EntityUID
		for _, g := range d.groups {
			group := uid(typeAction, g)
			parents = append(parents, group)
			t.masks[group] = t.masks[group].or(bit)
			t.entities[group] = cedar.Entity{UID: group}
		}
		t.entities[id] = cedar.Entity{UID: id, Parents: cedar.NewEntityUIDSet(parents...)}
	}
	return t
}
