package service

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Freshness says how old an answer may be.
type Freshness struct {
	// Age is how long ago the local store was last known to be up to date; zero
	// while it follows the store.
	Age time.Duration
	// FromStore is set if the answer came from the store itself.
	FromStore bool
	// Home is the home region of what was read, if it is another one. Then Age counts
	// since this region was last known to have all that the home's hosts had; AgeUnknown
	// is set while it is not known of any moment.
	Home       secret.RegionName
	AgeUnknown bool
}

// freshnessOf returns the freshness of a record that was read with f.
func (s *Service) freshnessOf(f Freshness, o secret.Ownership) Freshness {
	if o.Home == s.Region || o.Home == "" || s.hasTakenOver(o.Home) {
		return f
	}
	f.Home, f.AgeUnknown = o.Home, true
	if s.ReplicaAge != nil {
		if age, known := s.ReplicaAge(o.Home); known {
			f.Age, f.AgeUnknown = max(f.Age, age), false
		}
	}
	return f
}

// hasTakenOver reports whether this region is the home of what had it in another one.
func (s *Service) hasTakenOver(home secret.RegionName) (taken bool) {
	err := s.Local.View(func(view record.View) (err error) {
		taken, err = hasTakenOver(view, home, "")
		return err
	})
	return taken && err == nil
}

// read runs fn on the local store, and on the store if the local store cannot
// answer: the record is missing there, damaged, or older than asked for. If the
// store does not answer either, the local error stands.
func (s *Service) read(ctx context.Context, fn func(record.View) error) (Freshness, error) {
	ctx, end := s.step(ctx, "read")
	fresh, err := s.readEither(ctx, fn)
	end(err)
	return fresh, err
}

func (s *Service) readEither(ctx context.Context, fn func(record.View) error) (Freshness, error) {
	localErr := s.Local.View(fn)
	fresh := Freshness{Age: s.Local.Age()}
	if !storeMayKnow(localErr) {
		return fresh, localErr
	}
	s.storeReads.Add(1)
	limit := time.Now().Add(s.StoreFallback)
	if batch, ok := ctx.Value(batchLimit{}).(*time.Time); ok {
		if batch.IsZero() {
			*batch = limit
		}
		limit = *batch
	}
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	ctx, end := s.step(ctx, "read store")
	err := fn(s.Store.View(ctx))
	end(err)
	if secret.HasCode(err, secret.CodeUnavailable) {
		return fresh, localErr
	}
	return Freshness{FromStore: true}, err
}

// batchLimit is the key of the time until which the reads of a batch, one after
// the other, may ask the store: set by the first that does.
type batchLimit struct{}

func storeMayKnow(err error) bool {
	switch secret.CodeOf(err) {
	case secret.CodeNotFound, secret.CodeCorrupt, secret.CodeUnavailable, secret.CodeNotReached, secret.CodeSuperseded, secret.CodeUnknownIncarnation:
		return true
	}
	return false
}

func incarnationOf(view record.View) (secret.Incarnation, error) {
	region, err := RegionRecord(view)
	return secret.Incarnation(region.GetIncarnation()), err
}

func notInitialized() error {
	return secret.Errorf(secret.CodeUnavailable, "the region is not initialized").WithHint("run: lifeboat operator init")
}

// ValueRef names a version of a secret: by ID, number or stage, of which at most
// one is set; none means CURRENT.
type ValueRef struct {
	SecretRef
	VersionID     secret.VersionID
	VersionNumber uint64
	Stage         secret.Stage
	Token         RevisionToken
}

// Value is a version of a secret in the clear.
type Value struct {
	Secret    *secret.Secret
	Version   secret.VersionInfo
	Plaintext secret.Plaintext
	Token     RevisionToken
	Freshness Freshness
}

// GetSecretValue answers the value of a version. Errors: those of
// secret.Secret.Readable, CodeNotFound, CodeNotReached, CodeSuperseded, CodeUnknownIncarnation,
// CodeTampered, CodeKeyUnavailable.
func (s *Service) GetSecretValue(ctx context.Context, ref ValueRef) (Value, error) {
	c, err := s.begin(ctx, authz.GetSecretValue, false)
	if err != nil {
		return Value{}, c.end(err)
	}
	value, err := s.value(ctx, c, ref)
	if err = c.end(err); err != nil {
		return Value{}, err
	}
	s.accesses.note(value.Secret.ID, value.Version.ID, dayOf(c.now))
	return value, nil
}

func (s *Service) value(ctx context.Context, c *call, ref ValueRef) (Value, error) {
	if err := ref.check(); err != nil {
		return Value{}, err
	}
	r := &valueRead{call: c, ref: ref}
	fresh, err := s.read(ctx, func(view record.View) error { return r.open(ctx, view) })
	if r.value.Secret != nil {
		fresh = s.freshnessOf(fresh, r.value.Secret.Ownership)
	}
	r.value.Freshness = fresh
	return r.value, err
}

// valueRead is the read of one value. What it asks for and what it finds are one
// allocation so.
type valueRead struct {
	call  *call
	ref   ValueRef
	value Value
}

func (r *valueRead) open(ctx context.Context, view record.View) (err error) {
	if err := r.call.authenticate(view); err != nil {
		return err
	}
	r.value, err = r.call.openValue(ctx, view, &r.ref)
	return err
}

func (ref *ValueRef) check() error {
	named := 0
	for _, set := range []bool{ref.VersionID != "", ref.VersionNumber != 0, ref.Stage != ""} {
		if set {
			named++
		}
	}
	if named > 1 {
		return secret.Invalid("version_id", "give at most one of version_id, version_number and stage")
	}
	return nil
}

func (c *call) openValue(ctx context.Context, view record.View, ref *ValueRef) (Value, error) {
	t, err := c.target(view, ref.SecretRef)
	if err != nil {
		return Value{}, err
	}
	if err := c.authorize(view, t.resource()); err != nil {
		return Value{}, err
	}
	if err := satisfies(view, ref.Token, t.secret); err != nil {
		return Value{}, err
	}
	if t.secret == nil {
		return Value{}, c.noSecret(view, t.vault)
	}
	if err := ref.checked(t.secret); err != nil {
		return Value{}, err
	}
	info, err := ref.version(t.secret)
	if err != nil {
		return Value{}, err
	}
	if err := t.secret.Readable(info, c.now); err != nil {
		return Value{}, err
	}
	plaintext, err := c.service.openVersion(ctx, view, t.secret, info.ID)
	if err != nil {
		return Value{}, err
	}
	incarnation, err := incarnationOf(view)
	if err != nil {
		return Value{}, err
	}
	c.entry.Version = info.ID
	return Value{Secret: t.secret, Version: *info, Plaintext: plaintext, Token: TokenOf(t.secret, incarnation)}, nil
}

// openVersion opens the sealed value of a version. The view's own bytes are
// opened, without a copy.
func (s *Service) openVersion(ctx context.Context, view record.View, sec *secret.Secret, id secret.VersionID) (secret.Plaintext, error) {
	stored, ok, err := view.Get(record.VersionKey(sec.ID, id))
	if err != nil {
		return secret.Plaintext{}, err
	}
	if !ok {
		return secret.Plaintext{}, notFound("version_id", "version")
	}
	sealed, err := record.SealedValue(stored.Value)
	if err != nil {
		return secret.Plaintext{}, err
	}
	return s.Keyring.Open(ctx, view, string(sec.ID.Vault()), sealed, associatedData(sec, id, keyring.Value))
}

func (ref *ValueRef) version(s *secret.Secret) (*secret.VersionInfo, error) {
	var info *secret.VersionInfo
	switch {
	case ref.VersionID != "":
		if info = s.Version(ref.VersionID); info == nil {
			return nil, &secret.Error{Code: secret.CodeNotFound, Field: "version_id", Message: "the secret has no such version"}
		}
	case ref.VersionNumber != 0:
		if info = s.VersionByNumber(ref.VersionNumber); info == nil {
			return nil, &secret.Error{Code: secret.CodeNotFound, Field: "version_number", Message: "the secret has no such version"}
		}
	default:
		stage := ref.Stage
		if stage == "" {
			stage = secret.Current
		}
		if info = s.VersionAt(stage); info == nil {
			return nil, &secret.Error{Code: secret.CodeNotFound, Field: "stage", Message: "the secret has no version at stage " + string(stage)}
		}
	}
	return info, nil
}

func associatedData(s *secret.Secret, version secret.VersionID, field keyring.Field) keyring.AssociatedData {
	return keyring.AssociatedData{Account: s.Account, Vault: s.ID.Vault(), Secret: s.ID, Version: version, Field: field}
}

// BatchItem is one answer of a batch: a value or an error.
type BatchItem struct {
	Ref   string
	Value Value
	Err   error
}

// MaxBatch bounds the secrets of one batch.
const MaxBatch = 100

// BatchGetSecretValues answers several values of one vault, each of which may
// fail by itself. Each is authorised as GetSecretValue; the batch is one line of
// audit for each secret.
func (s *Service) BatchGetSecretValues(ctx context.Context, vault string, secrets []string, stage secret.Stage) ([]BatchItem, error) {
	if n := len(secrets); n == 0 || n > MaxBatch {
		c, err := s.begin(ctx, authz.GetSecretValue, false)
		if err == nil {
			err = secret.Invalid("secrets", "has %d entries; allowed are 1 to %d", n, MaxBatch)
		}
		return nil, c.end(err)
	}
	items := make([]BatchItem, len(secrets))
	ctx = context.WithValue(ctx, batchLimit{}, new(time.Time))
	for i, ref := range secrets {
		items[i].Ref = ref
		items[i].Value, items[i].Err = s.GetSecretValue(ctx, ValueRef{SecretRef: SecretRef{Vault: vault, Secret: ref}, Stage: stage})
		switch secret.CodeOf(items[i].Err) {
		case secret.CodeAuditUnavailable, secret.CodeUnauthenticated:
			return nil, items[i].Err
		}
	}
	return items, nil
}

// Description is all of a secret but its values.
type Description struct {
	Secret      *secret.Secret
	Description secret.Plaintext
	Metadata    map[string]string
	// State is the stored state, or what shows while it is under way.
	State       secret.State
	StateReason string
	Token       RevisionToken
	Freshness   Freshness
	// Accessed is when values were last read.
	Accessed Accessed
}

// DescribeSecret answers all of a secret but its values.
func (s *Service) DescribeSecret(ctx context.Context, ref SecretRef, token RevisionToken) (Description, error) {
	c, err := s.begin(ctx, authz.DescribeSecret, false)
	if err != nil {
		return Description{}, c.end(err)
	}
	var d Description
	fresh, err := s.read(ctx, func(view record.View) error {
		if err := c.authenticate(view); err != nil {
			return err
		}
		t, err := c.target(view, ref)
		if err != nil {
			return err
		}
		if err := c.authorize(view, t.resource()); err != nil {
			return err
		}
		if err := satisfies(view, token, t.secret); err != nil {
			return err
		}
		if t.secret == nil {
			return c.noSecret(view, t.vault)
		}
		if err := ref.checked(t.secret); err != nil {
			return err
		}
		d, err = s.describe(ctx, view, t.secret)
		return err
	})
	if d.Secret != nil {
		fresh = s.freshnessOf(fresh, d.Secret.Ownership)
	}
	d.Freshness = fresh
	if err = c.end(err); err != nil {
		return Description{}, err
	}
	return d, nil
}

// describe opens the sealed fields of a secret.
func (s *Service) describe(ctx context.Context, view record.View, sec *secret.Secret) (Description, error) {
	incarnation, err := incarnationOf(view)
	if err != nil {
		return Description{}, err
	}
	d := Description{Secret: sec, Token: TokenOf(sec, incarnation)}
	if d.State, d.StateReason, err = progress(view, sec); err != nil {
		return Description{}, err
	}
	if d.Accessed, err = accessedOf(view, sec.ID); err != nil {
		return Description{}, err
	}
	scope := string(sec.ID.Vault())
	if len(sec.Description) > 0 {
		if d.Description, err = s.Keyring.Open(ctx, view, scope, sec.Description, associatedData(sec, "", keyring.Description)); err != nil {
			return Description{}, err
		}
	}
	if len(sec.Metadata) > 0 {
		encoded, err := s.Keyring.Open(ctx, view, scope, sec.Metadata, associatedData(sec, "", keyring.Metadata))
		if err != nil {
			return Description{}, err
		}
		if err := json.Unmarshal(encoded.Reveal(), &d.Metadata); err != nil {
			return Description{}, secret.Errorf(secret.CodeCorrupt, "custom metadata of secret %s cannot be decoded", sec.ID)
		}
	}
	return d, nil
}

// progress returns the state of a secret as it shows: a stored ACTIVE is
// CREATING or UPDATING while its work item is open, FAILED if a host could not
// apply it.
func progress(view record.View, sec *secret.Secret) (secret.State, string, error) {
	key := record.SecretKey(sec.ID)
	q, _, err := record.Load(view, record.Quarantines, record.QuarantineKey(key))
	switch {
	case err == nil:
		return secret.Failed, q.GetReason(), nil
	case !errors.Is(err, record.ErrNotFound):
		return "", "", err
	case sec.State != secret.Active:
		return sec.State, "", nil
	}
	_, open, err := view.Get(record.WorkKey(key))
	switch {
	case err != nil:
		return "", "", err
	case open && sec.Ownership.Order.Seq == 1:
		return secret.Creating, "", nil
	case open:
		return secret.Updating, "", nil
	}
	return secret.Active, "", nil
}
