package secret

import "time"

// Limits on what one record may hold. They keep every mutation well inside one
// transaction of the store (128 operations, 1.5 MiB).
const (
	// MaxKeyNameBytes bounds the name of a master key.
	MaxKeyNameBytes = 2048
	// MaxValueBytes bounds a value; the same as AWS Secrets Manager.
	MaxValueBytes = 64 << 10
	// MaxNameBytes bounds the name of a secret.
	MaxNameBytes = 512
	// MaxContainerNameBytes bounds the names of accounts, vaults, principals,
	// roles and policies.
	MaxContainerNameBytes = 128
	// MaxDescriptionBytes bounds a description.
	MaxDescriptionBytes = 2048
	// MaxMetadataBytes bounds all custom metadata of a secret, encoded as JSON.
	MaxMetadataBytes = 16 << 10
	// MaxContentTypeBytes bounds a content type.
	MaxContentTypeBytes = 128
	// MaxTags bounds the number of tags of a record.
	MaxTags = 50
	// MaxTagKeyBytes and MaxTagValueBytes bound one tag.
	MaxTagKeyBytes   = 128
	MaxTagValueBytes = 256
	// MaxLabelBytes bounds a user label.
	MaxLabelBytes = 256
	// MaxLabelsPerVersion bounds the stages and labels on one version.
	MaxLabelsPerVersion = 20
	// MaxVersions bounds the versions a secret keeps, labelled ones included.
	MaxVersions = 100
	// DefaultMaxVersions is the retention count unless the caller sets one.
	DefaultMaxVersions = 20
	// MaxPrunedPerMutation bounds the versions one mutation prunes, so that its
	// transaction stays small; the next mutation goes on.
	MaxPrunedPerMutation = 20
	// MaxRetiredMACs bounds the digests of pruned versions kept for the rule
	// against reuse.
	MaxRetiredMACs = 100
	// MaxRequests bounds the request tokens that a secret remembers besides those of
	// its creation and its versions.
	MaxRequests = 8
	// MaxRequestTokenBytes bounds an idempotency token.
	MaxRequestTokenBytes = 64
	// MaxVersionIDBytes bounds a version ID chosen by the caller.
	MaxVersionIDBytes = 64
	// MaxPolicyBytes bounds the text of a policy.
	MaxPolicyBytes = 64 << 10
	// MaxRoles bounds the roles of a principal.
	MaxRoles = 50

	// MaxYear bounds times that callers give: records keep nanoseconds since 1970
	// in 63 bits, which end in 2262.
	MaxYear = 2262
	// MaxVersionTTL bounds how long new versions can be read.
	MaxVersionTTL = 100 * 365 * 24 * time.Hour

	// MinDeletionWindow and MaxDeletionWindow bound how far ahead a deletion is
	// scheduled; DefaultDeletionWindow is used when the caller gives none.
	MinDeletionWindow     = 7 * 24 * time.Hour
	MaxDeletionWindow     = 30 * 24 * time.Hour
	DefaultDeletionWindow = 30 * 24 * time.Hour
)
