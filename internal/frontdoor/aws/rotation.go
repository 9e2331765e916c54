package aws

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

type rotationRules struct {
	AutomaticallyAfterDays       *int64
	Duration, ScheduleExpression *string
}

type rotateSecretIn struct {
	SecretId, ClientRequestToken *string //nolint:revive // the API's name
	RotateImmediately            *bool
	RotationLambdaARN            *string
	RotationRules                *rotationRules
}

// rotateSecret refuses as AWS does for rotators that cannot be invoked: this region
// has none.
func (d *Dialect) rotateSecret(ctx context.Context, in *rotateSecretIn) (any, error) {
	if _, err := checkToken(in.ClientRequestToken); err != nil {
		return nil, err
	}
	if _, err := d.existing(ctx, in.SecretId, writable); err != nil {
		return nil, err
	}
	if in.RotationLambdaARN == nil {
		return nil, invalidRequest("No Lambda rotation function ARN is associated with this secret.")
	}
	return nil, faultf(secret.CodeDenied, "AccessDeniedException", "Secrets Manager cannot invoke the specified Lambda function. "+
		"Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
}

func (d *Dialect) cancelRotateSecret(ctx context.Context, in *secretIn) (any, error) {
	if _, err := d.existing(ctx, in.SecretId, writable); err != nil {
		return nil, err
	}
	return nil, invalidRequest("Rotation was never set up for this secret.")
}
