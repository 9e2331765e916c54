package replica

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// refusedError says that this release must not touch the shard.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// admit asks whether this release may work with a shard that has the gate record.
func (l *Local) admit(r record.Stored) error {
	if r.Key != record.FormatsKey || r.Value == nil {
		return nil
	}
	if err := l.opts.Admit(r.Value); err != nil {
		return refusedError{err}
	}
	return nil
}

// admitCopy asks for the gate record of the copy. A damaged one is mended from the
// source, which is asked again when it is met.
func (l *Local) admitCopy() error {
	var refused error
	err := l.View(func(view record.View) error {
		gate, found, err := view.Get(record.FormatsKey)
		if err == nil && found {
			refused = l.admit(gate)
		}
		return err
	})
	if err != nil {
		l.log.Warn("the record of the formats in the local copy cannot be read", "error", err)
	}
	return refused
}

// admitSource asks for the gate record of the source.
func (l *Local) admitSource(ctx context.Context) error {
	page, err := l.opts.Source.Page(ctx, record.FormatsKey, record.FormatsKey+"\x00", 1)
	if err != nil {
		return err
	}
	for _, r := range page.Records {
		if err := l.admit(r); err != nil {
			return err
		}
	}
	return nil
}

// admitAll looks for the gate record among what the feed delivers: it is raised
// before the first record of a newer format is written.
func (l *Local) admitAll(batches []record.Batch) error {
	for _, b := range batches {
		for _, c := range b.Changes {
			if err := l.admit(c.Stored); err != nil {
				return err
			}
		}
	}
	return nil
}

// refusal returns what Run ends with, nil if err does not end it.
func refusal(err error) error {
	if refused, ok := errors.AsType[refusedError](err); ok {
		return refused.error
	}
	return nil
}
