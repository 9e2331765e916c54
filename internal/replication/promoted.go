package replication

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// detached takes note that the target has promoted its replica of a record, or has
// secrets of its own in the vault that it was to give up.
func (s *Sender) detached(ctx context.Context, key record.Key, refused fate) fate {
	settled, err := s.Service.NotePromotion(ctx, key, s.Target)
	switch {
	case err != nil:
		return fate{err: err, rest: deferFor}
	case settled:
		s.Logger.Info("the target has secrets of its own, which it keeps", "target", s.Target, "record", key)
		return fate{}
	}
	return refused
}

// tellPromoted tells the target that its secret was promoted here. What it has no vault
// for it need not know.
func (s *Sender) tellPromoted(ctx context.Context, key record.Key) error {
	p := &parcel{key: key}
	err := s.Local.View(func(view record.View) (err error) {
		p.shipment, err = s.Service.ShipPromotion(view, key, s.Target)
		return err
	})
	if err != nil {
		return fateOf(err).err
	}
	fates := make(map[record.Key]fate, 1)
	if len(s.request(ctx, []*parcel{p}, fates)) > 0 {
		return secret.Errorf(secret.CodeUnavailable, "the target asks for more of a secret that is not meant for it")
	}
	if err := fates[key].err; !secret.HasCode(err, secret.CodeNotFound) {
		return err
	}
	return nil
}

// withoutParted leaves out secrets that a promotion parted from the target: nobody else
// is to get their values.
func (s *Sender) withoutParted(keys []record.Key) (wanted []record.Key, err error) {
	err = s.Local.View(func(view record.View) error {
		wanted = nil
		for _, key := range keys {
			sec, _, err := record.Load(view, record.Secrets, key)
			if errors.Is(err, record.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if !sec.PartedFrom(s.Target) {
				wanted = append(wanted, key)
			}
		}
		return nil
	})
	return wanted, err
}
