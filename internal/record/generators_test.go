package record_test

import (
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The generators make records as a caller may hand them over: lists and maps
// that are nil or filled, times of any nanosecond in UTC or not set.

func text[T ~string]() *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T { return T(rapid.StringN(0, 8, 24).Draw(t, "text")) })
}

func content[T ~[]byte]() *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T {
		b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "content")
		if len(b) == 0 {
			return nil
		}
		return T(b)
	})
}

func list[T any](element *rapid.Generator[T]) *rapid.Generator[[]T] {
	return rapid.Custom(func(t *rapid.T) []T {
		l := rapid.SliceOfN(element, 0, 4).Draw(t, "list")
		if len(l) == 0 {
			return nil
		}
		return l
	})
}

func mapping[K ~string, V any](value *rapid.Generator[V]) *rapid.Generator[map[K]V] {
	return rapid.Custom(func(t *rapid.T) map[K]V {
		m := rapid.MapOfN(text[K](), value, 0, 5).Draw(t, "map")
		if len(m) == 0 {
			return nil
		}
		return m
	})
}

var (
	count   = rapid.Uint64()
	instant = rapid.Custom(func(t *rapid.T) time.Time { return record.FromNanos(rapid.Int64().Draw(t, "time")) })
	epochs  = rapid.Custom(func(t *rapid.T) secret.Epoch {
		return secret.Epoch{Counter: count.Draw(t, "counter"), Region: text[secret.RegionName]().Draw(t, "region")}
	})
	orders = rapid.Custom(func(t *rapid.T) secret.Order {
		return secret.Order{Epoch: epochs.Draw(t, "epoch"), Seq: count.Draw(t, "seq")}
	})
	forks = rapid.Custom(func(t *rapid.T) secret.Fork {
		return secret.Fork{Epoch: epochs.Draw(t, "epoch"), Began: orders.Draw(t, "began"), Home: text[secret.RegionName]().Draw(t, "home")}
	})
	lineages = list(forks)

	ownerships = rapid.Custom(func(t *rapid.T) secret.Ownership {
		return secret.Ownership{
			Home: text[secret.RegionName]().Draw(t, "home"), Incarnation: text[secret.Incarnation]().Draw(t, "incarnation"),
			Order: orders.Draw(t, "order"), Lineage: lineages.Draw(t, "lineage"),
		}
	})
	retentions = rapid.Custom(func(t *rapid.T) secret.Retention {
		return secret.Retention{MaxVersions: rapid.IntRange(0, secret.MaxVersions).Draw(t, "max versions"), MaxAge: duration.Draw(t, "max age")}
	})
	duration = rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "duration")) })
)

var (
	accounts = rapid.Custom(func(t *rapid.T) *secret.Account {
		return &secret.Account{
			ID: text[secret.AccountID]().Draw(t, "ID"), Name: text[string]().Draw(t, "name"), Ownership: ownerships.Draw(t, "ownership"),
			CreatedAt: instant.Draw(t, "created"), UpdatedAt: instant.Draw(t, "updated"), RequestToken: text[string]().Draw(t, "token"),
		}
	})
	principals = rapid.Custom(func(t *rapid.T) *secret.Principal {
		return &secret.Principal{
			ID: text[secret.PrincipalID]().Draw(t, "ID"), Account: text[secret.AccountID]().Draw(t, "account"),
			Name: text[string]().Draw(t, "name"), Kind: text[secret.PrincipalKind]().Draw(t, "kind"),
			Roles: list(text[string]()).Draw(t, "roles"), Disabled: rapid.Bool().Draw(t, "disabled"), Ownership: ownerships.Draw(t, "ownership"),
			CreatedAt: instant.Draw(t, "created"), UpdatedAt: instant.Draw(t, "updated"), RequestToken: text[string]().Draw(t, "token"),
		}
	})
	credentials = rapid.Custom(func(t *rapid.T) *secret.Credential {
		return &secret.Credential{
			ID: text[secret.CredentialID]().Draw(t, "ID"), Account: text[secret.AccountID]().Draw(t, "account"),
			Principal: text[secret.PrincipalID]().Draw(t, "principal"), Kind: text[secret.CredentialKind]().Draw(t, "kind"),
			Description: text[string]().Draw(t, "description"), TokenHash: content[[]byte]().Draw(t, "hash"),
			SealedKey: content[secret.Sealed]().Draw(t, "key"), Ownership: ownerships.Draw(t, "ownership"),
			CreatedAt: instant.Draw(t, "created"), ExpiresAt: instant.Draw(t, "expires"), RevokedAt: instant.Draw(t, "revoked"),
		}
	})
	policies = rapid.Custom(func(t *rapid.T) *secret.Policy {
		return &secret.Policy{
			Account: text[secret.AccountID]().Draw(t, "account"), Name: text[string]().Draw(t, "name"), Text: text[string]().Draw(t, "text"),
			Description: text[string]().Draw(t, "description"), Ownership: ownerships.Draw(t, "ownership"),
			CreatedAt: instant.Draw(t, "created"), UpdatedAt: instant.Draw(t, "updated"),
		}
	})
	vaults = rapid.Custom(func(t *rapid.T) *secret.Vault {
		return &secret.Vault{
			ID: text[secret.VaultID]().Draw(t, "ID"), Account: text[secret.AccountID]().Draw(t, "account"), Name: text[string]().Draw(t, "name"),
			Ownership: ownerships.Draw(t, "ownership"), State: text[secret.State]().Draw(t, "state"),
			Description: text[string]().Draw(t, "description"), Tags: mapping[string](text[string]()).Draw(t, "tags"),
			Retention: retentions.Draw(t, "retention"), CreatedAt: instant.Draw(t, "created"), UpdatedAt: instant.Draw(t, "updated"),
			RequestToken: text[string]().Draw(t, "token"), Key: text[string]().Draw(t, "key"), Replication: replications.Draw(t, "replication"),
		}
	})
	targets = list(rapid.Custom(func(t *rapid.T) secret.Target {
		return secret.Target{Region: text[secret.RegionName]().Draw(t, "region"), ForceOverwrite: rapid.Bool().Draw(t, "force"), Key: text[string]().Draw(t, "key")}
	}))
	replications = rapid.Custom(func(t *rapid.T) secret.Replication {
		return secret.Replication{
			Targets: targets.Draw(t, "targets"), Partial: list(text[secret.RegionName]()).Draw(t, "partial"),
			AllowedRegions: list(text[secret.RegionName]()).Draw(t, "allowed"), AckTargets: rapid.IntRange(0, secret.MaxTargets).Draw(t, "ack"),
		}
	})
	tombstones = rapid.Custom(func(t *rapid.T) *secret.Tombstone {
		return &secret.Tombstone{
			Record: text[string]().Draw(t, "record"), Account: text[secret.AccountID]().Draw(t, "account"),
			Ownership: ownerships.Draw(t, "ownership"), DeletedAt: instant.Draw(t, "deleted"),
			Holders: list(text[secret.RegionName]()).Draw(t, "holders"), Detached: text[string]().Draw(t, "detached"),
		}
	})
	versions = rapid.Custom(func(t *rapid.T) *secret.Version {
		return &secret.Version{
			Secret: text[secret.ID]().Draw(t, "secret"), ID: text[secret.VersionID]().Draw(t, "ID"),
			Value: content[secret.Sealed]().Draw(t, "value"), MAC: content[secret.MAC]().Draw(t, "MAC"),
		}
	})
)

var (
	versionInfos = rapid.Custom(func(t *rapid.T) secret.VersionInfo {
		return secret.VersionInfo{
			ID: text[secret.VersionID]().Draw(t, "ID"), Number: count.Draw(t, "number"), CreatedAt: instant.Draw(t, "created"),
			CreatedBy: text[secret.PrincipalID]().Draw(t, "by"), ExpiresAt: instant.Draw(t, "expires"),
			RequestToken: text[string]().Draw(t, "token"), MAC: content[secret.MAC]().Draw(t, "MAC"),
			Size: rapid.IntRange(0, secret.MaxValueBytes).Draw(t, "size"), Binary: rapid.Bool().Draw(t, "binary"),
		}
	})
	rotationStates = rapid.Custom(func(t *rapid.T) *secret.Rotation {
		if rapid.Bool().Draw(t, "none") {
			return nil
		}
		return &secret.Rotation{
			Rotator: text[string]().Draw(t, "rotator"), Enabled: rapid.Bool().Draw(t, "enabled"),
			Schedule: secret.Schedule{
				AfterDays: rapid.IntRange(0, secret.MaxRotationDays).Draw(t, "days"), Expression: text[string]().Draw(t, "expression"),
				Window: duration.Draw(t, "window"),
			},
			LastAt: instant.Draw(t, "last"), NextAt: instant.Draw(t, "next"), Version: text[secret.VersionID]().Draw(t, "rotated"),
			Step: text[secret.RotationStep]().Draw(t, "step"), Attempts: rapid.IntRange(0, 100).Draw(t, "attempts"),
			RetryAt: instant.Draw(t, "retry"), Failure: text[string]().Draw(t, "failure"), Trial: rapid.Bool().Draw(t, "trial"),
		}
	})
	secrets = rapid.Custom(func(t *rapid.T) *secret.Secret {
		return &secret.Secret{
			ID: text[secret.ID]().Draw(t, "ID"), Account: text[secret.AccountID]().Draw(t, "account"), Name: text[string]().Draw(t, "name"),
			Ownership: ownerships.Draw(t, "ownership"), State: text[secret.State]().Draw(t, "state"),
			CreatedAt: instant.Draw(t, "created"), UpdatedAt: instant.Draw(t, "updated"), DeleteAt: instant.Draw(t, "delete"),
			ContentType: text[string]().Draw(t, "content type"), Tags: mapping[string](text[string]()).Draw(t, "tags"),
			Description: content[secret.Sealed]().Draw(t, "description"), Metadata: content[secret.Sealed]().Draw(t, "metadata"),
			Rules: secret.Rules{
				ExpiresAt: instant.Draw(t, "expires"), VersionTTL: duration.Draw(t, "TTL"), ForbidReuse: rapid.Bool().Draw(t, "forbid reuse"),
			},
			Retention: retentions.Draw(t, "retention"), RequestToken: text[string]().Draw(t, "token"),
			RequestMAC: content[secret.MAC]().Draw(t, "request MAC"), Versions: list(versionInfos).Draw(t, "versions"),
			LastNumber: count.Draw(t, "last number"), Stages: mapping[secret.Stage](text[secret.VersionID]()).Draw(t, "stages"),
			RetiredMACs: list(rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 32), func(b []byte) secret.MAC { return b })).Draw(t, "retired"),
			Requests: list(rapid.Custom(func(t *rapid.T) secret.Request {
				return secret.Request{Token: text[string]().Draw(t, "token"), MAC: content[secret.MAC]().Draw(t, "MAC")}
			})).Draw(t, "requests"),
			Targets: targets.Draw(t, "targets"), Detached: text[string]().Draw(t, "detached"),
			Promoted: list(text[secret.RegionName]()).Draw(t, "promoted"), Rotation: rotationStates.Draw(t, "rotation"),
		}
	})
)

var (
	protoOrders = rapid.OneOf(
		rapid.Map(orders, record.OrderToProto), rapid.Just((*recordpb.Order)(nil)),
		rapid.Map(count, func(seq uint64) *recordpb.Order { return &recordpb.Order{Seq: seq} }),
	)
	dataKeys = rapid.Custom(func(t *rapid.T) *recordpb.DataKey {
		return &recordpb.DataKey{
			Scope: text[string]().Draw(t, "scope"), Generation: rapid.Uint32().Draw(t, "generation"), Purpose: text[string]().Draw(t, "purpose"),
			Wrapped: content[[]byte]().Draw(t, "wrapped"), MasterKey: text[string]().Draw(t, "master"), CreatedAt: rapid.Int64().Draw(t, "created"),
		}
	})
	activeDataKeys = rapid.Custom(func(t *rapid.T) *recordpb.ActiveDataKey {
		return &recordpb.ActiveDataKey{Scope: text[string]().Draw(t, "scope"), Generation: rapid.Uint32().Draw(t, "generation")}
	})
	regions = rapid.Custom(func(t *rapid.T) *recordpb.Region {
		return &recordpb.Region{
			Name: text[string]().Draw(t, "name"), Incarnation: text[string]().Draw(t, "incarnation"), RestoreEpoch: count.Draw(t, "epoch"),
			InitializedAt: rapid.Int64().Draw(t, "initialized"), KeyCheck: content[[]byte]().Draw(t, "check"), MasterKey: text[string]().Draw(t, "master"),
			RestoredAt: rapid.Int64().Draw(t, "restored"), Origins: moments.Draw(t, "origins"),
		}
	})
	fences = rapid.Custom(func(t *rapid.T) *recordpb.Fence {
		return &recordpb.Fence{Incarnation: text[string]().Draw(t, "incarnation"), Role: text[string]().Draw(t, "role"), RestoreEpoch: count.Draw(t, "epoch")}
	})
	workItems = rapid.Custom(func(t *rapid.T) *recordpb.WorkItem {
		return &recordpb.WorkItem{
			Traceparent: rapid.String().Draw(t, "traceparent"),
			Record:      text[string]().Draw(t, "record"), Order: protoOrders.Draw(t, "order"), CommittedAt: rapid.Int64().Draw(t, "committed"),
			Mutation: text[string]().Draw(t, "mutation"),
		}
	})
	events = rapid.Custom(func(t *rapid.T) *recordpb.Event {
		return &recordpb.Event{
			Id: text[string]().Draw(t, "ID"), Type: text[string]().Draw(t, "type"), Account: text[string]().Draw(t, "account"),
			Vault: text[string]().Draw(t, "vault"), Subject: text[string]().Draw(t, "subject"), Name: text[string]().Draw(t, "name"),
			Version: text[string]().Draw(t, "version"), Order: protoOrders.Draw(t, "order"),
			Principal: text[string]().Draw(t, "principal"), At: rapid.Int64().Draw(t, "at"),
		}
	})
	hosts = rapid.Custom(func(t *rapid.T) *recordpb.Host {
		return &recordpb.Host{
			Id: text[string]().Draw(t, "ID"), Cell: text[string]().Draw(t, "cell"), Address: text[string]().Draw(t, "address"),
			RegisteredAt: rapid.Int64().Draw(t, "registered"), Release: text[string]().Draw(t, "release"),
			Formats: mapping[string](rapid.Uint32()).Draw(t, "formats"),
		}
	})
	synchronisations = rapid.Custom(func(t *rapid.T) *recordpb.Synchronisation {
		return &recordpb.Synchronisation{
			Target: text[string]().Draw(t, "target"), Vault: text[string]().Draw(t, "vault"), Kind: text[string]().Draw(t, "kind"),
			Bookmark: text[string]().Draw(t, "bookmark"), StartedAt: rapid.Int64().Draw(t, "started"), Done: count.Draw(t, "done"),
			Secret: text[string]().Draw(t, "secret"), Total: count.Draw(t, "total"),
		}
	})
	quarantines = rapid.Custom(func(t *rapid.T) *recordpb.Quarantine {
		return &recordpb.Quarantine{
			Record: text[string]().Draw(t, "record"), Revision: rapid.Int64().Draw(t, "revision"), Host: text[string]().Draw(t, "host"),
			Reason: text[string]().Draw(t, "reason"), At: rapid.Int64().Draw(t, "at"),
		}
	})
	messages = rapid.Custom(func(t *rapid.T) *recordpb.Message {
		return &recordpb.Message{
			Target: text[string]().Draw(t, "target"), Record: text[string]().Draw(t, "record"), CommittedAt: rapid.Int64().Draw(t, "committed"),
			Since: rapid.Int64().Draw(t, "since"), Attempts: rapid.Uint32().Draw(t, "attempts"), NextTryAt: rapid.Int64().Draw(t, "next"),
			FailureCode: text[string]().Draw(t, "code"), FailureReason: text[string]().Draw(t, "reason"),
		}
	})
	queues = rapid.Custom(func(t *rapid.T) *recordpb.Queue {
		return &recordpb.Queue{
			Target: text[string]().Draw(t, "target"), Paused: rapid.Bool().Draw(t, "paused"), PausedAt: rapid.Int64().Draw(t, "paused at"),
			PausedUntil: rapid.Int64().Draw(t, "until"), PausedBy: text[string]().Draw(t, "by"), PauseReason: text[string]().Draw(t, "reason"),
			RetriedAt: rapid.Int64().Draw(t, "retried"),
		}
	})
	resynchronisations = rapid.Custom(func(t *rapid.T) *recordpb.Resynchronisation {
		return &recordpb.Resynchronisation{
			Target: text[string]().Draw(t, "target"), Generation: count.Draw(t, "generation"), WantedAt: rapid.Int64().Draw(t, "wanted"),
			Reason: text[string]().Draw(t, "reason"), BegunAt: rapid.Int64().Draw(t, "begun"),
		}
	})
	controls = rapid.Custom(func(t *rapid.T) *recordpb.Control {
		return &recordpb.Control{
			Id: text[string]().Draw(t, "ID"), RegisteredAt: rapid.Int64().Draw(t, "registered"), Release: text[string]().Draw(t, "release"),
			Formats: mapping[string](rapid.Uint32()).Draw(t, "formats"),
		}
	})
	clocks = rapid.Custom(func(t *rapid.T) *recordpb.Clock {
		return &recordpb.Clock{
			Wall: rapid.Int64().Draw(t, "wall"), Boot: text[string]().Draw(t, "boot"), Up: rapid.Int64().Draw(t, "up"),
			Jumps: list(rapid.Custom(func(t *rapid.T) *recordpb.ClockJump {
				return &recordpb.ClockJump{By: rapid.Int64().Draw(t, "by"), Left: rapid.Int64().Draw(t, "left")}
			})).Draw(t, "jumps"),
		}
	})
	gates = rapid.Custom(func(t *rapid.T) *recordpb.Formats {
		return &recordpb.Formats{
			Written: mapping[string](rapid.Uint32()).Draw(t, "written"), Held: rapid.Bool().Draw(t, "held"),
			Release: text[string]().Draw(t, "release"), RaisedAt: rapid.Int64().Draw(t, "raised"),
		}
	})
	peers = rapid.Custom(func(t *rapid.T) *recordpb.Peer {
		return &recordpb.Peer{
			Region: text[string]().Draw(t, "region"), Incarnation: text[string]().Draw(t, "incarnation"), AdmittedAt: rapid.Int64().Draw(t, "admitted"),
			Horizon: rapid.Int64().Draw(t, "horizon"), Past: moments.Draw(t, "past"), Forgotten: rapid.SliceOfN(text[string](), 0, 3).Draw(t, "forgotten"), Earlier: rapid.SliceOfN(text[string](), 0, 3).Draw(t, "earlier"),
			ForgottenAt: rapid.Int64().Draw(t, "forgottenAt"), Heir: rapid.Bool().Draw(t, "heir"),
		}
	})
	moments = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *recordpb.Moment {
		return &recordpb.Moment{Incarnation: text[string]().Draw(t, "incarnation"), Revision: rapid.Int64().Draw(t, "revision")}
	}), 0, 3)
)
