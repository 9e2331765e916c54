package record_test

import (
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// What may be drawn of the records about moves of ownership.
var (
	takeovers = rapid.Custom(func(t *rapid.T) *recordpb.Takeover {
		return &recordpb.Takeover{
			Region: text[string]().Draw(t, "region"), At: rapid.Int64().Draw(t, "at"),
			Bookmark: text[string]().Draw(t, "bookmark"), Moved: count.Draw(t, "moved"), MovedAt: rapid.Int64().Draw(t, "moved at"),
			Unfenced: rapid.Bool().Draw(t, "unfenced"),
		}
	})
	moves = rapid.Custom(func(t *rapid.T) *recordpb.Move {
		return &recordpb.Move{
			Record: text[string]().Draw(t, "record"), To: text[string]().Draw(t, "to"), StartedAt: rapid.Int64().Draw(t, "started"),
			By: text[string]().Draw(t, "by"), Bookmark: text[string]().Draw(t, "bookmark"), Moved: count.Draw(t, "moved"),
		}
	})
	accesses = rapid.Custom(func(t *rapid.T) *recordpb.Access {
		return &recordpb.Access{
			Secret: text[string]().Draw(t, "secret"), Day: rapid.Int64().Draw(t, "day"), Versions: mapping[string](rapid.Int64()).Draw(t, "versions"),
		}
	})
	conflicts = rapid.Custom(func(t *rapid.T) *recordpb.Conflict {
		return &recordpb.Conflict{
			Id: text[string]().Draw(t, "ID"), Record: text[string]().Draw(t, "record"), Account: text[string]().Draw(t, "account"),
			Vault: text[string]().Draw(t, "vault"), Name: text[string]().Draw(t, "name"), From: text[string]().Draw(t, "from"),
			State: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "state"), Versions: rapid.SliceOf(text[string]()).Draw(t, "versions"),
			At: rapid.Int64().Draw(t, "at"), VaultName: text[string]().Draw(t, "vault name"),
		}
	})
)
