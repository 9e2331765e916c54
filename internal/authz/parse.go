package authz

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Limits on one permit or forbid. They keep checking it, and deciding by it,
// cheap; people write far smaller ones.
const (
	// MaxNesting bounds how deep brackets are nested.
	MaxNesting = 100
	// MaxConditionNodes bounds the operators, operands and names in the
	// conditions: the time to check types grows with its third power, to 40 ms for
	// 200 and 4 s for 1000.
	MaxConditionNodes = 200
)

// ParsePolicy checks a policy before it is stored: its name, its size (at most
// secret.MaxPolicyBytes), its syntax, and that it fits what policies can speak
// of: a name that does not exist, a comparison that can never be true, or a tag
// that is used without asking first whether it is there, is refused. Errors:
// CodeInvalid, with the line and column.
func ParsePolicy(name, text string) error {
	if err := secret.CheckContainerName("name", name); err != nil {
		return err
	}
	if err := secret.CheckText("text", text, secret.MaxPolicyBytes); err != nil {
		return err
	}
	if err := checkNesting(text); err != nil {
		return err
	}
	list, err := cedar.NewPolicyListFromBytes(name, []byte(text))
	if err != nil {
		return syntaxError(err)
	}
	if len(list) == 0 {
		return secret.Invalid("text", "holds no policy").WithHint("delete the policy instead")
	}
	known := newNames()
	untagged := validate.New(newSchema(nil))
	for i, p := range list {
		if err := checkPolicy((*ast.Policy)(p.AST()), known, untagged); err != nil {
			at := p.Position()
			message := fmt.Sprintf("policy %d at line %d, column %d: %s", i, at.Line, at.Column, err.Message)
			return secret.Invalid("text", "%s", message).WithHint(err.Hint)
		}
	}
	return nil
}

// checkNesting bounds the recursion of everything that walks the policy. It
// need not understand strings and comments: brackets in them only count.
func checkNesting(text string) error {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > MaxNesting {
			return secret.Invalid("text", "is nested deeper than the limit of %d, at line %d", MaxNesting, 1+strings.Count(text[:i], "\n"))
		}
	}
	return nil
}

// syntaxError rewords a parser's error, which says <input>:LINE:COLUMN.
func syntaxError(err error) error {
	message := strings.TrimPrefix(err.Error(), "parser error: ")
	message = strings.TrimPrefix(message, "parse error at ")
	message = strings.Replace(message, "exact got", "found", 1)
	if place, rest, ok := strings.Cut(message, " "); ok {
		if line, column, ok := strings.Cut(strings.TrimPrefix(place, "<input>:"), ":"); ok {
			message = "line " + line + ", column " + column + ": at " + rest
		}
	}
	return secret.Invalid("text", "%s", message)
}

// checkPolicy checks one permit or forbid; untagged knows no tags.
func checkPolicy(p *ast.Policy, known *names, untagged *validate.Validator) *secret.Error {
	nodes := 0
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(ast.IsNode) bool {
			nodes++
			return true
		})
	}
	if nodes > MaxConditionNodes {
		return secret.Invalid("", "its conditions have %d parts; the limit is %d", nodes, MaxConditionNodes).
			WithHint("split it into several policies")
	}
	if err := known.checkPolicy(p); err != nil {
		return err
	}
	validator := untagged
	if tags := usedTags(p.Conditions); len(tags) > 0 {
		validator = validate.New(newSchema(tags))
	}
	if err := validator.Policy("", p); err != nil {
		message := first(err.Error())
		return secret.Invalid("", "%s", message).WithHint(hint(message))
	}
	return nil
}

// first returns the first error of several, always the same.
func first(messages string) string { return slices.Min(strings.Split(messages, "\n")) }

func hint(message string) string {
	switch {
	case strings.Contains(message, "safety of access to optional attribute"):
		return "a tag may be missing: ask first, as in resource.tags has env && resource.tags.env == \"test\""
	case strings.Contains(message, "applicable action"):
		return "none of the actions is ever done to such a resource; to name all secrets of a vault write resource in Vault::\"ID\""
	case strings.Contains(message, "in context"):
		return "the context has source_ip, time, region and method"
	case strings.Contains(message, "attribute `tags`"):
		return "only secrets and vaults have tags; limit the policy to them with resource is Secret, or resource in Vault::\"ID\""
	case strings.Contains(message, "not found"):
		return "principals have name, kind and account; secrets name, vault and tags; vaults name and tags; the rest name"
	}
	return ""
}

// checkPolicy refuses entity types and actions that do not exist, with a
// suggestion.
func (n *names) checkPolicy(p *ast.Policy) *secret.Error {
	n.scope(p.Principal)
	n.scope(p.Action)
	n.scope(p.Resource)
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(node ast.IsNode) bool {
			switch node := node.(type) {
			case ast.NodeValue:
				n.value(node.Value)
			case ast.NodeTypeIs:
				n.entityType(node.EntityType)
			case ast.NodeTypeIsIn:
				n.entityType(node.EntityType)
			}
			return true
		})
	}
	return n.err
}

// names checks names and keeps the first error.
type names struct {
	types   []string
	actions []string
	err     *secret.Error
}

func newNames() *names {
	n := &names{}
	schema := newSchema(nil)
	for t := range schema.Entities {
		n.types = append(n.types, string(t))
	}
	for id := range schema.Actions {
		n.actions = append(n.actions, string(id.ID))
	}
	slices.Sort(n.types)
	slices.Sort(n.actions)
	return n
}

func (n *names) scope(s ast.IsScopeNode) {
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		n.entity(s.Entity)
	case ast.ScopeTypeIn:
		n.entity(s.Entity)
	case ast.ScopeTypeInSet:
		for _, e := range s.Entities {
			n.entity(e)
		}
	case ast.ScopeTypeIs:
		n.entityType(s.Type)
	case ast.ScopeTypeIsIn:
		n.entityType(s.Type)
		n.entity(s.Entity)
	}
}

func (n *names) value(v cedar.Value) {
	switch v := v.(type) {
	case cedar.EntityUID:
		n.entity(v)
	case cedar.Set:
		for e := range v.All() {
			n.value(e)
		}
	}
}

func (n *names) entity(e cedar.EntityUID) {
	if e.Type != typeAction {
		n.entityType(e.Type)
		return
	}
	n.check("action", string(e.ID), n.actions)
}

func (n *names) entityType(t cedar.EntityType) { n.check("entity type", string(t), n.types) }

func (n *names) check(what, name string, known []string) {
	if n.err != nil || slices.Contains(known, name) {
		return
	}
	n.err = secret.Invalid("", "there is no %s %q", what, name)
	for _, k := range known {
		if distance(strings.ToLower(name), strings.ToLower(k)) <= 2 {
			n.err.Hint = "did you mean " + k + "?"
			return
		}
	}
	n.err.Hint = "known are " + strings.Join(known, ", ")
}

// distance is the Levenshtein distance of two short names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substituted := diagonal
			if a[i] != b[j] {
				substituted++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j]+1, row[j+1]+1, substituted)
		}
	}
	return row[len(b)]
}
