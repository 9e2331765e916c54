package aws

import (
	"context"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// A resource policy is kept as a policy of the account, so that it decides like all
// others: in Cedar, preceded by the text that was put, in a comment.
const (
	policyComment = "// Resource policy, as it was put: "
	maxPolicy     = 20480
)

// policyName is that of the account's policy for a secret.
func policyName(id secret.ID) string { return "aws." + string(id) }

type putPolicyIn struct {
	SecretId, ResourcePolicy *string //nolint:revive // the API's name
	BlockPublicPolicy        bool
}

type getPolicyOut struct {
	ARN            string
	Name           string
	ResourcePolicy string `json:",omitzero"`
}

func checkPolicyText(text *string) error {
	switch {
	case text == nil:
		return broken("null", "resourcePolicy", "not be null")
	case len(*text) == 0 || len(*text) > maxPolicy:
		return broken("", "resourcePolicy", "have length between 1 and %d", maxPolicy)
	}
	return nil
}

func (d *Dialect) putResourcePolicy(ctx context.Context, in *putPolicyIn) (any, error) {
	if err := checkPolicyText(in.ResourcePolicy); err != nil {
		return nil, err
	}
	s, err := d.existing(ctx, in.SecretId, writable)
	if err != nil {
		return nil, err
	}
	cedar, flaws, err := d.translate(ctx, *in.ResourcePolicy, s)
	if err != nil {
		return nil, err
	}
	for _, flaw := range flaws {
		if flaw.CheckName == checkPublic {
			return nil, faultf(secret.CodeInvalid, "PublicPolicyException", "%s", flaw.ErrorMessage)
		}
	}
	if len(flaws) > 0 {
		return nil, malformed("%s", flaws[0].ErrorMessage)
	}
	_, err = d.Service.PutPolicy(ctx, service.NewPolicy{
		Account: string(s.Account), Name: policyName(s.ID), Text: policyComment + oneLine(*in.ResourcePolicy) + "\n" + cedar,
		Description: "Resource policy of the secret " + s.Name,
	})
	if err != nil {
		return nil, elsewhere(err)
	}
	return &namedOut{ARN: d.arnOf(s), Name: s.Name}, nil
}

// elsewhere says of which record another region is the home.
func elsewhere(err error) error {
	if e, ok := asError(err); ok && e.Code == secret.CodeNotHome {
		return faultf(e.Code, "InvalidRequestException", "Policies of the account are changed in its home region, %s.", e.Home)
	}
	return err
}

// oneLine returns a JSON text on one line; inside of strings it has no line breaks.
func oneLine(text string) string {
	compact := jsontext.Value(text)
	if compact.Compact() != nil {
		return ""
	}
	return string(compact)
}

func (d *Dialect) getResourcePolicy(ctx context.Context, in *secretIn) (any, error) {
	s, err := d.existing(ctx, in.SecretId, writable)
	if err != nil {
		return nil, err
	}
	out := &getPolicyOut{ARN: d.arnOf(s), Name: s.Name}
	p, err := d.Service.GetPolicy(ctx, string(s.Account), policyName(s.ID))
	if secret.HasCode(err, secret.CodeNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(p.Text, "\n")
	text, ok := strings.CutPrefix(first, policyComment)
	if !ok {
		return nil, invalidRequest("The policy %s was written with another API; it can be read there.", p.Name)
	}
	out.ResourcePolicy = text
	return out, nil
}

func (d *Dialect) deleteResourcePolicy(ctx context.Context, in *secretIn) (any, error) {
	s, err := d.existing(ctx, in.SecretId, writable)
	if err != nil {
		return nil, err
	}
	err = d.Service.DeletePolicy(ctx, string(s.Account), policyName(s.ID))
	if err != nil && !secret.HasCode(err, secret.CodeNotFound) {
		return nil, elsewhere(err)
	}
	return &namedOut{ARN: d.arnOf(s), Name: s.Name}, nil
}

type validatePolicyIn struct {
	SecretId, ResourcePolicy *string //nolint:revive // the API's name
}

type validatePolicyOut struct {
	PolicyValidationPassed bool
	ValidationErrors       []flaw
}

func (d *Dialect) validateResourcePolicy(ctx context.Context, in *validatePolicyIn) (any, error) {
	if err := checkPolicyText(in.ResourcePolicy); err != nil {
		return nil, err
	}
	var s *secret.Secret
	if in.SecretId != nil {
		var err error
		if s, err = d.existing(ctx, in.SecretId, nil); err != nil {
			return nil, err
		}
	}
	_, flaws, err := d.translate(ctx, *in.ResourcePolicy, s)
	if err != nil {
		return nil, err
	}
	if flaws == nil {
		flaws = []flaw{}
	}
	return &validatePolicyOut{PolicyValidationPassed: len(flaws) == 0, ValidationErrors: flaws}, nil
}
