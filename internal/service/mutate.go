package service

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Outcome is the answer to a mutation of a secret. It says nothing that the
// caller might not be permitted to read.
type Outcome struct {
	Secret *secret.Secret
	State  secret.State
	Token  RevisionToken
	// Version is the one that was put, if one was.
	Version *secret.VersionInfo
	// PublicKey is of a key pair that was generated.
	PublicKey string
	// Replayed is set if the same request had been done before.
	Replayed bool
	// Cleared is set if every live host is known to have applied the mutation.
	Cleared bool
	// AckTargets is by how many targets the mutation was to be received; Received are
	// those that have, Outstanding those of which it is not known.
	AckTargets            int
	Received, Outstanding []secret.RegionName
}

// NewSecret is what CreateSecret makes.
type NewSecret struct {
	Vault string
	Name  string
	// Value is empty for a secret without a version, and if Generate is set.
	Value    secret.Plaintext
	Generate *Generated
	// Binary says that the value is bytes even if they happen to be text.
	Binary      bool
	Description secret.Plaintext
	Metadata    map[string]string
	ContentType string
	Tags        map[string]string
	Rules       secret.Rules
	Retention   secret.Retention
	// FallbackRetention is given if neither Retention nor the vault says anything.
	FallbackRetention secret.Retention
	VersionID         secret.VersionID
	RequestToken      string
	WaitCleared       bool
	// InReplica lets the secret be made, with this region as its home, in a vault
	// whose home is another region.
	InReplica bool
	// AckTargets is by how many targets it is to be received before the answer; 0
	// means what the vault says.
	AckTargets int
}

func (n *NewSecret) check() error {
	checks := []error{
		secret.CheckName("name", n.Name),
		secret.CheckRequestToken("request_token", n.RequestToken),
		secret.CheckText("content_type", n.ContentType, secret.MaxContentTypeBytes),
		checkDescription(n.Description),
		secret.CheckTags("tags", n.Tags),
		n.Rules.Check(),
		n.Retention.Check(),
	}
	switch {
	case n.Value.Len() > 0 && n.Generate != nil:
		checks = append(checks, valueAndGenerate())
	case n.Value.Len() > 0:
		checks = append(checks, secret.CheckValue("value", n.Value))
	}
	if n.VersionID != "" {
		checks = append(checks, secret.CheckVersionID("version_id", n.VersionID))
	}
	return firstError(checks...)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkDescription(p secret.Plaintext) error {
	return secret.CheckText("description", string(p.Reveal()), secret.MaxDescriptionBytes)
}

// CreateSecret makes a secret, with a first version unless the value is empty.
// A name that is taken is CodeExists, or CodeWrongState if its holder is
// scheduled for deletion; a repeated request token answers the first result.
func (s *Service) CreateSecret(ctx context.Context, n NewSecret) (Outcome, error) {
	id := secret.ID("")
	return s.mutate(ctx, authz.CreateSecret, n.WaitCleared, func(c *call, view record.View) (*edit, error) {
		n := n
		if err := n.check(); err != nil {
			return nil, err
		}
		vault, vaultRevision, err := c.vault(view, n.Vault)
		if err != nil {
			return nil, err
		}
		resource := target{vault: vault, name: n.Name}.resource()
		resource.Tags = n.Tags
		if err := c.authorize(view, resource); err != nil {
			return nil, err
		}
		if vault.State != secret.Active {
			return nil, secret.Errorf(secret.CodeWrongState, "the vault is being deleted")
		}
		e, err := c.newEdit(ctx, view, vault)
		if err != nil {
			return nil, err
		}
		if err := refuseReplica(view, record.VaultKey(vault.ID), vault.Ownership, secret.RegionName(e.region.GetName())); err != nil && !n.InReplica {
			return nil, err
		}
		if err := e.ack(n.AckTargets); err != nil {
			return nil, err
		}
		// A vault that is being deleted is marked first: with the mark this
		// creation must fail, whenever it read the vault.
		e.txn.Require(record.VaultKey(vault.ID), vaultRevision)
		mac, metadata, err := n.mac(e.sealer)
		if err != nil {
			return nil, err
		}
		nameKey := record.SecretNameKey(vault.ID, n.Name)
		if holder, err := c.target(view, SecretRef{Vault: string(vault.ID), Secret: n.Name}); err != nil {
			return nil, err
		} else if holder.secret != nil {
			if err := holder.secret.ReplayOfCreate(n.RequestToken, mac); err != nil {
				return nil, err
			}
			e.revision = holder.revision
			if n.Generate != nil {
				if e.publicKey, err = e.storedPublicKey(holder.secret); err != nil {
					return nil, err
				}
			}
			return e.replay(holder.secret, firstVersion(holder.secret)), nil
		}
		if n.Generate != nil {
			if metadata, err = e.generateFor(&n); err != nil {
				return nil, err
			}
		}
		if id == "" {
			id = secret.NewID(vault.ID, ulid.MustNewDefault(c.now).String())
		}
		return e, e.create(c, id, n, mac, metadata, nameKey)
	})
}

func firstVersion(s *secret.Secret) *secret.VersionInfo { return s.VersionByNumber(1) }

// mac is the digest of all content of the request, by which a repeated request
// token is judged; without a token there is none.
func (n *NewSecret) mac(sealer *keyring.Sealer) (secret.MAC, []byte, error) {
	metadata, err := encodeMetadata(n.Metadata)
	if err != nil || n.RequestToken == "" {
		return nil, metadata, err
	}
	tags, _ := json.Marshal(n.Tags)
	rules, _ := json.Marshal(struct {
		secret.Rules
		secret.Retention
	}{n.Rules, n.Retention})
	value := n.Value.Reveal()
	if n.Generate != nil { // what comes of it is another value each time
		value = []byte("generate\x00" + n.Generate.Rule)
	}
	parts := [][]byte{[]byte(n.Name), value, n.Description.Reveal(), metadata, tags, rules, []byte(n.ContentType), []byte(n.VersionID)}
	if n.Binary {
		parts = append(parts, []byte("binary"))
	}
	return sealer.MAC("create", parts...), metadata, nil
}

func encodeMetadata(m map[string]string) ([]byte, error) {
	if len(m) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, secret.Invalid("metadata", "cannot be encoded")
	}
	if len(b) > secret.MaxMetadataBytes {
		return nil, secret.Invalid("metadata", "is %d bytes long as JSON; the limit is %d", len(b), secret.MaxMetadataBytes)
	}
	return b, nil
}

func (e *edit) create(c *call, id secret.ID, n NewSecret, mac secret.MAC, metadata []byte, nameKey record.Key) error {
	m := c.mutationIn(e.region)
	sec := &secret.Secret{
		ID: id, Account: e.vault.Account, Name: n.Name, State: secret.Active,
		Ownership:   secret.NewOwnership(secret.RegionName(e.region.GetName()), m.Incarnation),
		CreatedAt:   m.At,
		UpdatedAt:   m.At,
		ContentType: n.ContentType, Tags: maps.Clone(n.Tags), Rules: n.Rules, Retention: n.Retention,
		RequestToken: n.RequestToken, RequestMAC: mac,
	}
	if sec.Retention == (secret.Retention{}) {
		sec.Retention = e.vault.Retention
	}
	if sec.Retention == (secret.Retention{}) {
		sec.Retention = n.FallbackRetention
	}
	if err := e.sealText(sec, n.Description, metadata); err != nil {
		return err
	}
	if n.Value.Len() > 0 {
		created := sec.Ownership
		if err := e.put(c, sec, secret.NewVersion{ID: n.VersionID, RequestToken: n.RequestToken, Binary: n.Binary}, n.Value); err != nil {
			return err
		}
		sec.Ownership = created // creation and first version are one mutation
	}
	e.txn.Require(nameKey, 0)
	e.txn.Put(nameKey, record.EncodeReference(string(id)))
	e.finish(c, sec, 0, mutationCreate, "created")
	return nil
}

// NewValue is what PutSecretVersion adds.
type NewValue struct {
	SecretRef
	Value secret.Plaintext
	// Generate makes the value, which is empty then. Of a request token that was used
	// before the first result counts.
	Generate *Generated
	// Binary is as in NewSecret.
	Binary       bool
	Stages       []secret.Stage
	VersionID    secret.VersionID
	ExpiresAt    time.Time
	RequestToken string
	// Expected, if set, is the order the secret must have.
	Expected *secret.Order
	// ExpectedCurrent, if set, is the version that must be CURRENT.
	ExpectedCurrent secret.VersionID
	WaitCleared     bool
	// AckTargets is as in NewSecret.
	AckTargets int
}

// PutSecretVersion adds a version. Errors: those of secret.Secret.PutVersion,
// CodeStale if an expectation does not hold.
func (s *Service) PutSecretVersion(ctx context.Context, n NewValue) (Outcome, error) {
	check := func() error {
		errs := []error{secret.CheckRequestToken("request_token", n.RequestToken)}
		switch {
		case n.Generate == nil:
			errs = append(errs, secret.CheckValue("value", n.Value))
		case n.Value.Len() > 0:
			errs = append(errs, valueAndGenerate())
		}
		if n.VersionID != "" {
			errs = append(errs, secret.CheckVersionID("version_id", n.VersionID))
		}
		return firstError(errs...)
	}
	return s.mutateSecret(ctx, authz.PutSecretVersion, n.SecretRef, n.WaitCleared, n.Expected, check,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			if err := e.ack(n.AckTargets); err != nil {
				return "", err
			}
			value := n.Value
			if n.Generate != nil {
				made, err := e.generate(sec, n)
				if err != nil || e.replayed {
					return "", err
				}
				value = made
			}
			err := e.put(c, sec, secret.NewVersion{
				ID: n.VersionID, Stages: n.Stages, ExpiresAt: n.ExpiresAt, RequestToken: n.RequestToken, Binary: n.Binary,
			}, value)
			if err != nil || e.replayed {
				return "", err
			}
			if at := e.before.Stages[secret.Current]; n.ExpectedCurrent != "" && at != n.ExpectedCurrent {
				return "", &secret.Error{
					Code: secret.CodeStale, Field: "expected_current_version_id", Message: "CURRENT is version " + string(at),
				}
			}
			return "version_added", nil
		})
}

// Update is what UpdateSecret changes; a nil field stays as it is.
type Update struct {
	SecretRef
	Description *secret.Plaintext
	// Metadata replaces all custom metadata if SetMetadata is set.
	Metadata    map[string]string
	SetMetadata bool
	ContentType *string
	SetTags     map[string]string
	RemoveTags  []string
	Rules       *secret.Rules
	Retention   *secret.Retention
	// RequestToken is remembered as secret.Secret.Requests says, as are those of the
	// mutations below. What changes nothing is not remembered.
	RequestToken string
	Expected     *secret.Order
	WaitCleared  bool
}

// UpdateSecret changes metadata.
func (s *Service) UpdateSecret(ctx context.Context, u Update) (Outcome, error) {
	check := func() error {
		if u.Description != nil {
			return checkDescription(*u.Description)
		}
		return nil
	}
	return s.mutateSecret(ctx, authz.UpdateSecret, u.SecretRef, u.WaitCleared, u.Expected, check,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			metadata, err := encodeMetadata(u.Metadata)
			if err != nil {
				return "", err
			}
			return e.once(sec, u.request(metadata), func() (string, error) {
				changes, err := u.changes(e, sec, metadata)
				if err != nil {
					return "", err
				}
				return "updated", sec.Update(c.mutationIn(e.region), changes)
			})
		})
}

// changes are those of the update, sealed.
func (u *Update) changes(e *edit, sec *secret.Secret, metadata []byte) (secret.Changes, error) {
	changes := secret.Changes{
		ContentType: u.ContentType, SetTags: u.SetTags, RemoveTags: u.RemoveTags, Rules: u.Rules, Retention: u.Retention,
	}
	if u.Description != nil {
		sealed, err := e.seal(sec, "", keyring.Description, *u.Description)
		if err != nil {
			return secret.Changes{}, err
		}
		changes.Description = &sealed
	}
	if u.SetMetadata {
		sealed, err := e.seal(sec, "", keyring.Metadata, secret.NewPlaintext(metadata))
		if err != nil {
			return secret.Changes{}, err
		}
		changes.Metadata = &sealed
	}
	return changes, nil
}

// StageMove is what MoveStage does: it moves Stage to the version To, or takes it
// off if To is empty. If From is set the stage must be there now.
type StageMove struct {
	SecretRef
	Stage        secret.Stage
	To, From     secret.VersionID
	RequestToken string
	Expected     *secret.Order
	WaitCleared  bool
}

// MoveStage moves a stage or label.
func (s *Service) MoveStage(ctx context.Context, mv StageMove) (Outcome, error) {
	return s.mutateSecret(ctx, authz.MoveStage, mv.SecretRef, mv.WaitCleared, mv.Expected, nil,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			event, err := e.once(sec, mv.request(), func() (string, error) {
				changed, err := sec.MoveStage(c.mutationIn(e.region), mv.Stage, mv.To, mv.From)
				e.nothing = !changed
				return "stage_moved", err
			})
			e.version = sec.Version(mv.To)
			return event, err
		})
}

// Deletion is what DeleteSecret does.
type Deletion struct {
	SecretRef
	// Window is 7 to 30 days; zero means 30.
	Window time.Duration
	// Immediate purges at once, for which the action PurgeSecret is needed.
	Immediate bool
	// RequestToken of an immediate deletion is remembered for a day.
	RequestToken string
	Expected     *secret.Order
	WaitCleared  bool
}

// DeleteSecret schedules the deletion of a secret, or purges it.
func (s *Service) DeleteSecret(ctx context.Context, d Deletion) (Outcome, error) {
	if d.Immediate {
		return s.purgeSecret(ctx, d)
	}
	return s.mutateSecret(ctx, authz.DeleteSecret, d.SecretRef, d.WaitCleared, d.Expected, nil,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			return e.once(sec, d.request(), func() (string, error) {
				return "deletion_scheduled", sec.ScheduleDeletion(c.mutationIn(e.region), d.Window)
			})
		})
}

// Restoration is what RestoreSecret does.
type Restoration struct {
	SecretRef
	RequestToken string
	WaitCleared  bool
}

// RestoreSecret takes a scheduled deletion back; it changes nothing if none is.
func (s *Service) RestoreSecret(ctx context.Context, r Restoration) (Outcome, error) {
	return s.mutateSecret(ctx, authz.RestoreSecret, r.SecretRef, r.WaitCleared, nil, nil,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			return e.once(sec, r.request(), func() (string, error) {
				changed, err := sec.Restore(c.mutationIn(e.region))
				e.nothing = !changed
				return "restored", err
			})
		})
}

// mutateSecret carries out a mutation of an existing secret. change alters the
// copy it is given and returns the type of the event.
func (s *Service) mutateSecret(ctx context.Context, action authz.Action, ref SecretRef, wait bool, expected *secret.Order,
	check func() error, change func(*call, *edit, *secret.Secret) (string, error),
) (Outcome, error) {
	return s.mutate(ctx, action, wait, func(c *call, view record.View) (*edit, error) {
		if check != nil {
			if err := check(); err != nil {
				return nil, err
			}
		}
		t, err := c.target(view, ref)
		if err != nil {
			return nil, err
		}
		return c.mutateTarget(ctx, view, t, ref, expected, change)
	})
}

// mutateTarget plans a mutation of the secret that was found.
func (c *call) mutateTarget(ctx context.Context, view record.View, t target, ref SecretRef, expected *secret.Order,
	change func(*call, *edit, *secret.Secret) (string, error),
) (*edit, error) {
	if err := c.authorize(view, t.resource()); err != nil {
		return nil, err
	}
	if t.secret == nil {
		return nil, c.noSecret(view, t.vault)
	}
	if err := ref.checked(t.secret); err != nil {
		return nil, err
	}
	e, err := c.newEdit(ctx, view, t.vault)
	if err != nil {
		return nil, err
	}
	if err := refuseReplica(view, record.SecretKey(t.secret.ID), t.secret.Ownership, secret.RegionName(e.region.GetName())); err != nil {
		return nil, err
	}
	e.before, e.revision, e.vaultRevision = t.secret, t.revision, t.vaultRevision
	if t.secret.IsDetached() { // the targets of the vault are not its own
		e.ackTargets = min(e.ackTargets, len(t.secret.Targets))
	}
	sec := t.secret.Clone()
	event, err := change(c, e, sec)
	if err != nil {
		return nil, err
	}
	if e.nothing {
		e.after = t.secret
		return e, nil
	}
	if expected != nil && t.secret.Ownership.Order != *expected {
		return nil, &secret.Error{
			Code: secret.CodeStale, Field: "expected_order", Message: "the secret is at order " + t.secret.Ownership.Order.String(),
			Hint: "read it again, then decide",
		}
	}
	mutation := mutationUpdate
	if sec.State == secret.Deleted {
		mutation = mutationDelete
	}
	e.finish(c, sec, t.revision, mutation, event)
	return e, nil
}

// mutate carries out a mutation of a secret that plan plans.
func (s *Service) mutate(ctx context.Context, action authz.Action, wait bool, plan func(*call, record.View) (*edit, error)) (Outcome, error) {
	c, err := s.begin(ctx, action, true)
	if err != nil {
		return Outcome{}, c.end(err)
	}
	var last *edit
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if err := c.authenticate(view); err != nil {
			return nil, err
		}
		e, err := plan(c, view)
		if err != nil {
			return nil, err
		}
		last = e
		if e.nothing {
			return nil, nil
		}
		return e.txn, nil
	})
	if err != nil {
		return Outcome{}, c.end(err)
	}
	c.entry.Committed = revision > 0
	outcome := c.outcome(last)
	if err := c.end(nil); err != nil {
		return Outcome{}, err
	}
	if revision == 0 {
		revision = last.revision
	}
	key := record.SecretKey(last.after.ID)
	if wait {
		outcome.Cleared = s.cleared(ctx, key, revision)
	}
	if outcome.AckTargets = last.ackTargets; outcome.AckTargets > 0 && s.Replication != nil {
		limited, cancel := context.WithTimeout(ctx, s.WaitReceived)
		defer cancel()
		outcome.Received, outcome.Outstanding = s.Replication.WaitReceived(limited, key, revision, outcome.AckTargets)
	}
	return outcome, nil
}

func (c *call) outcome(e *edit) Outcome {
	c.entry.Resource.ID = string(e.after.ID)
	c.entry.Order = e.after.Ownership.Order
	if e.version != nil {
		c.entry.Version = e.version.ID
	}
	o := Outcome{Version: e.version, Replayed: e.replayed, PublicKey: e.publicKey}
	o.Secret = e.after
	o.Token = TokenOf(e.after, secret.Incarnation(e.region.GetIncarnation()))
	o.State = e.after.State
	if !e.nothing && o.State == secret.Active {
		o.State = secret.Updating
		if e.after.Ownership.Order.Seq == 1 {
			o.State = secret.Creating
		}
	}
	return o
}
