package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
)

// A peer that accepts connections and says nothing is given up like one that is
// not there.
func TestAReporterGivesUpASilentPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepted := make(chan struct{}, 100)
	accepting.Go(func() {
		var open []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, conn)
			accepted <- struct{}{}
		}
		for _, conn := range open {
			_ = conn.Close()
		}
	})
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	ctx, cancel := context.WithCancel(t.Context())
	var reporting sync.WaitGroup
	reporting.Go(func() {
		_ = pipeline.RunReporter(ctx, pipeline.ReporterOptions{
			Address: l.Addr().String(), Client: &http.Client{Transport: transport}, Every: time.Millisecond,
			State: func() *peerv1.ReportProgressRequest { return &peerv1.ReportProgressRequest{Host: "a"} },
			Wait:  func(ctx context.Context, _ int64) error { <-ctx.Done(); return ctx.Err() }, Logger: slog.New(slog.DiscardHandler),
		})
	})
	for range 2 {
		select {
		case <-accepted:
		case <-time.After(time.Minute):
			t.Error("the silent peer was not given up")
		}
	}
	cancel()
	_ = l.Close()
	accepting.Wait()
	reporting.Wait()
}

// reportStream opens a stream of reports as a process.
func reportStream(t *testing.T, s *httptest.Server, process string) *connect.BidiStreamForClient[peerv1.ReportProgressRequest, peerv1.ReportProgressResponse] {
	t.Helper()
	stream := peerv1connect.NewPipelineServiceClient(s.Client(), s.URL).ReportProgress(t.Context())
	stream.RequestHeader().Set("Process", process)
	t.Cleanup(func() { _, _ = stream.CloseRequest(), stream.CloseResponse() })
	return stream
}

func tell(stream *connect.BidiStreamForClient[peerv1.ReportProgressRequest, peerv1.ReportProgressResponse], host string) error {
	err := stream.Send(&peerv1.ReportProgressRequest{Host: host, Address: host + ":1", Cell: "base"})
	if err == nil {
		_, err = stream.Receive()
	}
	return err
}

func TestAProcessReportsOnlyForItselfAndOverOneStream(t *testing.T) {
	_, p := start(t)
	mux := http.NewServeMux()
	mux.Handle(p.Handler(func(r *http.Request) (string, error) {
		if process := r.Header.Get("Process"); process != "" {
			return process, nil
		}
		return "", errors.New("no certificate")
	}))
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	if err := tell(reportStream(t, s, ""), "a"); err == nil || p.Registered("a") {
		t.Errorf("an unknown peer reports: %v", err)
	}
	if err := tell(reportStream(t, s, "b"), "a"); connect.CodeOf(err) != connect.CodePermissionDenied || p.Registered("a") {
		t.Errorf("b reports for a: %v", err)
	}
	first := reportStream(t, s, "a")
	if err := tell(first, "a"); err != nil || !p.Registered("a") {
		t.Fatal(err)
	}
	second := reportStream(t, s, "a")
	if err := tell(second, "a"); err != nil {
		t.Fatal(err)
	}
	if err := tell(first, "a"); connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("the older stream goes on: %v", err)
	}
	if err := tell(second, "a"); err != nil {
		t.Errorf("the newer stream does not go on: %v", err)
	}
}
