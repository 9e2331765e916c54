package aws

import (
	"context"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// keptVersions is how many versions are kept of a secret that is made here, unless
// its vault says otherwise: AWS keeps about so many.
const keptVersions = secret.MaxVersions

type createSecretIn struct {
	Name                        *string
	AddReplicaRegions           []replicaRegion
	ClientRequestToken          *string
	Description                 *string
	ForceOverwriteReplicaSecret bool
	KmsKeyId                    *string //nolint:revive // the API's names, as those of all members
	content
	Tags []tag
	Type *string
}

type createOut struct {
	ARN               string
	Name              string
	ReplicationStatus []replicaOut `json:",omitzero"`
	VersionId         string       `json:",omitzero"` //nolint:revive // see above
}

func (d *Dialect) createSecret(ctx context.Context, in *createSecretIn) (any, error) {
	n, err := d.newSecret(in)
	if err != nil {
		return nil, err
	}
	targets, err := d.targetsOf(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret)
	if err != nil {
		return nil, err
	}
	o, err := d.Service.CreateSecret(ctx, n)
	if err != nil {
		return nil, d.uncreated(err, n.Name)
	}
	if o.Secret.State == secret.PendingDeletion { // the same request was made before
		return nil, faultf(secret.CodeWrongState, "InvalidRequestException", textPending)
	}
	out := &createOut{ARN: d.arnOf(o.Secret), Name: o.Secret.Name}
	if o.Version != nil {
		out.VersionId = string(o.Version.ID)
	}
	if len(targets) > 0 {
		// A mutation of its own: repeated, the request makes nothing twice.
		out.ReplicationStatus, err = d.replicate(ctx, service.SecretReplication{
			SecretRef: service.SecretRef{Vault: d.Vault, Secret: string(o.Secret.ID)}, Add: targets,
		})
	}
	return out, err
}

func (d *Dialect) newSecret(in *createSecretIn) (service.NewSecret, error) {
	n := service.NewSecret{
		Vault: d.Vault, WaitCleared: true, InReplica: true, FallbackRetention: secret.Retention{MaxVersions: keptVersions},
	}
	if in.Name == nil {
		return n, broken("null", "name", "not be null")
	}
	n.Name = *in.Name
	if err := checkName(n.Name); err != nil {
		return n, err
	}
	token, err := checkToken(in.ClientRequestToken)
	if err != nil {
		return n, err
	}
	n.RequestToken = string(token)
	if err := firstError(checkKey(in.KmsKeyId), checkType(in.Type)); err != nil {
		return n, err
	}
	var given bool
	if n.Value, n.Binary, given, err = in.value(); err != nil {
		return n, err
	}
	if given {
		n.VersionID = token
	}
	if n.Description, err = description(in.Description); err != nil {
		return n, err
	}
	n.Tags, err = tagsOf(in.Tags)
	return n, err
}

func (d *Dialect) uncreated(err error, name string) error {
	e, ok := asError(err)
	switch {
	case !ok:
	case e.Code == secret.CodeExists, e.Code == secret.CodeTokenReused:
		return faultf(e.Code, "ResourceExistsException", "The operation failed because the secret %s already exists.", name)
	case e.Code == secret.CodeWrongState && e.Field == "name":
		return faultf(e.Code, "InvalidRequestException", textPending)
	case e.Code == secret.CodeNotFound && e.Field == "vault":
		return faultf(e.Code, "InvalidRequestException", "The account has no vault %s in this region, which is where its secrets are kept: make it first.", d.Vault)
	}
	return err
}

func checkType(of *string) error {
	if of == nil {
		return nil
	}
	return invalidParameter("Type: secrets that a partner manages are not known in this region.")
}

func description(text *string) (secret.Plaintext, error) {
	if text == nil {
		return secret.Plaintext{}, nil
	}
	if len(*text) > secret.MaxDescriptionBytes {
		return secret.Plaintext{}, broken("", "description", "have length less than or equal to %d", secret.MaxDescriptionBytes)
	}
	return secret.NewPlaintext([]byte(*text)), nil
}

type updateSecretIn struct {
	SecretId, ClientRequestToken, Description, KmsKeyId, Type *string //nolint:revive // see above
	content
}

func (d *Dialect) updateSecret(ctx context.Context, in *updateSecretIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	token, err := checkToken(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	if err := firstError(checkKey(in.KmsKeyId), checkType(in.Type)); err != nil {
		return nil, err
	}
	value, binary, given, err := in.value()
	if err != nil {
		return nil, err
	}
	text, err := description(in.Description)
	if err != nil {
		return nil, err
	}
	out := &putOut{}
	if given {
		// The value first: it is the part that can be refused for its content. Repeated,
		// both parts come out as they did.
		if out, err = d.put(ctx, service.NewValue{SecretRef: ref, Value: value, Binary: binary, VersionID: token}); err != nil {
			return nil, err
		}
		out.VersionStages = nil
		if in.Description == nil {
			return out, nil
		}
	}
	u := service.Update{SecretRef: ref, WaitCleared: true}
	u.Check = writable
	if in.Description != nil {
		u.Description = &text
	}
	o, err := d.Service.UpdateSecret(ctx, u)
	if err != nil {
		return nil, err
	}
	out.ARN, out.Name = d.arnOf(o.Secret), o.Secret.Name
	return out, nil
}

type deleteSecretIn struct {
	SecretId                   *string //nolint:revive // see above
	ForceDeleteWithoutRecovery bool
	RecoveryWindowInDays       *int64
}

type deleteOut struct {
	ARN          string
	Name         string
	DeletionDate epoch
}

func (d *Dialect) deleteSecret(ctx context.Context, in *deleteSecretIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	del := service.Deletion{SecretRef: ref, Immediate: in.ForceDeleteWithoutRecovery, WaitCleared: true}
	if days := in.RecoveryWindowInDays; days != nil {
		if del.Immediate {
			return nil, invalidParameter("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		}
		if *days < 7 || *days > 30 {
			return nil, invalidParameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
		del.Window = time.Duration(*days) * 24 * time.Hour
	}
	del.Check = func(s *secret.Secret) error {
		if len(s.Targets) > 0 && s.Ownership.Home == d.Region {
			return faultf(secret.CodeWrongState, "InvalidParameterException", "You can't delete secret %s that still has replica regions %s.", s.Name, d.regionsOf(s.Targets))
		}
		if del.Immediate {
			return nil
		}
		return writable(s)
	}
	o, err := d.Service.DeleteSecret(ctx, del)
	now := epochOf(d.Service.Now())
	if e, ok := asError(err); ok && del.Immediate && e.Code == secret.CodeNotFound {
		return d.neverThere(ctx, *in.SecretId, now), nil
	}
	if err != nil {
		return nil, err
	}
	out := &deleteOut{ARN: d.arnOf(o.Secret), Name: o.Secret.Name, DeletionDate: epochOf(o.Secret.DeleteAt)}
	if del.Immediate {
		out.DeletionDate = now
	}
	return out, nil
}

// neverThere answers the deletion without recovery of what is not there.
func (d *Dialect) neverThere(_ context.Context, secretID string, now epoch) *deleteOut {
	out := &deleteOut{ARN: secretID, Name: secretID, DeletionDate: now}
	if checkName(secretID) == nil {
		out.ARN = d.arn("", secret.ID(secretID), secretID)
	}
	return out
}

type secretIn struct {
	SecretId *string //nolint:revive // see above
}

type namedOut struct {
	ARN  string
	Name string
}

func (d *Dialect) restoreSecret(ctx context.Context, in *secretIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	o, err := d.Service.RestoreSecret(ctx, service.Restoration{SecretRef: ref, WaitCleared: true})
	if err != nil {
		return nil, err
	}
	return &namedOut{ARN: d.arnOf(o.Secret), Name: o.Secret.Name}, nil
}
