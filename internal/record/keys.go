package record

import (
	"fmt"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Key is the key of a record within its shard, without the shard's prefix. Keys
// of one prefix sort by what follows it; IDs are ULIDs, so that is by age.
type Key string

// Prefixes of keys, one for each kind of record.
const (
	AccountPrefix           = "account/"
	AccountNamePrefix       = "account-name/"
	ActiveDataKeyPrefix     = "active-data-key/"
	CredentialOfPrefix      = "credential-of/"
	CredentialPrefix        = "credential/"
	DataKeyPrefix           = "data-key/"
	HostPrefix              = "host/"
	MessagePrefix           = "message/"
	OutboxPrefix            = "outbox/"
	PeerPrefix              = "peer/"
	PolicyPrefix            = "policy/"
	PrincipalPrefix         = "principal/"
	PrincipalNamePrefix     = "principal-name/"
	PurgePrefix             = "purge/"
	QuarantinePrefix        = "quarantine/"
	QueuePrefix             = "queue/"
	ResynchronisationPrefix = "resynchronisation/"
	SecretPrefix            = "secret/"
	SecretNamePrefix        = "secret-name/"
	SynchronisationPrefix   = "synchronisation/"
	TombstonePrefix         = "tombstone/"
	VaultPrefix             = "vault/"
	VaultNamePrefix         = "vault-name/"
	VersionPrefix           = "version/"
	WorkPrefix              = "work/"
	ControlPrefix           = "control/"
)

// Prefixes of what is known of moves of ownership.
const (
	TakeoverPrefix        = "takeover/"
	MovePrefix            = "move/"
	AccessPrefix          = "access/"
	ConflictPrefix        = "conflict/"
	ConflictVersionPrefix = "conflict-version/"
)

// Keys of the single records.
const (
	RegionKey  Key = "region"
	FenceKey   Key = "fence"
	FormatsKey Key = "formats"
	ClockKey   Key = "clock"
)

// Prefixes of what is known of keys and backups, and the key of the one rotation
// of master keys.
const (
	DataKeyRotationPrefix = "data-key-rotation/"
	DataKeyUsagePrefix    = "data-key-usage/"
	BackupPrefix          = "backup/"
	ShreddingPrefix       = "shredding/"

	MasterKeyRotationKey Key = "master-key-rotation"
)

// AccountKey is the key of an account.
func AccountKey(id secret.AccountID) Key { return Key(AccountPrefix + string(id)) }

// AccountNameKey refers to the account of that name.
func AccountNameKey(name string) Key { return Key(AccountNamePrefix + name) }

// PrincipalKey is the key of a principal.
func PrincipalKey(account secret.AccountID, id secret.PrincipalID) Key {
	return Key(PrincipalPrefix + string(account) + "/" + string(id))
}

// PrincipalNameKey refers to the principal of that name.
func PrincipalNameKey(account secret.AccountID, name string) Key {
	return Key(PrincipalNamePrefix + string(account) + "/" + name)
}

// CredentialKey is the key of a credential.
func CredentialKey(id secret.CredentialID) Key { return Key(CredentialPrefix + string(id)) }

// CredentialOfKey lists a credential under its principal.
func CredentialOfKey(account secret.AccountID, principal secret.PrincipalID, id secret.CredentialID) Key {
	return Key(CredentialOfPrefix + string(account) + "/" + string(principal) + "/" + string(id))
}

// PolicyKey is the key of a policy.
func PolicyKey(account secret.AccountID, name string) Key {
	return Key(PolicyPrefix + string(account) + "/" + name)
}

// VaultKey is the key of a vault.
func VaultKey(id secret.VaultID) Key { return Key(VaultPrefix + string(id)) }

// VaultNameKey refers to the vault of that name.
func VaultNameKey(account secret.AccountID, name string) Key {
	return Key(VaultNamePrefix + string(account) + "/" + name)
}

// SecretKey is the key of a secret's record.
func SecretKey(id secret.ID) Key {
	vault, local, _ := strings.Cut(string(id), ".")
	return Key(SecretPrefix + vault + "/" + local)
}

// SecretNameKey refers to the secret of that name.
func SecretNameKey(vault secret.VaultID, name string) Key {
	return Key(SecretNamePrefix + string(vault) + "/" + name)
}

// PurgeKey refers to the secret that was purged with a request token.
func PurgeKey(vault secret.VaultID, token string) Key {
	return Key(PurgePrefix + string(vault) + "/" + token)
}

// VersionKey is the key of a version's sealed value.
func VersionKey(id secret.ID, version secret.VersionID) Key {
	vault, local, _ := strings.Cut(string(id), ".")
	return Key(VersionPrefix + vault + "/" + local + "/" + string(version))
}

// DataKeyKey is the key of one generation of a scope's data key.
func DataKeyKey(scope string, generation uint32) Key {
	return Key(fmt.Sprintf("%s%s/%010d", DataKeyPrefix, scope, generation))
}

// ActiveDataKeyKey says which generation of a scope's data key seals.
func ActiveDataKeyKey(scope string) Key { return Key(ActiveDataKeyPrefix + scope) }

// DataKeyRotationKey is the key of the last rotation of a scope's data key.
func DataKeyRotationKey(scope string) Key { return Key(DataKeyRotationPrefix + scope) }

// DataKeyUsageKey counts the seals of one generation of a scope's data key.
func DataKeyUsageKey(scope string, generation uint32) Key {
	return Key(fmt.Sprintf("%s%s/%010d", DataKeyUsagePrefix, scope, generation))
}

// BackupKey is the key of a backup that was written.
func BackupKey(id string) Key { return Key(BackupPrefix + id) }

// ShreddingKey is the key of a vault whose data keys were destroyed.
func ShreddingKey(vault secret.VaultID) Key { return Key(ShreddingPrefix + string(vault)) }

// TombstoneKey is the key of what is left of a deleted record.
func TombstoneKey(record Key) Key { return TombstonePrefix + record }

// SynchronisationKey is the key of what is under way with a target for a vault,
// or for one secret of it.
func SynchronisationKey(target secret.RegionName, vault secret.VaultID, id secret.ID) Key {
	key := SynchronisationPrefix + string(target) + "/" + string(vault)
	if _, local, ok := strings.Cut(string(id), "."); ok {
		key += "/" + local
	}
	return Key(key)
}

// SecretIDOf returns the secret whose record has that key, empty if it is the
// key of something else.
func SecretIDOf(key Key) secret.ID {
	rest, ok := strings.CutPrefix(string(key), SecretPrefix)
	if !ok {
		return ""
	}
	vault, local, _ := strings.Cut(rest, "/")
	return secret.NewID(secret.VaultID(vault), local)
}

// WorkKey is the key of the work item of a record.
func WorkKey(record Key) Key { return WorkPrefix + record }

// QuarantineKey is the key of the quarantine entry of a record.
func QuarantineKey(record Key) Key { return QuarantinePrefix + record }

// Subject returns the record that a mutation is said to be of if it writes key:
// for a version the secret, for a work item the record that it is of, else key.
func Subject(key Key) Key {
	if key.HasPrefix(WorkPrefix) {
		key = key[len(WorkPrefix):]
	}
	if rest, ok := strings.CutPrefix(string(key), VersionPrefix); ok {
		if vault, version, ok := strings.Cut(rest, "/"); ok {
			local, _, _ := strings.Cut(version, "/")
			return Key(SecretPrefix + vault + "/" + local)
		}
	}
	return key
}

// OutboxKey is the key of an event in the outbox.
func OutboxKey(ulid string) Key { return Key(OutboxPrefix + ulid) }

// MessageKey is the key of the message that target lacks a mutation of a record.
func MessageKey(target secret.RegionName, record Key) Key {
	return MessagePrefix + Key(target) + "/" + record
}

// MessageOf returns the target and the record of the message with that key; ok is
// false if it is the key of something else.
func MessageOf(key Key) (target secret.RegionName, record Key, ok bool) {
	rest, ok := strings.CutPrefix(string(key), MessagePrefix)
	if !ok {
		return "", "", false
	}
	name, of, ok := strings.Cut(rest, "/")
	return secret.RegionName(name), Key(of), ok && name != "" && of != ""
}

// QueueKey is the key of what is set for the queue of a target.
func QueueKey(target secret.RegionName) Key { return QueuePrefix + Key(target) }

// ResynchronisationKey is the key of the mark that a target must be compared.
func ResynchronisationKey(target secret.RegionName) Key {
	return ResynchronisationPrefix + Key(target)
}

// HostKey is the key of a registered host.
func HostKey(id string) Key { return Key(HostPrefix + id) }

// ControlKey is the key of a control process that is not a host too.
func ControlKey(id string) Key { return Key(ControlPrefix + id) }

// TakeoverKey is the key of the takeover of a region by this one.
func TakeoverKey(region secret.RegionName) Key { return TakeoverPrefix + Key(region) }

// DrillTakeoverKey is the key of the takeover of one vault of a region, in a drill.
func DrillTakeoverKey(region secret.RegionName, vault secret.VaultID) Key {
	return TakeoverKey(region) + "/" + Key(vault)
}

// VaultIDOf returns the vault that a key of a vault or of a secret belongs to; empty
// for any other key.
func VaultIDOf(key Key) secret.VaultID {
	if id, ok := strings.CutPrefix(string(key), VaultPrefix); ok {
		return secret.VaultID(id)
	}
	return SecretIDOf(key).Vault()
}

// MoveKey is the key of the move of a vault or an account.
func MoveKey(record Key) Key { return MovePrefix + record }

// ConflictKey is the key of a conflict.
func ConflictKey(id string) Key { return Key(ConflictPrefix + id) }

// ConflictVersionKey is the key of a value that a conflict keeps.
func ConflictVersionKey(conflict string, version secret.VersionID) Key {
	return Key(ConflictVersionPrefix + conflict + "/" + string(version))
}

// AccessKey is the key of when a secret was last read.
func AccessKey(id secret.ID) Key {
	vault, local, _ := strings.Cut(string(id), ".")
	return Key(AccessPrefix + vault + "/" + local)
}

// Kind returns the name of the kind of record that has the key.
func (k Key) Kind() string {
	kind, _, _ := strings.Cut(string(k), "/")
	return kind
}

// PeerKey is the key of what this region knows of another one.
func PeerKey(region secret.RegionName) Key { return Key(PeerPrefix + string(region)) }

// HasPrefix reports whether the key begins with prefix.
func (k Key) HasPrefix(prefix string) bool { return strings.HasPrefix(string(k), prefix) }

// PrefixEnd returns the first key after all keys that begin with prefix.
func PrefixEnd(prefix string) Key {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return Key(end[:i+1])
		}
	}
	return ""
}
