package authz

import (
	"iter"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// Decide answers whether the caller may do the action to the resource, by the
// policies of the resource's account. Errors mean no: those of the view, of a
// policy that cannot be read, and CodeInternal for a request that makes no sense.
func (a *Authorizer) Decide(view record.View, r Request) (Decision, error) {
	var room room
	q, err := ask(a.actions, &r, &room)
	if err != nil {
		return Decision{}, err
	}
	set, err := a.accounts.policies(view, r.Resource.Account)
	if err != nil {
		return Decision{}, err
	}
	return set.index.decide(&q, a.actions), nil
}

// decide evaluates the policies of an account.
func (x index) decide(q *question, actions *actionTable) Decision {
	var v verdict
	x.match(q, v.add)
	if len(v.conditional) > 0 {
		v.evaluate(q, actions)
	}
	return v.decision()
}

// verdict collects what policies say.
type verdict struct {
	permits, forbids []string
	// conditional are those whose scope matches and that Cedar must evaluate.
	conditional []*policy
	// failed says which policies could not be evaluated and why.
	failed []string
}

func (v *verdict) add(p *policy) {
	switch {
	case p.conditional:
		v.conditional = append(v.conditional, p)
	case p.forbid:
		v.forbids = append(v.forbids, p.id)
	default:
		v.permits = append(v.permits, p.id)
	}
}

// evaluate lets Cedar decide the conditional policies. A forbid that fails to
// evaluate forbids.
func (v *verdict) evaluate(q *question, actions *actionTable) {
	var n needs
	for _, p := range v.conditional {
		n |= p.needs
	}
	e := actions.environments.Get().(*environment)
	defer func() {
		*e = environment{}
		actions.environments.Put(e)
	}()
	e.fill(q, actions, n)
	allow, diagnostic := cedar.Authorize(slice(v.conditional), e, e.cedar())
	for _, r := range diagnostic.Reasons {
		if allow {
			v.permits = append(v.permits, string(r.PolicyID))
		} else {
			v.forbids = append(v.forbids, string(r.PolicyID))
		}
	}
	for _, e := range diagnostic.Errors {
		v.failed = append(v.failed, string(e.PolicyID)+" could not be evaluated: "+e.Message)
		if v.isForbid(string(e.PolicyID)) {
			v.forbids = append(v.forbids, string(e.PolicyID))
		}
	}
}

func (v *verdict) isForbid(id string) bool {
	return slices.ContainsFunc(v.conditional, func(p *policy) bool { return p.forbid && p.id == id })
}

func (v *verdict) decision() Decision {
	d := Decision{}
	switch {
	case len(v.forbids) > 0:
		d.Policies, d.Reason = v.forbids, "a policy forbids it"
	case len(v.permits) > 0:
		d.Policies, d.Reason, d.Allowed = v.permits, "a policy permits it", true
	default:
		d.Reason = "no policy permits it"
	}
	slices.Sort(d.Policies)
	d.Policies = slices.Compact(d.Policies)
	if len(v.failed) > 0 && !d.Allowed {
		slices.Sort(v.failed)
		d.Reason += "; " + strings.Join(v.failed, "; ")
	}
	return d
}

// slice is the part of an account's policies that Cedar evaluates.
type slice []*policy

// All implements cedar.PolicyIterator.
func (s slice) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range s {
			if !yield(cedar.PolicyID(p.id), p.cedar) {
				return
			}
		}
	}
}
