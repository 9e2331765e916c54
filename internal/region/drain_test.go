package region

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
)

// A process that stops ends its streams, and lets everything else be answered.
func TestAGracefulStopCancelsOnlyStreams(t *testing.T) {
	arrived, watchEnded, release := make(chan struct{}, 2), make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/ordinary", func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		if err := r.Context().Err(); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "done")
	})
	mux.HandleFunc(lifeboatv1connect.SecretServiceWatchSecretsProcedure, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		close(watchEnded)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{log: slog.New(slog.DiscardHandler), fatal: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel = cancel
	p.serveOn(ctx, "test", listener, nil, mux)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	answers := make(chan string, 2)
	for _, path := range []string{"/ordinary", lifeboatv1connect.SecretServiceWatchSecretsProcedure} {
		go func() {
			answer, err := (&http.Client{Transport: transport}).Get("http://" + listener.Addr().String() + path)
			if err != nil {
				answers <- err.Error()
				return
			}
			body, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			answers <- string(body)
		}()
	}
	<-arrived
	<-arrived
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	<-watchEnded
	close(release)
	if got := []string{<-answers, <-answers}; got[0] != "done" && got[1] != "done" {
		t.Errorf("answered %q", got)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
