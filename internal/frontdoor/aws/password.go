package aws

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/generate"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

type passwordIn struct {
	ExcludeCharacters                                                                    string
	ExcludeLowercase, ExcludeNumbers, ExcludePunctuation, ExcludeUppercase, IncludeSpace bool
	PasswordLength                                                                       *int64
	RequireEachIncludedType                                                              *bool
}

type passwordOut struct {
	RandomPassword string
}

func (d *Dialect) getRandomPassword(ctx context.Context, in *passwordIn) (any, error) {
	rules := generate.Rules{
		ExcludeCharacters: in.ExcludeCharacters, ExcludeLowercase: in.ExcludeLowercase, ExcludeUppercase: in.ExcludeUppercase,
		ExcludeDigits: in.ExcludeNumbers, ExcludePunctuation: in.ExcludePunctuation, IncludeSpace: in.IncludeSpace,
		AllowMissingKinds: in.RequireEachIncludedType != nil && !*in.RequireEachIncludedType,
	}
	if n := in.PasswordLength; n != nil {
		if *n < generate.MinLength || *n > generate.MaxLength {
			return nil, invalidParameter("PasswordLength: is %d; allowed are %d to %d.", *n, generate.MinLength, generate.MaxLength)
		}
		rules.Length = int(*n)
	}
	value, err := d.Service.GenerateValue(ctx, func() (secret.Plaintext, error) { return generate.Password(rules) })
	if err != nil {
		return nil, err
	}
	return &passwordOut{RandomPassword: string(value.Reveal())}, nil
}
