package native

import (
	"errors"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeOf(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, secret.Invalid(field, "is not a valid timestamp")
	}
	if at := t.AsTime(); !at.After(time.Unix(0, 0)) || at.Year() >= secret.MaxYear {
		return time.Time{}, secret.Invalid(field, "is %s; allowed is after 1970-01-01 and before the year %d", at.Format(time.RFC3339), secret.MaxYear)
	}
	return t.AsTime(), nil
}

func durationOf(field string, d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil || d.GetSeconds() > math.MaxInt64/int64(time.Second) || d.GetSeconds() < 0 {
		return 0, secret.Invalid(field, "is not a valid duration")
	}
	return d.AsDuration(), nil
}

func duration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func order(o secret.Order) *lifeboatv1.Order {
	return &lifeboatv1.Order{EpochCounter: o.Epoch.Counter, EpochRegion: string(o.Epoch.Region), Seq: o.Seq}
}

func orderOf(o *lifeboatv1.Order) *secret.Order {
	if o == nil {
		return nil
	}
	return &secret.Order{
		Epoch: secret.Epoch{Counter: o.GetEpochCounter(), Region: secret.RegionName(o.GetEpochRegion())}, Seq: o.GetSeq(),
	}
}

func ownership(o secret.Ownership) *lifeboatv1.Ownership {
	return &lifeboatv1.Ownership{HomeRegion: string(o.Home), Incarnation: string(o.Incarnation), Order: order(o.Order)}
}

var states = map[secret.State]lifeboatv1.State{
	secret.Creating: lifeboatv1.State_STATE_CREATING, secret.Active: lifeboatv1.State_STATE_ACTIVE,
	secret.Updating: lifeboatv1.State_STATE_UPDATING, secret.PendingDeletion: lifeboatv1.State_STATE_PENDING_DELETION,
	secret.Deleted: lifeboatv1.State_STATE_DELETED, secret.Failed: lifeboatv1.State_STATE_FAILED,
}

func stateOf(s lifeboatv1.State) (secret.State, error) {
	for state, wire := range states {
		if wire == s {
			return state, nil
		}
	}
	return "", secret.Invalid("states", "has an unspecified state")
}

func retention(r secret.Retention) *lifeboatv1.Retention {
	if r == (secret.Retention{}) {
		return nil
	}
	return &lifeboatv1.Retention{MaxVersions: uint32(r.MaxVersions), MaxAge: duration(r.MaxAge)} //nolint:gosec // at most MaxVersions
}

func retentionOf(field string, r *lifeboatv1.Retention) (secret.Retention, error) {
	maxAge, err := durationOf(field+".max_age", r.GetMaxAge())
	return secret.Retention{MaxVersions: int(r.GetMaxVersions()), MaxAge: maxAge}, err
}

// renamed says in the words of the API which field an error is about, where a
// check serves several messages.
func renamed(err error, from, to string) error {
	if e, ok := errors.AsType[*secret.Error](err); ok && strings.HasPrefix(e.Field, from) {
		renamed := *e
		renamed.Field = to + strings.TrimPrefix(e.Field, from)
		return &renamed
	}
	return err
}

func rules(r secret.Rules) *lifeboatv1.Rules {
	if r == (secret.Rules{}) {
		return nil
	}
	return &lifeboatv1.Rules{ExpiresAt: timestamp(r.ExpiresAt), VersionTtl: duration(r.VersionTTL), ForbidReuse: r.ForbidReuse}
}

func rulesOf(r *lifeboatv1.Rules) (secret.Rules, error) {
	expires, err := timeOf("rules.expires_at", r.GetExpiresAt())
	if err != nil {
		return secret.Rules{}, err
	}
	ttl, err := durationOf("rules.version_ttl", r.GetVersionTtl())
	return secret.Rules{ExpiresAt: expires, VersionTTL: ttl, ForbidReuse: r.GetForbidReuse()}, err
}

func summary(s *secret.Secret, state secret.State, reason string) *lifeboatv1.Secret {
	return &lifeboatv1.Secret{
		Id: string(s.ID), AccountId: string(s.Account), VaultId: string(s.ID.Vault()), Name: s.Name,
		State: states[state], StateReason: reason, ContentType: s.ContentType, Tags: s.Tags,
		Rules: rules(s.Rules), Retention: retention(s.Retention), Ownership: ownership(s.Ownership), Targets: each(s.Targets, target),
		CreatedAt: timestamp(s.CreatedAt), UpdatedAt: timestamp(s.UpdatedAt), DeleteAt: timestamp(s.DeleteAt),
		Detached: s.IsDetached(), PromotedRegions: regionNames(s.PromotedElsewhere()),
	}
}

func described(d service.Description) *lifeboatv1.Secret {
	s := summary(d.Secret, d.State, d.StateReason)
	s.Description = string(d.Description.Reveal())
	s.Metadata = d.Metadata
	s.LastAccessedAt = timestamp(d.Accessed.At())
	for i := range d.Secret.Versions {
		s.Versions = append(s.Versions, version(d.Secret, &d.Secret.Versions[i]))
	}
	return s
}

func version(s *secret.Secret, v *secret.VersionInfo) *lifeboatv1.SecretVersion {
	return &lifeboatv1.SecretVersion{
		Id: string(v.ID), Number: v.Number, Stages: stages(s, v.ID), CreatedAt: timestamp(v.CreatedAt),
		CreatedBy: string(v.CreatedBy), ExpiresAt: timestamp(v.ExpiresAt), Size: uint32(v.Size), //nolint:gosec // at most MaxValueBytes
	}
}

func stages(s *secret.Secret, id secret.VersionID) []string {
	of := s.StagesOf(id)
	names := make([]string, len(of))
	for i, stage := range of {
		names[i] = string(stage)
	}
	return names
}

func stagesOf(names []string) []secret.Stage {
	var of []secret.Stage
	for _, name := range names {
		of = append(of, secret.Stage(name))
	}
	return of
}

func (d dialect) freshness(f service.Freshness) *lifeboatv1.Freshness {
	return &lifeboatv1.Freshness{
		AgeSeconds: f.Age.Seconds(), FromStore: f.FromStore, Region: string(d.Region), HomeRegion: string(f.Home), AgeUnknown: f.AgeUnknown,
	}
}

func vault(v *secret.Vault) *lifeboatv1.Vault {
	return &lifeboatv1.Vault{
		Id: string(v.ID), AccountId: string(v.Account), Name: v.Name, State: states[v.State], Description: v.Description, Tags: v.Tags,
		DefaultRetention: retention(v.Retention), Ownership: ownership(v.Ownership), Replication: replication(v.Replication),
		CreatedAt: timestamp(v.CreatedAt), UpdatedAt: timestamp(v.UpdatedAt), Key: v.Key,
	}
}

func account(a *secret.Account) *lifeboatv1.Account {
	return &lifeboatv1.Account{
		Id: string(a.ID), Name: a.Name, Ownership: ownership(a.Ownership), CreatedAt: timestamp(a.CreatedAt), UpdatedAt: timestamp(a.UpdatedAt),
	}
}

var kinds = map[secret.PrincipalKind]lifeboatv1.PrincipalKind{
	secret.User: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_USER, secret.Workload: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD,
	secret.Operator: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_OPERATOR,
}

func kindOf(k lifeboatv1.PrincipalKind) (secret.PrincipalKind, error) {
	for kind, wire := range kinds {
		if wire == k {
			return kind, nil
		}
	}
	return "", secret.Invalid("kind", "must be USER, WORKLOAD or OPERATOR")
}

func principal(p *secret.Principal) *lifeboatv1.Principal {
	return &lifeboatv1.Principal{
		Id: string(p.ID), AccountId: string(p.Account), Name: p.Name, Kind: kinds[p.Kind], Roles: p.Roles, Disabled: p.Disabled,
		Ownership: ownership(p.Ownership), CreatedAt: timestamp(p.CreatedAt), UpdatedAt: timestamp(p.UpdatedAt),
	}
}

func credential(c *secret.Credential) *lifeboatv1.Credential {
	kind := lifeboatv1.CredentialKind_CREDENTIAL_KIND_TOKEN
	if c.Kind == secret.AccessKey {
		kind = lifeboatv1.CredentialKind_CREDENTIAL_KIND_ACCESS_KEY
	}
	return &lifeboatv1.Credential{
		Id: string(c.ID), AccountId: string(c.Account), PrincipalId: string(c.Principal), Kind: kind, Description: c.Description,
		CreatedAt: timestamp(c.CreatedAt), ExpiresAt: timestamp(c.ExpiresAt), RevokedAt: timestamp(c.RevokedAt),
	}
}

func policy(p *secret.Policy) *lifeboatv1.Policy {
	return &lifeboatv1.Policy{
		AccountId: string(p.Account), Name: p.Name, Text: p.Text, Description: p.Description,
		Ownership: ownership(p.Ownership), CreatedAt: timestamp(p.CreatedAt), UpdatedAt: timestamp(p.UpdatedAt),
	}
}

// each converts a list.
func each[S, T any](items []S, convert func(S) T) []T {
	converted := make([]T, len(items))
	for i, item := range items {
		converted[i] = convert(item)
	}
	return converted
}
