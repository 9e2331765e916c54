package aws

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// flaw is something in a resource policy that has no meaning in this region, or a
// dangerous one.
type flaw struct {
	CheckName, ErrorMessage string
}

// The checks that flaws name.
const (
	checkPublic  = "PUBLIC_ACCESS"
	checkMeaning = "NO_MEANING_HERE"
)

func malformed(format string, args ...any) error {
	return faultf(secret.CodeInvalid, "MalformedPolicyDocumentException", format, args...)
}

// statement is one of a resource policy. What is in it and has no meaning here is
// known by name, so that the refusal can say so.
type statement struct {
	Sid, Effect                              string
	Principal, NotPrincipal                  jsontext.Value
	Action, NotAction, Resource, NotResource jsontext.Value
	Condition                                jsontext.Value
}

type document struct {
	Version, Id string //nolint:revive // the language's name
	Statement   jsontext.Value
}

// oneOrMore decodes what may be one thing or a list of them.
func oneOrMore[T any](v jsontext.Value) (list []T, err error) {
	if v.Kind() == '[' {
		err = json.Unmarshal(v, &list, json.RejectUnknownMembers(true))
		return list, err
	}
	one := make([]T, 1)
	err = json.Unmarshal(v, &one[0], json.RejectUnknownMembers(true))
	return one, err
}

// translate turns a resource policy into Cedar. s is the secret it is for, nil if
// that is not known yet. Errors: MalformedPolicyDocumentException for a text that
// is not a policy; those of looking principals up.
func (d *Dialect) translate(ctx context.Context, text string, s *secret.Secret) (cedar string, flaws []flaw, err error) {
	var doc document
	if err := json.Unmarshal([]byte(text), &doc, json.RejectUnknownMembers(true)); err != nil {
		return "", nil, malformed("This resource policy contains invalid Json")
	}
	if doc.Version != "2012-10-17" {
		return "", nil, malformed("This resource policy is not of the version 2012-10-17")
	}
	statements, err := oneOrMore[statement](doc.Statement)
	if err != nil || len(statements) == 0 {
		return "", nil, malformed("This resource policy has no statements that can be understood")
	}
	t := translation{dialect: d, secret: s}
	for i := range statements {
		if err := t.statement(ctx, i, &statements[i]); err != nil {
			return "", nil, err
		}
	}
	return t.cedar.String(), t.flaws, nil
}

// translation is a resource policy being translated.
type translation struct {
	dialect *Dialect
	secret  *secret.Secret
	cedar   strings.Builder
	flaws   []flaw
	at      string
}

func (t *translation) flaw(check, format string, args ...any) {
	t.flaws = append(t.flaws, flaw{CheckName: check, ErrorMessage: t.at + ": " + fmt.Sprintf(format, args...)})
}

func (t *translation) statement(ctx context.Context, i int, s *statement) error {
	t.at = fmt.Sprintf("statement %d", i+1)
	effect, ok := map[string]string{"Allow": "permit", "Deny": "forbid"}[s.Effect]
	if !ok {
		return malformed("%s: Effect must be Allow or Deny", t.at)
	}
	for name, v := range map[string]jsontext.Value{"NotPrincipal": s.NotPrincipal, "NotAction": s.NotAction, "NotResource": s.NotResource, "Condition": s.Condition} {
		if v != nil {
			t.flaw(checkMeaning, "%s has no meaning in this region; write a policy of the account instead", name)
		}
	}
	principals, err := t.principals(ctx, s.Principal, effect)
	if err != nil {
		return err
	}
	actions, err := t.actions(s.Action)
	if err != nil {
		return err
	}
	if err := t.resource(s.Resource); err != nil {
		return err
	}
	for _, principal := range principals {
		id := ""
		if t.secret != nil {
			id = string(t.secret.ID)
		}
		fmt.Fprintf(&t.cedar, "%s (\n  principal%s,\n  action in [%s],\n  resource == Secret::%q\n);\n", effect, principal, strings.Join(actions, ", "), id)
	}
	return nil
}

// principals returns the scopes of the principals of a statement.
func (t *translation) principals(ctx context.Context, v jsontext.Value, effect string) (scopes []string, err error) {
	var names []string
	switch v.Kind() {
	case '"':
		names, err = oneOrMore[string](v)
		if err == nil && names[0] != "*" {
			return nil, malformed("%s: Principal must be an object, or *", t.at)
		}
	case '{':
		kinds := map[string]jsontext.Value{}
		if err = json.Unmarshal(v, &kinds); err == nil {
			for _, kind := range slices.Sorted(maps.Keys(kinds)) {
				if kind != "AWS" {
					t.flaw(checkMeaning, "a principal of the kind %q has no meaning in this region", kind)
					continue
				}
				names, err = oneOrMore[string](kinds[kind])
			}
		}
	default:
		return nil, malformed("%s: Principal is missing", t.at)
	}
	if err != nil {
		return nil, malformed("%s: Principal cannot be understood", t.at)
	}
	if len(names) == 0 && len(t.flaws) == 0 {
		return nil, malformed("%s: Principal names nobody", t.at)
	}
	for _, name := range names {
		scope, err := t.principal(ctx, name, effect)
		if err != nil {
			return nil, err
		}
		scopes = append(scopes, scope)
	}
	return scopes, nil
}

// principal returns the scope of one principal: the account itself, a role of it, or
// somebody in it.
func (t *translation) principal(ctx context.Context, name, effect string) (scope string, err error) {
	if name == "*" {
		if effect == "permit" {
			t.flaw(checkPublic, "everybody would be permitted; name the account or principals")
		}
		return "", nil
	}
	if t.secret == nil {
		return "", nil // whose account it is shows with a secret
	}
	number := accountNumber(t.secret.Account)
	rest, ok := strings.CutPrefix(name, "arn:aws:iam::"+number+":")
	kind, who, _ := strings.Cut(rest, "/")
	switch {
	case name == number, ok && rest == "root":
		return fmt.Sprintf(" in Account::%q", string(t.secret.Account)), nil
	case ok && kind == "role" && secret.CheckContainerName("role", who) == nil:
		return fmt.Sprintf(" in Role::%q", who), nil
	case ok && kind == "user":
		p, err := t.dialect.Service.GetPrincipal(ctx, string(t.secret.Account), who)
		switch secret.CodeOf(err) {
		case "":
			return " == " + authz.PrincipalEntity(p), nil
		case secret.CodeNotFound, secret.CodeInvalid:
			t.flaw(checkMeaning, "the account has no principal of that name: %q", name)
			return "", nil
		}
		return "", err
	}
	t.flaw(checkMeaning, "the principal %q has no meaning in this region: it may be arn:aws:iam::%s:root, :user/NAME or :role/NAME", name, number)
	return "", nil
}

// granted are the actions that the API's stand for on a secret.
var granted = map[string][]authz.Action{
	"BatchGetSecretValue": {authz.GetSecretValue}, "GetSecretValue": {authz.GetSecretValue},
	"DescribeSecret": {authz.DescribeSecret}, "ListSecretVersionIds": {authz.DescribeSecret},
	"PutSecretValue": {authz.PutSecretVersion}, "UpdateSecret": {authz.UpdateSecret, authz.PutSecretVersion},
	"TagResource": {authz.UpdateSecret}, "UntagResource": {authz.UpdateSecret}, "UpdateSecretVersionStage": {authz.MoveStage},
	"DeleteSecret": {authz.DeleteSecret, authz.PurgeSecret}, "RestoreSecret": {authz.RestoreSecret},
	"ReplicateSecretToRegions": {authz.ReplicateSecret}, "RemoveRegionsFromReplication": {authz.ReplicateSecret},
	"StopReplicationToReplica": {authz.PromoteSecret},
	"RotateSecret":             {authz.RotateSecret}, "CancelRotateSecret": {authz.RotateSecret},
}

// together names for some actions another one that this region cannot tell apart
// from it and that says more.
var together = map[string]string{
	"ListSecretVersionIds": "DescribeSecret", "TagResource": "UpdateSecret", "UntagResource": "UpdateSecret", "UpdateSecret": "PutSecretValue", "BatchGetSecretValue": "GetSecretValue",
	"ReplicateSecretToRegions": "RemoveRegionsFromReplication", "RemoveRegionsFromReplication": "ReplicateSecretToRegions",
	"RotateSecret": "CancelRotateSecret", "CancelRotateSecret": "RotateSecret",
}

// actions returns the actions of a statement as Cedar names them.
func (t *translation) actions(v jsontext.Value) ([]string, error) {
	patterns, err := oneOrMore[string](v)
	if v == nil || err != nil || len(patterns) == 0 {
		return nil, malformed("%s: Action cannot be understood", t.at)
	}
	named := map[string]bool{}
	for _, pattern := range patterns {
		name, ok := strings.CutPrefix(pattern, "secretsmanager:")
		found := false
		for action := range granted {
			if match, _ := path.Match(name, action); ok && match && !strings.ContainsAny(name, `[\`) {
				named[action], found = true, true
			}
		}
		if !found {
			t.flaw(checkMeaning, "the action %q has no meaning for a secret of this region", pattern)
		}
	}
	actions := map[string]bool{}
	for name := range named {
		if other, ok := together[name]; ok && !named[other] {
			t.flaw(checkMeaning, "%s goes with %s in this region: name both", name, other)
		}
		for _, action := range granted[name] {
			actions[fmt.Sprintf("Action::%q", string(action))] = true
		}
	}
	return slices.Sorted(maps.Keys(actions)), nil
}

// resource checks that a statement is about the secret.
func (t *translation) resource(v jsontext.Value) error {
	names, err := oneOrMore[string](v)
	if v == nil || err != nil || len(names) == 0 {
		return malformed("%s: Resource cannot be understood", t.at)
	}
	for _, name := range names {
		if name != "*" && (t.secret == nil || name != t.dialect.arnOf(t.secret)) {
			t.flaw(checkMeaning, "the resource must be * or the secret's own ARN")
		}
	}
	return nil
}
