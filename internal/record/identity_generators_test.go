package record_test

import (
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

var (
	trustBundles = rapid.Custom(func(t *rapid.T) *secret.TrustBundle {
		return &secret.TrustBundle{
			Account: text[secret.AccountID]().Draw(t, "account"), Name: text[string]().Draw(t, "name"), Description: text[string]().Draw(t, "description"),
			CAPEM: text[string]().Draw(t, "CA"), Ownership: ownerships.Draw(t, "ownership"),
			CreatedAt: instant.Draw(t, "created"), UpdatedAt: instant.Draw(t, "updated"),
		}
	})
	bindings = rapid.Custom(func(t *rapid.T) *secret.Binding {
		return &secret.Binding{
			ID: text[secret.BindingID]().Draw(t, "ID"), Account: text[secret.AccountID]().Draw(t, "account"),
			Principal: text[secret.PrincipalID]().Draw(t, "principal"), URI: text[string]().Draw(t, "URI"), Trust: text[string]().Draw(t, "trust"),
			Ownership: ownerships.Draw(t, "ownership"), CreatedAt: instant.Draw(t, "created"),
		}
	})
	mappingRules = rapid.Custom(func(t *rapid.T) secret.MappingRule {
		return secret.MappingRule{
			Claims: mapping[string](text[string]()).Draw(t, "claims"), Principal: text[secret.PrincipalID]().Draw(t, "principal"),
			Template: text[string]().Draw(t, "template"),
		}
	})
	issuers = rapid.Custom(func(t *rapid.T) *secret.Issuer {
		return &secret.Issuer{
			ID: text[secret.IssuerID]().Draw(t, "ID"), Account: text[secret.AccountID]().Draw(t, "account"), Name: text[string]().Draw(t, "name"),
			Description: text[string]().Draw(t, "description"), URL: text[string]().Draw(t, "URL"),
			Audiences: list(text[string]()).Draw(t, "audiences"), Algorithms: list(text[string]()).Draw(t, "algorithms"),
			Rules: list(mappingRules).Draw(t, "rules"), Source: text[secret.KeySource]().Draw(t, "source"), KeysURL: text[string]().Draw(t, "keys URL"),
			CAPEM: text[string]().Draw(t, "CA"), Leeway: duration.Draw(t, "leeway"), MaxLifetime: duration.Draw(t, "lifetime"),
			RefreshEvery: duration.Draw(t, "refresh"), MaxKeyAge: duration.Draw(t, "age"), Ownership: ownerships.Draw(t, "ownership"),
			CreatedAt: instant.Draw(t, "created"), UpdatedAt: instant.Draw(t, "updated"),
		}
	})
	issuerKeys = rapid.Custom(func(t *rapid.T) *secret.IssuerKeys {
		return &secret.IssuerKeys{
			Account: text[secret.AccountID]().Draw(t, "account"), Name: text[string]().Draw(t, "name"), Issuer: text[secret.IssuerID]().Draw(t, "issuer"),
			Set: content[[]byte]().Draw(t, "set"), FetchedAt: instant.Draw(t, "fetched"), LastError: text[string]().Draw(t, "error"),
			FailedAt: instant.Draw(t, "failed"), Ownership: ownerships.Draw(t, "ownership"),
		}
	})
)
