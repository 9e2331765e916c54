package region

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// operations implements native.Operations.
type operations struct{ p *Process }

// Status implements native.Operations.
func (o operations) Status(ctx context.Context) (*lifeboatv1.GetStatusResponse, error) {
	p := o.p
	position := p.local.Position()
	status := &lifeboatv1.GetStatusResponse{
		Region: string(p.config.Region.Name), Incarnation: string(position.Incarnation), RestoreEpoch: position.RestoreEpoch,
		Release: p.release, Process: p.config.Process.ID, AppliedRevision: position.Applied,
	}
	for _, role := range p.config.Process.Roles {
		status.Roles = append(status.Roles, string(role))
	}
	for _, c := range p.checks(ctx) {
		status.Checks = append(status.Checks, &lifeboatv1.Check{Name: c.name, Healthy: c.err == nil, Warning: c.warning, Detail: c.detail()})
	}
	if p.pipeline == nil {
		status.StoreRevision = o.storeRevision(ctx)
		return status, o.addRegistered(status)
	}
	// The revision is asked for last: if it is the applied one, nothing has happened
	// since, and the open work items are all there are.
	state := p.pipeline.Status()
	status.StoreRevision = o.storeRevision(ctx)
	status.OpenWorkItems, status.OldestWorkItemSeconds = uint64(state.Open), state.OldestAge.Seconds() //nolint:gosec // a count
	status.FailedMutations = uint64(state.Failed)                                                      //nolint:gosec // a count
	for _, h := range state.Hosts {
		host := hostOf(h.Record)
		host.Live, host.AppliedRevision = &h.Live, h.Report.Applied
		if !h.Report.At.IsZero() {
			host.LastSeenAt = timestamppb.New(h.Report.At)
		}
		status.Hosts = append(status.Hosts, host)
	}
	return status, nil
}

// storeRevision returns 0 if the store does not answer.
func (o operations) storeRevision(ctx context.Context) int64 {
	s, err := o.p.store.get()
	if err != nil {
		return 0
	}
	revision, _ := s.Revision(ctx)
	return revision
}

// addRegistered lists the registered hosts as the local store knows them; which
// of them live only a control process knows.
func (o operations) addRegistered(status *lifeboatv1.GetStatusResponse) error {
	return o.p.local.View(func(view record.View) error {
		var decodeErr error
		err := view.Scan(record.HostPrefix, record.PrefixEnd(record.HostPrefix), func(s record.Stored) bool {
			var host *recordpb.Host
			if host, decodeErr = record.Hosts.Decode(s.Value); decodeErr != nil {
				return false
			}
			status.Hosts = append(status.Hosts, hostOf(host))
			return true
		})
		if err == nil {
			err = decodeErr
		}
		return err
	})
}

func hostOf(h *recordpb.Host) *lifeboatv1.Host {
	return &lifeboatv1.Host{
		Id: h.GetId(), Address: h.GetAddress(), Release: h.GetRelease(), RegisteredAt: timestamppb.New(time.Unix(0, h.GetRegisteredAt())),
	}
}

// RemoveHost implements native.Operations.
func (o operations) RemoveHost(ctx context.Context, host string) error {
	if o.p.pipeline == nil {
		return errNoControl
	}
	err := o.p.pipeline.Forget(ctx, host)
	if secret.HasCode(err, secret.CodeNotFound) {
		return o.p.gate.Forget(ctx, host) // a control process counts for the formats only
	}
	return err
}

// FailedMutations implements native.Operations.
func (o operations) FailedMutations(ctx context.Context) (failed []*lifeboatv1.FailedMutation, err error) {
	if o.p.pipeline == nil {
		return nil, errNoControl
	}
	quarantines, err := o.p.pipeline.Failed(o.p.records().View(ctx))
	if err != nil {
		return nil, err
	}
	for _, q := range quarantines {
		failed = append(failed, &lifeboatv1.FailedMutation{
			Record: q.GetRecord(), Host: q.GetHost(), Reason: q.GetReason(), At: timestamppb.New(record.FromNanos(q.GetAt())),
		})
	}
	return failed, nil
}

// RetryFailedMutation implements native.Operations: it takes the mark away, upon
// which every host that could not apply the record tries again.
func (o operations) RetryFailedMutation(ctx context.Context, ref string) error {
	txn, ok, err := record.Removal(o.p.records().View(ctx), record.QuarantineKey(record.Key(ref)))
	if err != nil {
		return err
	}
	if !ok {
		return &secret.Error{Code: secret.CodeNotFound, Field: "record", Message: "no host failed on that record"}
	}
	_, err = o.p.records().Commit(ctx, txn)
	return err
}
