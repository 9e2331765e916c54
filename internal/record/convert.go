package record

import (
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// FromNanos returns the time that a record stores as n.
func FromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// OrderToProto returns the stored form of an order.
func OrderToProto(o secret.Order) *recordpb.Order {
	return &recordpb.Order{Epoch: epochToProto(o.Epoch), Seq: o.Seq}
}

// OrderFromProto returns the order that a record stores as o.
func OrderFromProto(o *recordpb.Order) secret.Order {
	return secret.Order{Epoch: epochFromProto(o.GetEpoch()), Seq: o.GetSeq()}
}

func epochToProto(e secret.Epoch) *recordpb.Epoch {
	return &recordpb.Epoch{Counter: e.Counter, Region: string(e.Region)}
}

func epochFromProto(e *recordpb.Epoch) secret.Epoch {
	return secret.Epoch{Counter: e.GetCounter(), Region: secret.RegionName(e.GetRegion())}
}

func ownershipToProto(o secret.Ownership) *recordpb.Ownership {
	p := &recordpb.Ownership{Home: string(o.Home), Incarnation: string(o.Incarnation), Order: OrderToProto(o.Order)}
	for _, f := range o.Lineage {
		p.Lineage = append(p.Lineage, &recordpb.Fork{Epoch: epochToProto(f.Epoch), Began: OrderToProto(f.Began), Home: string(f.Home)})
	}
	return p
}

func ownershipFromProto(p *recordpb.Ownership) secret.Ownership {
	o := secret.Ownership{
		Home: secret.RegionName(p.GetHome()), Incarnation: secret.Incarnation(p.GetIncarnation()), Order: OrderFromProto(p.GetOrder()),
	}
	for _, f := range p.GetLineage() {
		o.Lineage = append(o.Lineage, secret.Fork{
			Epoch: epochFromProto(f.GetEpoch()), Began: OrderFromProto(f.GetBegan()), Home: secret.RegionName(f.GetHome()),
		})
	}
	return o
}

func accountToProto(a *secret.Account) *recordpb.Account {
	return &recordpb.Account{
		Id: string(a.ID), Name: a.Name, Ownership: ownershipToProto(a.Ownership),
		CreatedAt: nanos(a.CreatedAt), UpdatedAt: nanos(a.UpdatedAt), RequestToken: a.RequestToken,
	}
}

func accountFromProto(p *recordpb.Account) *secret.Account {
	return &secret.Account{
		ID: secret.AccountID(p.GetId()), Name: p.GetName(), Ownership: ownershipFromProto(p.GetOwnership()),
		CreatedAt: FromNanos(p.GetCreatedAt()), UpdatedAt: FromNanos(p.GetUpdatedAt()), RequestToken: p.GetRequestToken(),
	}
}

func principalToProto(p *secret.Principal) *recordpb.Principal {
	return &recordpb.Principal{
		Id: string(p.ID), Account: string(p.Account), Name: p.Name, Kind: string(p.Kind), Roles: p.Roles, Disabled: p.Disabled,
		Ownership: ownershipToProto(p.Ownership), CreatedAt: nanos(p.CreatedAt), UpdatedAt: nanos(p.UpdatedAt), RequestToken: p.RequestToken,
	}
}

func principalFromProto(p *recordpb.Principal) *secret.Principal {
	return &secret.Principal{
		ID: secret.PrincipalID(p.GetId()), Account: secret.AccountID(p.GetAccount()), Name: p.GetName(),
		Kind: secret.PrincipalKind(p.GetKind()), Roles: p.GetRoles(), Disabled: p.GetDisabled(),
		Ownership: ownershipFromProto(p.GetOwnership()), CreatedAt: FromNanos(p.GetCreatedAt()), UpdatedAt: FromNanos(p.GetUpdatedAt()),
		RequestToken: p.GetRequestToken(),
	}
}

func credentialToProto(c *secret.Credential) *recordpb.Credential {
	return &recordpb.Credential{
		Id: string(c.ID), Account: string(c.Account), Principal: string(c.Principal), Kind: string(c.Kind), Description: c.Description,
		TokenHash: c.TokenHash, SealedKey: c.SealedKey, Ownership: ownershipToProto(c.Ownership),
		CreatedAt: nanos(c.CreatedAt), ExpiresAt: nanos(c.ExpiresAt), RevokedAt: nanos(c.RevokedAt),
	}
}

func credentialFromProto(p *recordpb.Credential) *secret.Credential {
	return &secret.Credential{
		ID: secret.CredentialID(p.GetId()), Account: secret.AccountID(p.GetAccount()), Principal: secret.PrincipalID(p.GetPrincipal()),
		Kind: secret.CredentialKind(p.GetKind()), Description: p.GetDescription(), TokenHash: p.GetTokenHash(), SealedKey: p.GetSealedKey(),
		Ownership: ownershipFromProto(p.GetOwnership()), CreatedAt: FromNanos(p.GetCreatedAt()),
		ExpiresAt: FromNanos(p.GetExpiresAt()), RevokedAt: FromNanos(p.GetRevokedAt()),
	}
}

func policyToProto(p *secret.Policy) *recordpb.Policy {
	return &recordpb.Policy{
		Account: string(p.Account), Name: p.Name, Text: p.Text, Description: p.Description,
		Ownership: ownershipToProto(p.Ownership), CreatedAt: nanos(p.CreatedAt), UpdatedAt: nanos(p.UpdatedAt),
	}
}

func policyFromProto(p *recordpb.Policy) *secret.Policy {
	return &secret.Policy{
		Account: secret.AccountID(p.GetAccount()), Name: p.GetName(), Text: p.GetText(), Description: p.GetDescription(),
		Ownership: ownershipFromProto(p.GetOwnership()), CreatedAt: FromNanos(p.GetCreatedAt()), UpdatedAt: FromNanos(p.GetUpdatedAt()),
	}
}

func retentionToProto(r secret.Retention) *recordpb.Retention {
	if r == (secret.Retention{}) {
		return nil
	}
	return &recordpb.Retention{MaxVersions: uint32(r.MaxVersions), MaxAge: int64(r.MaxAge)}
}

func retentionFromProto(p *recordpb.Retention) secret.Retention {
	return secret.Retention{MaxVersions: int(p.GetMaxVersions()), MaxAge: time.Duration(p.GetMaxAge())}
}

func vaultToProto(v *secret.Vault) *recordpb.Vault {
	return &recordpb.Vault{
		Id: string(v.ID), Account: string(v.Account), Name: v.Name, Ownership: ownershipToProto(v.Ownership), State: string(v.State),
		Description: v.Description, Tags: v.Tags, Retention: retentionToProto(v.Retention),
		CreatedAt: nanos(v.CreatedAt), UpdatedAt: nanos(v.UpdatedAt), RequestToken: v.RequestToken, Key: v.Key,
		Replication: replicationToProto(v.Replication),
	}
}

func vaultFromProto(p *recordpb.Vault) *secret.Vault {
	return &secret.Vault{
		ID: secret.VaultID(p.GetId()), Account: secret.AccountID(p.GetAccount()), Name: p.GetName(),
		Ownership: ownershipFromProto(p.GetOwnership()), State: secret.State(p.GetState()), Description: p.GetDescription(),
		Tags: p.GetTags(), Retention: retentionFromProto(p.GetRetention()),
		CreatedAt: FromNanos(p.GetCreatedAt()), UpdatedAt: FromNanos(p.GetUpdatedAt()), RequestToken: p.GetRequestToken(), Key: p.GetKey(),
		Replication: replicationFromProto(p.GetReplication()),
	}
}

func targetsToProto(targets []secret.Target) []*recordpb.Target {
	var p []*recordpb.Target
	for _, t := range targets {
		p = append(p, &recordpb.Target{Region: string(t.Region), ForceOverwrite: t.ForceOverwrite, Key: t.Key})
	}
	return p
}

func targetsFromProto(p []*recordpb.Target) []secret.Target {
	var targets []secret.Target
	for _, t := range p {
		targets = append(targets, secret.Target{Region: secret.RegionName(t.GetRegion()), ForceOverwrite: t.GetForceOverwrite(), Key: t.GetKey()})
	}
	return targets
}

func regionNamesToProto(names []secret.RegionName) []string {
	var p []string
	for _, name := range names {
		p = append(p, string(name))
	}
	return p
}

func regionNamesFromProto(p []string) []secret.RegionName {
	var names []secret.RegionName
	for _, name := range p {
		names = append(names, secret.RegionName(name))
	}
	return names
}

func replicationToProto(r secret.Replication) *recordpb.Replication {
	if len(r.Targets)+len(r.Partial)+len(r.AllowedRegions)+r.AckTargets == 0 {
		return nil
	}
	return &recordpb.Replication{
		Targets: targetsToProto(r.Targets), Partial: regionNamesToProto(r.Partial),
		AllowedRegions: regionNamesToProto(r.AllowedRegions), AckTargets: uint32(r.AckTargets),
	}
}

func replicationFromProto(p *recordpb.Replication) secret.Replication {
	return secret.Replication{
		Targets: targetsFromProto(p.GetTargets()), Partial: regionNamesFromProto(p.GetPartial()),
		AllowedRegions: regionNamesFromProto(p.GetAllowedRegions()), AckTargets: int(p.GetAckTargets()),
	}
}

func tombstoneToProto(t *secret.Tombstone) *recordpb.Tombstone {
	return &recordpb.Tombstone{
		Record: t.Record, Account: string(t.Account), Ownership: ownershipToProto(t.Ownership), DeletedAt: nanos(t.DeletedAt),
		Holders: regionNamesToProto(t.Holders), Detached: t.Detached,
	}
}

func tombstoneFromProto(p *recordpb.Tombstone) *secret.Tombstone {
	return &secret.Tombstone{
		Record: p.GetRecord(), Account: secret.AccountID(p.GetAccount()), Ownership: ownershipFromProto(p.GetOwnership()),
		DeletedAt: FromNanos(p.GetDeletedAt()), Holders: regionNamesFromProto(p.GetHolders()),
		Detached: p.GetDetached(),
	}
}

func secretToProto(s *secret.Secret) *recordpb.Secret {
	p := &recordpb.Secret{
		Id: string(s.ID), Account: string(s.Account), Name: s.Name, Ownership: ownershipToProto(s.Ownership), State: string(s.State),
		CreatedAt: nanos(s.CreatedAt), UpdatedAt: nanos(s.UpdatedAt), DeleteAt: nanos(s.DeleteAt), ContentType: s.ContentType,
		Tags: s.Tags, Description: s.Description, Metadata: s.Metadata, Retention: retentionToProto(s.Retention),
		RequestToken: s.RequestToken, RequestMac: s.RequestMAC, LastNumber: s.LastNumber,
		Targets: targetsToProto(s.Targets), Detached: s.Detached, Promoted: regionNamesToProto(s.Promoted),
	}
	if s.Rules != (secret.Rules{}) {
		p.Rules = &recordpb.Rules{
			ExpiresAt: nanos(s.Rules.ExpiresAt), VersionTtl: int64(s.Rules.VersionTTL), ForbidReuse: s.Rules.ForbidReuse,
		}
	}
	p.Versions = make([]*recordpb.VersionInfo, len(s.Versions))
	for i := range s.Versions {
		v := &s.Versions[i]
		p.Versions[i] = &recordpb.VersionInfo{
			Id: string(v.ID), Number: v.Number, CreatedAt: nanos(v.CreatedAt), CreatedBy: string(v.CreatedBy),
			ExpiresAt: nanos(v.ExpiresAt), RequestToken: v.RequestToken, Mac: v.MAC, Size: uint32(v.Size), Binary: v.Binary,
		}
	}
	if len(s.Stages) > 0 {
		p.Stages = make(map[string]string, len(s.Stages))
		for stage, id := range s.Stages {
			p.Stages[string(stage)] = string(id)
		}
	}
	if r := s.Rotation; r != nil {
		p.Rotation = &recordpb.Rotation{
			Rotator: r.Rotator, Enabled: r.Enabled, AfterDays: uint32(r.Schedule.AfterDays), Expression: r.Schedule.Expression, //nolint:gosec // at most MaxRotationDays
			Window: int64(r.Schedule.Window), LastAt: nanos(r.LastAt), NextAt: nanos(r.NextAt), Version: string(r.Version), Step: string(r.Step),
			Attempts: uint32(r.Attempts), RetryAt: nanos(r.RetryAt), Failure: r.Failure, Trial: r.Trial, //nolint:gosec // a count
		}
	}
	p.RetiredMacs = make([][]byte, len(s.RetiredMACs))
	for i, mac := range s.RetiredMACs {
		p.RetiredMacs[i] = mac
	}
	for _, r := range s.Requests {
		p.Requests = append(p.Requests, &recordpb.Request{Token: r.Token, Mac: r.MAC})
	}
	return p
}

func secretFromProto(p *recordpb.Secret) *secret.Secret {
	s := &secret.Secret{
		ID: secret.ID(p.GetId()), Account: secret.AccountID(p.GetAccount()), Name: p.GetName(),
		Ownership: ownershipFromProto(p.GetOwnership()), State: secret.State(p.GetState()),
		CreatedAt: FromNanos(p.GetCreatedAt()), UpdatedAt: FromNanos(p.GetUpdatedAt()), DeleteAt: FromNanos(p.GetDeleteAt()),
		ContentType: p.GetContentType(), Tags: p.GetTags(), Description: p.GetDescription(), Metadata: p.GetMetadata(),
		Rules: secret.Rules{
			ExpiresAt: FromNanos(p.GetRules().GetExpiresAt()), VersionTTL: time.Duration(p.GetRules().GetVersionTtl()),
			ForbidReuse: p.GetRules().GetForbidReuse(),
		},
		Retention:    retentionFromProto(p.GetRetention()),
		RequestToken: p.GetRequestToken(), RequestMAC: p.GetRequestMac(), LastNumber: p.GetLastNumber(),
		Targets: targetsFromProto(p.GetTargets()), Detached: p.GetDetached(), Promoted: regionNamesFromProto(p.GetPromoted()),
	}
	if len(p.GetVersions()) > 0 {
		s.Versions = make([]secret.VersionInfo, len(p.GetVersions()))
	}
	for i, v := range p.GetVersions() {
		s.Versions[i] = secret.VersionInfo{
			ID: secret.VersionID(v.GetId()), Number: v.GetNumber(), CreatedAt: FromNanos(v.GetCreatedAt()),
			CreatedBy: secret.PrincipalID(v.GetCreatedBy()), ExpiresAt: FromNanos(v.GetExpiresAt()),
			RequestToken: v.GetRequestToken(), MAC: v.GetMac(), Size: int(v.GetSize()), Binary: v.GetBinary(),
		}
	}
	if len(p.GetStages()) > 0 {
		s.Stages = make(map[secret.Stage]secret.VersionID, len(p.GetStages()))
		for stage, id := range p.GetStages() {
			s.Stages[secret.Stage(stage)] = secret.VersionID(id)
		}
	}
	if r := p.GetRotation(); r != nil {
		s.Rotation = &secret.Rotation{
			Rotator: r.GetRotator(), Enabled: r.GetEnabled(),
			Schedule: secret.Schedule{AfterDays: int(r.GetAfterDays()), Expression: r.GetExpression(), Window: time.Duration(r.GetWindow())},
			LastAt:   FromNanos(r.GetLastAt()), NextAt: FromNanos(r.GetNextAt()), Version: secret.VersionID(r.GetVersion()),
			Step: secret.RotationStep(r.GetStep()), Attempts: int(r.GetAttempts()), RetryAt: FromNanos(r.GetRetryAt()), Failure: r.GetFailure(), Trial: r.GetTrial(),
		}
	}
	if len(p.GetRetiredMacs()) > 0 {
		s.RetiredMACs = make([]secret.MAC, len(p.GetRetiredMacs()))
	}
	for i, mac := range p.GetRetiredMacs() {
		s.RetiredMACs[i] = mac
	}
	for _, r := range p.GetRequests() {
		s.Requests = append(s.Requests, secret.Request{Token: r.GetToken(), MAC: r.GetMac()})
	}
	return s
}

func versionToProto(v *secret.Version) *recordpb.Version {
	return &recordpb.Version{Secret: string(v.Secret), Id: string(v.ID), Value: v.Value, Mac: v.MAC}
}

func versionFromProto(p *recordpb.Version) *secret.Version {
	return &secret.Version{Secret: secret.ID(p.GetSecret()), ID: secret.VersionID(p.GetId()), Value: p.GetValue(), MAC: p.GetMac()}
}
