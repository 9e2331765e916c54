package service

import (
	"context"
	"errors"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Shipment is the cleared state of one record on its way to another region, with
// what is sealed opened: each region seals under its own keys.
type Shipment struct {
	Key record.Key
	// State is the stored form of the record with its sealed fields empty, or of
	// its tombstone if Buried is set.
	State  []byte
	Buried bool
	// Description and Metadata are those of a secret, AccessKey the secret half of
	// a credential, MACKey the digest key of a vault or an account.
	Description, Metadata, AccessKey, MACKey secret.Plaintext
	// Values are those versions of a secret that are sent along.
	Values []ShippedValue
	// Predecessor is the state of the secret whose name this one took over, if the
	// receiver still has it under that name: both are applied at once.
	Predecessor *Shipment

	// Order is that of State.
	Order secret.Order
	// Read is when the state was read, at its home.
	Read secret.Moment
}

// ShippedValue is one version's value in the clear.
type ShippedValue struct {
	ID    secret.VersionID
	Value secret.Plaintext
}

// Bytes is about how large the shipment is on the wire.
func (p *Shipment) Bytes() int {
	n := len(p.Key) + len(p.State) + p.Description.Len() + p.Metadata.Len() + p.AccessKey.Len() + 64
	for _, v := range p.Values {
		n += len(v.ID) + v.Value.Len() + 8
	}
	if p.Predecessor != nil {
		n += p.Predecessor.Bytes()
	}
	return n
}

// Why a record is not shipped.
var (
	// ErrNotCleared: its last mutation is still under way, so that the state may
	// not leave the region. The pipeline enqueues it when it has cleared it.
	ErrNotCleared = errors.New("the last mutation of the record is not cleared")
	// ErrNotShipped: this region has no such record, or is not its home.
	ErrNotShipped = errors.New("the record is not this region's to send")
	// ErrCutOff: a drill has cut the record's vault off. It is to be tried again.
	ErrCutOff = errors.New("the vault is cut off for a drill")
)

// Ship returns the cleared state of a record. Of a secret it opens the versions
// in values, or the newest one if values is nil. Every path out of the region,
// whoever drives it, gets what it sends from here. cleared is the revision of the
// record's work item if that is still there although the mutation is cleared, else 0.
// Errors: ErrNotCleared, ErrNotShipped, ErrCutOff, those of the view and of
// keyring.Keyring.Open.
func (s *Service) Ship(ctx context.Context, view record.View, key record.Key, cleared int64, values []secret.VersionID) (*Shipment, error) {
	if cut, err := s.CutOff(view, key); err != nil || cut {
		return nil, firstError(err, ErrCutOff)
	}
	return s.shipAs(ctx, view, key, s.Region, cleared, values)
}

// ShipReplica is Ship of a replica whose home is lost, or of what is left of a deleted
// one, for a region that takes it over and is meant to hold it; of another it is
// ErrNotShipped.
func (s *Service) ShipReplica(ctx context.Context, view record.View, key record.Key, lost, heir secret.RegionName, values []secret.VersionID) (*Shipment, error) {
	held, err := heldIn(view, key, heir)
	if err == nil && !held && buriedIsShipped(key) {
		held, err = buriedFor(view, key, heir)
	}
	if errors.Is(err, record.ErrNotFound) || err == nil && !held {
		return nil, ErrNotShipped
	}
	if err != nil {
		return nil, err
	}
	return s.shipAs(ctx, view, key, lost, 0, values)
}

// buriedFor reports whether a record is deleted that a region was meant to hold.
func buriedFor(view record.View, key record.Key, heir secret.RegionName) (bool, error) {
	grave, _, err := record.Load(view, record.Tombstones, record.TombstoneKey(key))
	if err != nil {
		return false, err
	}
	return accountHeldIn(view, grave.Account, heir)
}

// shipAs is Ship of what a region may send.
func (s *Service) shipAs(ctx context.Context, view record.View, key record.Key, as secret.RegionName, cleared int64, values []secret.VersionID) (*Shipment, error) {
	p, err := s.ship(ctx, view, key, as, cleared, values)
	if err == nil {
		p.Read, err = momentOf(view)
	}
	return p, err
}

func (s *Service) ship(ctx context.Context, view record.View, key record.Key, as secret.RegionName, cleared int64, values []secret.VersionID) (*Shipment, error) {
	work, open, err := view.Get(record.WorkKey(key))
	if err != nil {
		return nil, err
	}
	open = open && work.Revision != cleared
	stored, ok, err := view.Get(key)
	if err != nil {
		return nil, err
	}
	if !ok {
		return s.shipTombstone(view, key, as, open)
	}
	switch {
	case key.HasPrefix(record.SecretPrefix):
		return s.shipSecret(ctx, view, stored, as, open, values)
	case key.HasPrefix(record.CredentialPrefix):
		return s.shipCredential(ctx, view, stored, as, open)
	}
	identity, err := identityOf(key, stored.Value)
	if err != nil {
		return nil, err
	}
	if err := departs(identity.ownership, as, open); err != nil {
		return nil, err
	}
	p := &Shipment{Key: key, State: slices.Clone(stored.Value), Order: identity.ownership.Order}
	if identity.scope != "" {
		p.MACKey, err = s.Keyring.MACKey(ctx, view, identity.scope)
	}
	return p, err
}

// departs returns why a state does not leave the region.
func departs(o secret.Ownership, as secret.RegionName, open bool) error {
	switch secret.Depart(o, as, open) {
	case secret.Waits:
		return ErrNotCleared
	case secret.Stays:
		return ErrNotShipped
	}
	return nil
}

func (s *Service) shipTombstone(view record.View, key record.Key, as secret.RegionName, open bool) (*Shipment, error) {
	stored, ok, err := view.Get(record.TombstoneKey(key))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNotShipped
	}
	grave, err := record.Tombstones.Decode(stored.Value)
	if err != nil {
		return nil, err
	}
	if err := departs(grave.Ownership, as, open); err != nil {
		return nil, err
	}
	return &Shipment{Key: key, State: slices.Clone(stored.Value), Buried: true, Order: grave.Ownership.Order}, nil
}

func (s *Service) shipCredential(ctx context.Context, view record.View, stored record.Stored, as secret.RegionName, open bool) (*Shipment, error) {
	c, err := record.Credentials.Decode(stored.Value)
	if err != nil {
		return nil, err
	}
	if err := departs(c.Ownership, as, open); err != nil {
		return nil, err
	}
	p := &Shipment{Key: stored.Key, Order: c.Ownership.Order}
	if len(c.SealedKey) > 0 {
		if p.AccessKey, err = s.Keyring.Open(ctx, view, string(c.Account), c.SealedKey, accessKeyData(c.Account, c.ID)); err != nil {
			return nil, err
		}
	}
	c.SealedKey = nil
	p.State = record.Credentials.Encode(c)
	return p, nil
}

func (s *Service) shipSecret(ctx context.Context, view record.View, stored record.Stored, as secret.RegionName, pending bool, values []secret.VersionID) (*Shipment, error) {
	sec, err := record.Secrets.Decode(stored.Value)
	if err != nil {
		return nil, err
	}
	if err := departs(sec.Ownership, as, pending); err != nil {
		return nil, err
	}
	p := &Shipment{Key: stored.Key, Order: sec.Ownership.Order}
	scope := string(sec.ID.Vault())
	open := func(sealed secret.Sealed, field keyring.Field) (secret.Plaintext, error) {
		if len(sealed) == 0 {
			return secret.Plaintext{}, nil
		}
		return s.Keyring.Open(ctx, view, scope, sealed, associatedData(sec, "", field))
	}
	if p.Description, err = open(sec.Description, keyring.Description); err != nil {
		return nil, err
	}
	if p.Metadata, err = open(sec.Metadata, keyring.Metadata); err != nil {
		return nil, err
	}
	if values == nil {
		if newest := sec.VersionAt(secret.Latest); newest != nil {
			values = []secret.VersionID{newest.ID}
		}
	}
	for _, id := range values {
		if sec.Version(id) == nil {
			continue // pruned since it was asked for
		}
		value, err := s.openVersion(ctx, view, sec, id)
		if err != nil {
			return nil, err
		}
		p.Values = append(p.Values, ShippedValue{ID: id, Value: value})
	}
	p.State = bareState(sec)
	return p, nil
}

// bareState is the stored form of a secret without what each region seals for
// itself: equal states of two regions have equal ones.
func bareState(sec *secret.Secret) []byte {
	bare := *sec
	bare.Description, bare.Metadata = nil, nil
	return record.Secrets.Encode(&bare)
}
