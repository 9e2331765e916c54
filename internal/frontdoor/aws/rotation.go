package aws

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	textNoRotator   = "No Lambda rotation function ARN is associated with this secret."
	textUnreachable = "Secrets Manager cannot invoke the specified Lambda function. " +
		"Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com."
	textUnderWay = "A previous rotation isn't complete. That rotation will be reattempted."
)

type rotationRules struct {
	AutomaticallyAfterDays       *int64  `json:",omitzero"`
	Duration, ScheduleExpression *string `json:",omitzero"`
}

// schedule returns the rules as a schedule, nil if there are none.
func (r *rotationRules) schedule() (*secret.Schedule, error) {
	if r == nil {
		return nil, nil
	}
	s := &secret.Schedule{}
	switch {
	case r.AutomaticallyAfterDays != nil && r.ScheduleExpression != nil:
		return nil, invalidParameter("RotationRules: give either AutomaticallyAfterDays or ScheduleExpression.")
	case r.AutomaticallyAfterDays != nil:
		if n := *r.AutomaticallyAfterDays; n < 1 || n > secret.MaxRotationDays {
			return nil, broken("'"+strconv.FormatInt(n, 10)+"'", "rotationRules.automaticallyAfterDays", "have value between 1 and %d", secret.MaxRotationDays)
		}
		s.AfterDays = int(*r.AutomaticallyAfterDays)
	case r.ScheduleExpression != nil:
		s.Expression = *r.ScheduleExpression
	}
	if r.Duration != nil {
		hours, err := strconv.Atoi(strings.TrimSuffix(*r.Duration, "h"))
		if err != nil || !strings.HasSuffix(*r.Duration, "h") || hours < 1 || hours > 24 {
			return nil, invalidParameter("RotationRules.Duration: must be like 3h, 1 to 24 hours.")
		}
		s.Window = time.Duration(hours) * time.Hour
	}
	if e, ok := asError(s.Check()); ok {
		return nil, invalidParameter("RotationRules: %s %s.", e.Field, e.Message)
	}
	return s, nil
}

func rulesOf(s secret.Schedule) *rotationRules {
	if s == (secret.Schedule{}) {
		return nil
	}
	r := &rotationRules{}
	if s.AfterDays > 0 {
		days := int64(s.AfterDays)
		r.AutomaticallyAfterDays = &days
	}
	if s.Expression != "" {
		r.ScheduleExpression = &s.Expression
	}
	if s.Window > 0 {
		text := strconv.Itoa(int(s.Window/time.Hour)) + "h"
		r.Duration = &text
	}
	return r
}

// rotated is what the answers about a secret tell of its rotation, if it was ever
// set up.
type rotated struct {
	LastRotatedDate   epoch          `json:",omitzero"`
	NextRotationDate  epoch          `json:",omitzero"`
	RotationEnabled   *bool          `json:",omitzero"`
	RotationLambdaARN string         `json:",omitzero"`
	RotationRules     *rotationRules `json:",omitzero"`
}

func rotationOf(s *secret.Secret) rotated {
	r := s.Rotation
	if r == nil {
		return rotated{}
	}
	enabled := r.Enabled
	out := rotated{
		LastRotatedDate: epochOf(r.LastAt), RotationEnabled: &enabled, RotationLambdaARN: r.Rotator, RotationRules: rulesOf(r.Schedule),
	}
	if enabled {
		out.NextRotationDate = epochOf(r.NextAt)
	}
	return out
}

type rotateSecretIn struct {
	SecretId, ClientRequestToken *string //nolint:revive // the API's name
	RotateImmediately            *bool
	RotationLambdaARN            *string
	RotationRules                *rotationRules
}

type rotateOut struct {
	ARN       string
	Name      string
	VersionId string `json:",omitzero"` //nolint:revive // the API's name
}

func (d *Dialect) rotateSecret(ctx context.Context, in *rotateSecretIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	token, err := checkToken(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	schedule, err := in.RotationRules.schedule()
	if err != nil {
		return nil, err
	}
	r := service.RotationRequest{SecretRef: ref, WaitCleared: true, RotationSettings: secret.RotationSettings{Rotator: in.RotationLambdaARN, Schedule: schedule}}
	if in.RotateImmediately == nil || *in.RotateImmediately {
		r.Begin = token
	} else {
		r.Try = token
	}
	r.Check = func(s *secret.Secret) error {
		if err := writable(s); err != nil {
			return err
		}
		return d.checkRotator(s, in.RotationLambdaARN)
	}
	o, err := d.Service.RotateSecret(ctx, r)
	if e, ok := asError(err); ok && e.Code == secret.CodeWrongState && e.Field == "version_id" {
		err = faultf(e.Code, "InvalidRequestException", textUnderWay)
	}
	if err != nil {
		return nil, err
	}
	return &rotateOut{ARN: d.arnOf(o.Secret), Name: o.Secret.Name, VersionId: string(r.Begin)}, nil
}

// checkRotator checks that a secret will have a rotator, and one of this region.
func (d *Dialect) checkRotator(s *secret.Secret, given *string) error {
	name := ""
	switch {
	case given != nil:
		name = *given
	case s.Rotation != nil:
		name = s.Rotation.Rotator
	}
	switch {
	case s.Ownership.Home != d.Region: // it is refused for that
		return nil
	case name == "":
		return faultf(secret.CodeWrongState, "InvalidRequestException", textNoRotator)
	case d.Rotator == nil || !d.Rotator(name) || !rotates(name, s.Account):
		return faultf(secret.CodeWrongState, "AccessDeniedException", textUnreachable)
	}
	return nil
}

// anyAccount stands in the name of a rotator for every account.
const anyAccount = "000000000000"

// rotates reports whether a rotator is for the secrets of an account, which its name
// says: nobody has another's act for them.
func rotates(name string, account secret.AccountID) bool {
	part := strings.SplitN(name, ":", 6)
	return len(part) == 6 && (part[4] == anyAccount || part[4] == accountNumber(account))
}

func (d *Dialect) cancelRotateSecret(ctx context.Context, in *secretIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	var version secret.VersionID
	ref.Check = func(s *secret.Secret) error {
		if err := writable(s); err != nil {
			return err
		}
		if s.Rotation == nil {
			return faultf(secret.CodeWrongState, "InvalidRequestException", "Rotation was never set up for this secret.")
		}
		version = s.Rotation.Version
		return nil
	}
	o, err := d.Service.CancelRotation(ctx, ref, true)
	if err != nil {
		return nil, err
	}
	return &rotateOut{ARN: d.arnOf(o.Secret), Name: o.Secret.Name, VersionId: string(version)}, nil
}
