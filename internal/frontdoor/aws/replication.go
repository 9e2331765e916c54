package aws

import (
	"context"
	"slices"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type replicaRegion struct {
	KmsKeyId, Region *string //nolint:revive // the API's name
}

type replicaOut struct {
	Region        string
	Status        string
	StatusMessage string `json:",omitzero"`
}

func (d *Dialect) regionsOf(targets []secret.Target) string {
	var names []string
	for _, t := range targets {
		names = append(names, d.nameOf(t.Region))
	}
	return strings.Join(names, ", ")
}

// regionCalled returns the region that has a name in the API.
func (d *Dialect) regionCalled(name string) (secret.RegionName, error) {
	if name == d.region {
		return "", invalidParameter("Invalid replica region: %s is the region of the secret.", name)
	}
	for region, called := range d.RegionNames {
		if called == name {
			return region, nil
		}
	}
	if _, renamed := d.RegionNames[secret.RegionName(name)]; renamed || secret.CheckRegionName("Region", secret.RegionName(name)) != nil {
		return "", invalidParameter("Invalid replica region: there is no region of that name.")
	}
	return secret.RegionName(name), nil
}

func (d *Dialect) targetsOf(regions []replicaRegion, force bool) ([]secret.Target, error) {
	var targets []secret.Target
	for _, r := range regions {
		if r.Region == nil {
			return nil, broken("null", "addReplicaRegions.member.region", "not be null")
		}
		if err := checkKey(r.KmsKeyId); err != nil {
			return nil, err
		}
		region, err := d.regionCalled(*r.Region)
		if err == nil && !slices.Contains(d.Service.Peers(), region) {
			err = invalidParameter("Invalid replica region: %s is not a region that this one replicates to.", *r.Region)
		}
		if err != nil {
			return nil, err
		}
		targets = append(targets, secret.Target{Region: region, ForceOverwrite: force})
	}
	return targets, nil
}

type replicateIn struct {
	AddReplicaRegions           []replicaRegion
	SecretId                    *string //nolint:revive // the API's name
	ForceOverwriteReplicaSecret bool
}

type replicateOut struct {
	ARN               string
	ReplicationStatus []replicaOut `json:",omitzero"`
}

func (d *Dialect) replicateSecretToRegions(ctx context.Context, in *replicateIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	targets, err := d.targetsOf(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret)
	if err == nil && len(targets) == 0 {
		err = broken("", "addReplicaRegions", "have length greater than or equal to 1")
	}
	if err != nil {
		return nil, err
	}
	return d.replicated(ctx, service.SecretReplication{SecretRef: ref, Add: targets}, writable)
}

type unreplicateIn struct {
	RemoveReplicaRegions []string
	SecretId             *string //nolint:revive // the API's name
}

func (d *Dialect) removeRegionsFromReplication(ctx context.Context, in *unreplicateIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	r := service.SecretReplication{SecretRef: ref}
	for _, name := range in.RemoveReplicaRegions {
		region, err := d.regionCalled(name)
		if err != nil {
			return nil, err
		}
		r.Remove = append(r.Remove, region)
	}
	if len(r.Remove) == 0 {
		return nil, broken("", "removeReplicaRegions", "have length greater than or equal to 1")
	}
	return d.replicated(ctx, r, func(s *secret.Secret) error {
		for _, region := range r.Remove {
			if s.Ownership.Home == d.Region && secret.TargetIn(s.Targets, region) == nil {
				return faultf(secret.CodeStale, "InvalidParameterException", "The secret is not replicated to %s by itself.", d.nameOf(region))
			}
		}
		return writable(s)
	})
}

// replicated changes where a secret is replicated to and answers how far that is.
func (d *Dialect) replicated(ctx context.Context, r service.SecretReplication, check func(*secret.Secret) error) (any, error) {
	out := &replicateOut{}
	r.Check = func(s *secret.Secret) error {
		out.ARN = d.arnOf(s)
		return check(s)
	}
	var err error
	out.ReplicationStatus, err = d.replicate(ctx, r)
	return out, err
}

func (d *Dialect) replicate(ctx context.Context, r service.SecretReplication) ([]replicaOut, error) {
	var home secret.RegionName
	check := r.Check
	r.Check = func(s *secret.Secret) error {
		home = s.Ownership.Home
		if check == nil {
			return nil
		}
		return check(s)
	}
	o, err := d.Service.ReplicateSecret(ctx, r)
	if e, ok := asError(err); ok && e.Code == secret.CodeNotHome && home == d.Region {
		err = invalidRequest("To which regions the secrets of the account go at all is decided in the home region of their vault, %s.", d.nameOf(e.Home))
	}
	if err != nil {
		return nil, err
	}
	return d.replicas(o.Secret)
}

// replicas answers how far the replicas of a secret are, in its home region.
func (d *Dialect) replicas(s *secret.Secret) ([]replicaOut, error) {
	if s.Ownership.Home != d.Region || d.Replicas == nil {
		return nil, nil
	}
	found, err := d.Replicas(s)
	var out []replicaOut
	for _, r := range found {
		one := replicaOut{Region: d.nameOf(r.Region), Status: "InProgress"}
		switch {
		case r.Failure != nil && (r.Failure.Code == secret.CodeExists || r.Failure.Code == secret.CodeDetached):
			one.Status = "Failed"
			one.StatusMessage = "Replication failed: Secret name " + s.Name + " already exists in region " + one.Region + "."
		case r.Failure != nil:
			one.Status, one.StatusMessage = "Failed", "Replication failed: "+r.Failure.Message
		case r.InSync:
			one.Status = "InSync"
		}
		out = append(out, one)
	}
	return out, err
}

type promotedOut struct{ ARN string }

// stopReplicationToReplica makes the replica in this region a secret of its own. One
// that was promoted before is left as it is, so that the call can be repeated.
func (d *Dialect) stopReplicationToReplica(ctx context.Context, in *secretIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	out := &promotedOut{}
	ref.Check = func(s *secret.Secret) error {
		out.ARN = d.arnOf(s)
		return writable(s)
	}
	_, err = d.Service.PromoteSecret(ctx, service.Promotion{SecretRef: ref, WaitCleared: true})
	if secret.HasCode(err, secret.CodeWrongState) {
		err = invalidParameter("The secret is not a replica: call in the region of the replica.")
	}
	return out, err
}

// existing returns a secret that must be there and that the caller may describe.
func (d *Dialect) existing(ctx context.Context, secretID *string, check func(*secret.Secret) error) (*secret.Secret, error) {
	ref, err := d.ref(secretID)
	if err != nil {
		return nil, err
	}
	ref.Check = check
	found, err := d.Service.DescribeSecret(ctx, ref, service.RevisionToken{})
	if err != nil {
		return nil, err
	}
	return found.Secret, nil
}
