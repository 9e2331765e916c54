package store

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Hold campaigns for the named role of the shard, calls run while it holds it,
// and campaigns again if it was lost, until ctx ends or run returns while the
// role is held. It returns ctx's error or what run returned. owner is shown to
// others.
//
// run's context ends when the role is lost or may be: the store did not renew
// the lease within ttl, which is at least a second. Two processes can believe
// for a moment that they hold a role, so nothing may depend on there being one:
// a role saves work, conditions of transactions keep it right. A full store
// grants no leases: who holds a role keeps it, but it is not passed on until
// there is room.
func (s *Shard) Hold(ctx context.Context, name string, ttl time.Duration, owner string, run func(context.Context) error) error {
	if ttl < time.Second || name == "" {
		return secret.Invalid("ttl", "must be at least a second, and the role must have a name")
	}
	for {
		done, err := s.holdOnce(ctx, name, ttl, owner, run)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case done:
			return err
		}
		s.log.WarnContext(ctx, "the role is not held and will be campaigned for again", "role", name, "prefix", s.prefix, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(ttl / 4):
		}
	}
}

// holdOnce campaigns with one lease. done says that run returned while the role
// was held.
func (s *Shard) holdOnce(ctx context.Context, name string, ttl time.Duration, owner string, run func(context.Context) error) (done bool, err error) {
	session, err := s.session(ctx, ttl)
	if err != nil {
		return false, err
	}
	defer s.release(session)
	if err := s.campaign(session, s.prefix+leasePrefix+name, ttl, owner); err != nil {
		return false, err
	}
	err = run(session.Ctx())
	if session.Ctx().Err() != nil {
		return false, errors.Join(secret.Errorf(secret.CodeUnavailable, "the lease was lost"), err)
	}
	return true, err
}

// session grants a lease and keeps it alive until ctx ends.
func (s *Shard) session(ctx context.Context, ttl time.Duration) (*concurrency.Session, error) {
	limit, cancel := s.bounded(ctx)
	defer cancel()
	seconds := int64((ttl + time.Second - 1) / time.Second)
	lease, err := s.client.Grant(limit, seconds)
	if err != nil {
		return nil, readError(limit, err)
	}
	session, err := concurrency.NewSession(s.client, concurrency.WithContext(ctx), concurrency.WithLease(lease.ID))
	if err != nil {
		return nil, readError(ctx, err)
	}
	return session, nil
}

// release gives the lease back, so that the next holder need not wait for it to
// run out, which it does if the store is not there.
func (s *Shard) release(session *concurrency.Session) {
	session.Orphan()
	limit, cancel := context.WithTimeout(context.WithoutCancel(session.Ctx()), time.Second)
	defer cancel()
	if _, err := s.client.Revoke(limit, session.Lease()); err != nil {
		s.log.DebugContext(limit, "a lease was not given back and will run out", "error", err)
	}
}

// campaign waits until the key can be created under the lease.
func (s *Shard) campaign(session *concurrency.Session, key string, ttl time.Duration, owner string) error {
	ctx := session.Ctx()
	for {
		limit, cancel := s.bounded(ctx)
		resp, err := s.client.Txn(limit).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, owner, clientv3.WithLease(session.Lease()))).
			Commit()
		cancel()
		if err != nil {
			return readError(limit, err)
		}
		if resp.Succeeded {
			return nil
		}
		if err := s.waitGone(ctx, key, resp.Header.Revision+1, ttl); err != nil {
			return err
		}
	}
}

// waitGone returns when the key has been deleted, or after a while in case that
// was missed.
func (s *Shard) waitGone(ctx context.Context, key string, from int64, most time.Duration) error {
	limit, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for resp := range s.client.Watch(limit, key, clientv3.WithRev(from), clientv3.WithFilterPut()) {
		if len(resp.Events) > 0 || resp.Err() != nil {
			break
		}
	}
	return ctx.Err()
}
