package store

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Health is the state of a shard's store.
type Health struct {
	// Err is nil if a linearizable read succeeded, that is: a majority of the
	// members is there and agrees on a leader. Else it says what is wrong.
	Err error
	// Revision is the store's when Err is nil.
	Revision int64
	// NoSpace says that some member has reached its quota: writes are refused.
	NoSpace bool
	// Corrupt says that members hold different data: writes are refused and the
	// operator must replace the member that is wrong.
	Corrupt bool
	// Members are those that this process can ask: all endpoints of a dialled
	// cluster, or the embedded one.
	Members []MemberHealth
}

// MemberHealth is the state of one member of the store.
type MemberHealth struct {
	// Endpoint is its address, empty for the one embedded in this process.
	Endpoint string
	// Err says why it did not answer; then the rest is empty.
	Err error
	// HasLeader says that it knows a leader; Leader that it is the leader.
	HasLeader, Leader bool
	// Learner says that it does not vote yet.
	Learner bool
	// Version is etcd's.
	Version string
	// Revision is the one that it has applied.
	Revision int64
	// DatabaseBytes is the size of its file, which is what the quota bounds;
	// InUseBytes the part that is not free pages; QuotaBytes the quota, 0 if the
	// member does not tell.
	DatabaseBytes, InUseBytes, QuotaBytes int64
}

// full reports whether the member has reached its quota, known to it or not.
func (m MemberHealth) full() bool { return m.QuotaBytes > 0 && m.DatabaseBytes >= m.QuotaBytes }

// Health asks the store and its members at once how they are. It takes at most
// the Shard's timeout and never fails: what is wrong is in the result.
func (s *Shard) Health(ctx context.Context) Health {
	endpoints := s.endpoints()
	h := Health{Members: make([]MemberHealth, len(endpoints))}
	var wg sync.WaitGroup
	wg.Go(func() { h.Revision, h.Err = s.Revision(ctx) })
	wg.Go(func() { h.NoSpace, h.Corrupt = s.alarmed(ctx) })
	for i, endpoint := range endpoints {
		wg.Go(func() { h.Members[i] = s.member(ctx, endpoint) })
	}
	wg.Wait()
	for _, m := range h.Members {
		h.NoSpace = h.NoSpace || m.full()
	}
	return h
}

// alarmed says which alarms are known to be on.
func (s *Shard) alarmed(ctx context.Context) (noSpace, corrupt bool) {
	alarms, err := s.alarms(ctx)
	if err != nil {
		return false, false
	}
	for _, a := range alarms {
		noSpace = noSpace || a.Alarm == etcdserverpb.AlarmType_NOSPACE
		corrupt = corrupt || a.Alarm == etcdserverpb.AlarmType_CORRUPT
	}
	return noSpace, corrupt
}

// endpoints returns the members that this client can address.
func (s *Shard) endpoints() []string {
	if e := s.client.Endpoints(); len(e) > 0 {
		return e
	}
	return []string{""}
}

func (s *Shard) member(ctx context.Context, endpoint string) MemberHealth {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	status, err := s.client.Status(ctx, endpoint)
	if err != nil {
		return MemberHealth{Endpoint: endpoint, Err: readError(ctx, err)}
	}
	return MemberHealth{
		Endpoint: endpoint, HasLeader: status.Leader != 0, Leader: status.Leader == status.Header.GetMemberId(),
		Learner: status.IsLearner, Version: status.Version, Revision: status.Header.GetRevision(),
		DatabaseBytes: status.DbSize, InUseBytes: status.DbSizeInUse, QuotaBytes: status.DbSizeQuota,
	}
}

// alarms returns the alarms that are on.
func (s *Shard) alarms(ctx context.Context) ([]*clientv3.AlarmMember, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	resp, err := s.client.AlarmList(ctx)
	if err != nil {
		return nil, readError(ctx, err)
	}
	alarms := make([]*clientv3.AlarmMember, len(resp.Alarms))
	for i, a := range resp.Alarms {
		alarms[i] = (*clientv3.AlarmMember)(a)
	}
	return alarms, nil
}
