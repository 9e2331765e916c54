package aws

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// described is what the answers about a secret have in common.
type described struct {
	ARN              string
	CreatedDate      epoch
	DeletedDate      epoch  `json:",omitzero"`
	Description      string `json:",omitzero"`
	LastAccessedDate epoch  `json:",omitzero"`
	LastChangedDate  epoch
	Name             string
	PrimaryRegion    string `json:",omitzero"`
	rotated
	Tags []tagOut `json:",omitzero"`
}

type describeOut struct {
	described
	ReplicationStatus  []replicaOut        `json:",omitzero"`
	VersionIdsToStages map[string][]string `json:",omitzero"` //nolint:revive // the API's name
}

func (d *Dialect) describe(s *secret.Secret, text secret.Plaintext, accessed service.Accessed) described {
	out := described{
		ARN: d.arnOf(s), CreatedDate: epochOf(s.CreatedAt), DeletedDate: epochOf(s.DeleteAt), Description: string(text.Reveal()),
		LastAccessedDate: epochOf(accessed.At()), LastChangedDate: epochOf(s.UpdatedAt), Name: s.Name, Tags: tagList(s.Tags), rotated: rotationOf(s),
	}
	if replicated(s, d.Region) {
		out.PrimaryRegion = d.nameOf(s.Ownership.Home)
	}
	return out
}

// replicated reports whether a secret is, or has, a replica.
func replicated(s *secret.Secret, here secret.RegionName) bool {
	return len(s.Targets) > 0 || s.Ownership.Home != here
}

func (d *Dialect) describeSecret(ctx context.Context, in *secretIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	found, err := d.Service.DescribeSecret(ctx, ref, service.RevisionToken{})
	if err != nil {
		return nil, err
	}
	out := &describeOut{described: d.describe(found.Secret, found.Description, found.Accessed), VersionIdsToStages: labelled(found.Secret)}
	out.ReplicationStatus, err = d.replicas(found.Secret)
	return out, err
}

func asError(err error) (*secret.Error, bool) { return errors.AsType[*secret.Error](err) }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
