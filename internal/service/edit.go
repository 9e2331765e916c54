package service

import (
	"context"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// edit is a mutation of one secret being planned.
type edit struct {
	vault *secret.Vault
	// vaultRevision is that of the store when the vault was last written.
	vaultRevision int64
	region        *recordpb.Region
	sealer        *keyring.Sealer
	txn           *record.Txn

	// revision is that of the store when the secret was last written before.
	revision int64
	before   *secret.Secret
	after    *secret.Secret
	version  *secret.VersionInfo
	replayed bool
	// publicKey is of the key pair that was generated.
	publicKey string
	// openVersion opens the value of a version.
	openVersion func(ctx context.Context, sec *secret.Secret, id secret.VersionID) (secret.Plaintext, error)
	// open opens a sealed text of the secret.
	open func(sec *secret.Secret, field keyring.Field, sealed secret.Sealed) (secret.Plaintext, error)
	// nothing is set if the secret already is as asked.
	nothing bool
	// ackTargets is by how many targets the mutation is to be received.
	ackTargets int
}

func (c *call) newEdit(ctx context.Context, view record.View, vault *secret.Vault) (*edit, error) {
	txn, region, err := newTxn(view)
	if err != nil {
		return nil, err
	}
	sealer, err := c.service.Keyring.Sealer(ctx, view, string(vault.ID))
	if err != nil {
		return nil, err
	}
	txn.Conditions = append(txn.Conditions, sealer.Condition())
	return &edit{vault: vault, region: region, sealer: sealer, txn: txn, ackTargets: vault.Replication.AckTargets, open: c.opener(ctx, view),
		openVersion: func(ctx context.Context, sec *secret.Secret, id secret.VersionID) (secret.Plaintext, error) {
			return c.service.openVersion(ctx, view, sec, id)
		}}, nil
}

// ack has the mutation wait for n targets; 0 leaves it at what the vault says.
func (e *edit) ack(n int) error {
	if most := len(e.vault.Replication.Targets); n < 0 || n > most {
		return secret.Invalid("ack_targets", "is %d; the vault has %d targets", n, most)
	}
	if n > 0 {
		e.ackTargets = n
	}
	return nil
}

func (e *edit) replay(s *secret.Secret, version *secret.VersionInfo) *edit {
	e.after, e.version, e.replayed, e.nothing = s, version, true, true
	return e
}

func (e *edit) seal(sec *secret.Secret, version secret.VersionID, field keyring.Field, p secret.Plaintext) (secret.Sealed, error) {
	if p.Len() == 0 {
		return nil, nil
	}
	return e.sealer.Seal(p, associatedData(sec, version, field))
}

func (e *edit) sealText(sec *secret.Secret, description secret.Plaintext, metadata []byte) (err error) {
	if sec.Description, err = e.seal(sec, "", keyring.Description, description); err != nil {
		return err
	}
	sec.Metadata, err = e.seal(sec, "", keyring.Metadata, secret.NewPlaintext(metadata))
	return err
}

// put adds a version with its sealed value.
func (e *edit) put(c *call, sec *secret.Secret, v secret.NewVersion, value secret.Plaintext) error {
	if v.ID == "" {
		v.ID = secret.VersionID(ulid.MustNewDefault(c.now).String())
	}
	v.MAC, v.Size = e.sealer.MAC("value", []byte(sec.ID), value.Reveal()), value.Len()
	result, err := sec.PutVersion(c.mutationIn(e.region), v)
	if err != nil {
		return err
	}
	e.version = &result.Version
	if result.Replayed {
		e.replayed, e.nothing = true, true
		return nil
	}
	sealed, err := e.seal(sec, v.ID, keyring.Value, value)
	if err != nil {
		return err
	}
	e.txn.Put(record.VersionKey(sec.ID, v.ID), record.Versions.Encode(&secret.Version{
		Secret: sec.ID, ID: v.ID, Value: sealed, MAC: v.MAC,
	}))
	for _, id := range result.Pruned {
		e.txn.Delete(record.VersionKey(sec.ID, id))
	}
	return nil
}

// purge leaves a tombstone and frees the name.
func (e *edit) purge(m secret.Mutation, sec *secret.Secret) error {
	name := sec.Name
	versions, err := sec.Purge(m)
	if err != nil {
		return err
	}
	for _, id := range versions {
		e.txn.Delete(record.VersionKey(sec.ID, id))
	}
	e.txn.Delete(record.SecretNameKey(e.vault.ID, name))
	e.txn.Delete(record.AccessKey(sec.ID))
	return nil
}

// finish adds what every mutation of a secret writes.
func (e *edit) finish(c *call, sec *secret.Secret, revision int64, mutation, event string) {
	e.after = sec
	key := record.SecretKey(sec.ID)
	sec.Next.Mutate(c.service.Formats.Writes(key.Kind()))
	e.txn.Require(key, revision)
	e.txn.Put(key, record.Secrets.Encode(sec))
	outbox := &recordpb.Event{
		Type: event, Account: string(sec.Account), Vault: string(e.vault.ID), Subject: string(sec.ID), Name: sec.Name,
	}
	if e.version != nil {
		outbox.Version = string(e.version.ID)
	}
	c.track(e.txn, key, mutation, outbox, sec.Ownership)
}
