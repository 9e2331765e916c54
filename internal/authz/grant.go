package authz

import (
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// AdminPolicy returns the text of a policy that permits a principal everything
// in the account that holds the policy.
func AdminPolicy(p *secret.Principal) string {
	return fmt.Sprintf("permit (\n  principal == %s,\n  action,\n  resource\n);\n", PrincipalEntity(p))
}

// PrincipalEntity returns how policies name a principal, e.g. User::"ID".
func PrincipalEntity(p *secret.Principal) string {
	t, _ := principalType(p.Kind)
	return uid(t, p.ID).String()
}

// Grant is a permission in words that need no Cedar.
type Grant struct {
	// Principal or Role is who is permitted: exactly one is set.
	Principal *secret.Principal
	Role      string
	// Groups and Actions are what is permitted; together at least one.
	Groups  []Group
	Actions []Action
	// Vault limits it to a vault and the secrets in it; empty means the whole
	// account that holds the policy.
	Vault secret.VaultID
}

// GrantPolicy returns the text of a policy that grants g. Errors: CodeInvalid.
func GrantPolicy(g Grant) (string, error) {
	principal, err := g.principal()
	if err != nil {
		return "", err
	}
	actions, err := g.actions()
	if err != nil {
		return "", err
	}
	resource := "resource"
	if g.Vault != "" {
		resource = "resource in " + uid(typeVault, g.Vault).String()
	}
	return fmt.Sprintf("permit (\n  principal %s,\n  action in [%s],\n  %s\n);\n", principal, actions, resource), nil
}

func (g Grant) principal() (string, error) {
	switch {
	case (g.Principal == nil) == (g.Role == ""):
		return "", secret.Invalid("principal", "either a principal or a role must be given")
	case g.Principal != nil:
		return "== " + PrincipalEntity(g.Principal), nil
	}
	if err := secret.CheckContainerName("role", g.Role); err != nil {
		return "", err
	}
	return "in " + uid(typeRole, g.Role).String(), nil
}

func (g Grant) actions() (string, error) {
	table := newActionTable()
	var names []string
	add := func(id cedar.EntityUID) error {
		if table.masks[id] == (actionSet{}) {
			return secret.Invalid("actions", "%q is no action or group of actions", string(id.ID))
		}
		names = append(names, id.String())
		return nil
	}
	for _, group := range g.Groups {
		if err := add(uid(typeAction, group)); err != nil {
			return "", err
		}
	}
	for _, action := range g.Actions {
		if err := add(uid(typeAction, action)); err != nil {
			return "", err
		}
	}
	if len(names) == 0 {
		return "", secret.Invalid("actions", "at least one action or group of actions must be given")
	}
	return strings.Join(names, ", "), nil
}
