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

// actionTable has the actions as bits, and the groups as sets of bits.
type actionTable struct {
	bits     map[Action]uint64
	masks    map[cedar.EntityUID]uint64 // of an action or a group: what is in it
	entities map[cedar.EntityUID]cedar.Entity
	// untagged are the attributes of what has no tags, where nothing else is looked at.
	untagged cedar.Record
	// environments are pooled.
	environments sync.Pool
}

// newActionTable builds the table; there are fewer than 64 actions.
func newActionTable() *actionTable {
	t := &actionTable{
		bits: map[Action]uint64{}, masks: map[cedar.EntityUID]uint64{}, entities: map[cedar.EntityUID]cedar.Entity{},
		untagged: cedar.NewRecord(cedar.RecordMap{"tags": cedar.Record{}}),
	}
	t.environments.New = func() any { return new(environment) }
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
