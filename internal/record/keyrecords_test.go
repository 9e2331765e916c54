package record_test

import (
	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// The generators of records about keys and backups.
var (
	rotations = rapid.Custom(func(t *rapid.T) *recordpb.DataKeyRotation {
		return &recordpb.DataKeyRotation{
			Scope: text[string]().Draw(t, "scope"), Account: text[string]().Draw(t, "account"), Generation: rapid.Uint32().Draw(t, "generation"),
			StartedAt: rapid.Int64().Draw(t, "started"), StartedBy: text[string]().Draw(t, "by"), FinishedAt: rapid.Int64().Draw(t, "finished"),
			Bookmark: text[string]().Draw(t, "bookmark"), LookedAt: count.Draw(t, "looked"), Total: count.Draw(t, "total"),
			Resealed: count.Draw(t, "resealed"), Failed: count.Draw(t, "failed"), Failures: list(text[string]()).Draw(t, "failures"),
			RetiredAt: rapid.Int64().Draw(t, "retired"),
		}
	})
	usages = rapid.Custom(func(t *rapid.T) *recordpb.DataKeyUsage {
		return &recordpb.DataKeyUsage{
			Scope: text[string]().Draw(t, "scope"), Generation: rapid.Uint32().Draw(t, "generation"), Seals: count.Draw(t, "seals"),
		}
	})
	masterRotations = rapid.Custom(func(t *rapid.T) *recordpb.MasterKeyRotation {
		return &recordpb.MasterKeyRotation{
			MasterKey: text[string]().Draw(t, "master"), StartedAt: rapid.Int64().Draw(t, "started"), StartedBy: text[string]().Draw(t, "by"),
			FinishedAt: rapid.Int64().Draw(t, "finished"), Bookmark: text[string]().Draw(t, "bookmark"), LookedAt: count.Draw(t, "looked"),
			Total: count.Draw(t, "total"), Rewrapped: count.Draw(t, "rewrapped"), Failed: count.Draw(t, "failed"),
			Failures: list(text[string]()).Draw(t, "failures"),
		}
	})
	backups = rapid.Custom(func(t *rapid.T) *recordpb.Backup {
		return &recordpb.Backup{
			Id: text[string]().Draw(t, "ID"), CreatedAt: rapid.Int64().Draw(t, "created"), Revision: rapid.Int64().Draw(t, "revision"),
			RestoreEpoch: count.Draw(t, "epoch"), Incarnation: text[string]().Draw(t, "incarnation"),
			MasterKeys: list(text[string]()).Draw(t, "masters"), KeepUntil: rapid.Int64().Draw(t, "until"),
		}
	})
	shreddings = rapid.Custom(func(t *rapid.T) *recordpb.Shredding {
		return &recordpb.Shredding{
			Vault: text[string]().Draw(t, "vault"), Account: text[string]().Draw(t, "account"), Name: text[string]().Draw(t, "name"),
			StartedAt: rapid.Int64().Draw(t, "started"), StartedBy: text[string]().Draw(t, "by"), FinishedAt: rapid.Int64().Draw(t, "finished"),
			Total: count.Draw(t, "total"), Deleted: count.Draw(t, "deleted"),
		}
	})
)
