package authz

import (
	"github.com/cedar-policy/cedar-go"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// ParsePolicy checks a policy before it is stored: its name, its size (at most
// secret.MaxPolicyBytes), its syntax, and that it fits what this package knows:
// entity types, actions, attributes and their types. Errors: CodeInvalid.
func ParsePolicy(name, text string) error {
	if err := secret.CheckContainerName("name", name); err != nil {
		return err
	}
	if err := secret.CheckText("text", text, secret.MaxPolicyBytes); err != nil {
		return err
	}
	list, err := cedar.NewPolicyListFromBytes(name, []byte(text))
	if err != nil {
		return secret.Invalid("text", "%s", err)
	}
	if len(list) == 0 {
		return secret.Invalid("text", "holds no policy")
	}
	return nil
}
