package pipeline

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Handler serves the reports of hosts over mutual TLS. process returns the ID of
// the process at the other end; each may report only for itself.
func (p *Pipeline) Handler(process func(*http.Request) (string, error)) (path string, handler http.Handler) {
	path, serve := peerv1connect.NewPipelineServiceHandler(reports{p})
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := process(r)
		if err != nil {
			http.Error(w, "the peer is unknown", http.StatusForbidden)
			return
		}
		serve.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), processKey{}, id)))
	})
}

type processKey struct{}

type reports struct{ pipeline *Pipeline }

// ReportProgress implements peerv1connect.PipelineServiceHandler.
func (r reports) ReportProgress(ctx context.Context, stream *connect.BidiStream[peerv1.ReportProgressRequest, peerv1.ReportProgressResponse]) error {
	process, _ := ctx.Value(processKey{}).(string)
	mine := r.pipeline.streams.open(process)
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// Waiting for a report does not end with ctx; hosts report every second.
		if ctx.Err() != nil {
			return connect.NewError(connect.CodeUnavailable, ctx.Err())
		}
		if m.GetHost() != process {
			return connect.NewError(connect.CodePermissionDenied, errors.New("a process reports only for itself"))
		}
		if !r.pipeline.streams.newest(process, mine) {
			r.pipeline.Logger.Warn("a host reports over two streams; the older one is closed: do two processes have its ID?", "host", process)
			return connect.NewError(connect.CodeAborted, errors.New("the host has a newer stream"))
		}
		if err := r.pipeline.Report(ctx, reportOf(m)); err != nil {
			return connect.NewError(connect.CodeUnavailable, err)
		}
		answer := &peerv1.ReportProgressResponse{Registered: true}
		if r.pipeline.PeerAges != nil {
			answer.PeerAgeSeconds = r.pipeline.PeerAges()
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func reportOf(m *peerv1.ReportProgressRequest) Report {
	r := Report{
		Host: m.GetHost(), Cell: m.GetCell(), Address: m.GetAddress(), Release: m.GetRelease(), Formats: m.GetFormats(),
		Applied: m.GetAppliedRevision(), RestoreEpoch: m.GetRestoreEpoch(),
		Incarnation: secret.Incarnation(m.GetIncarnation()),
	}
	for _, q := range m.GetQuarantined() {
		r.Quarantined = append(r.Quarantined, Quarantined{Record: record.Key(q.GetRecord()), Revision: q.GetRevision(), Reason: q.GetReason()})
	}
	return r
}

// ReporterOptions say how a host reports its progress to one control process.
type ReporterOptions struct {
	// Address is host:port of the control process's peer listener.
	Address string
	Client  *http.Client
	// State returns the host's present state.
	State func() *peerv1.ReportProgressRequest
	// Wait returns when the host has applied more than a revision, or ctx ends.
	Wait   func(ctx context.Context, applied int64) error
	Logger *slog.Logger
	// Acknowledged, if set, is called when a report that was sent at a time has been
	// taken, with the answer.
	Acknowledged func(sent time.Time, answer *peerv1.ReportProgressResponse)
	// Every bounds the silence between two reports; default 1 s.
	Every time.Duration
}

// RunReporter keeps one stream of reports open until ctx ends. While the control
// process does not answer it tries again, at first after 100 ms, at most every 1.5 s:
// before a control process that has started takes it for dead.
func RunReporter(ctx context.Context, o ReporterOptions) error {
	if o.Every == 0 {
		o.Every = time.Second
	}
	client := peerv1connect.NewPipelineServiceClient(o.Client, "https://"+o.Address)
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, time.Second
	for {
		began := time.Now()
		err := o.report(ctx, client)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > pause.MaxInterval {
			pause.Reset()
		}
		o.Logger.Debug("reports to a control process interrupted", "address", o.Address, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// report sends the state whenever it has changed and waits for each to be
// acknowledged, so that a slow control process gets few reports, not late ones.
func (o ReporterOptions) report(ctx context.Context, client peerv1connect.PipelineServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := client.ReportProgress(ctx)
	defer func() { _, _ = stream.CloseRequest(), stream.CloseResponse() }()
	for {
		state := o.State()
		// A peer this silent is gone; the first report also waits for the connection.
		answered := time.AfterFunc(4*o.Every, cancel)
		sent := time.Now()
		err := stream.Send(state)
		var answer *peerv1.ReportProgressResponse
		if err == nil {
			answer, err = stream.Receive()
		}
		answered.Stop()
		if err != nil {
			return err
		}
		if o.Acknowledged != nil {
			o.Acknowledged(sent, answer)
		}
		wait, stop := context.WithTimeout(ctx, o.Every)
		err = o.Wait(wait, state.GetAppliedRevision())
		stop()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
