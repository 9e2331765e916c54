package frontdoor_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
	"github.com/lifeboat-secrets/lifeboat/internal/throttle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nothing is a local store that holds nothing.
type nothing struct{}

func (nothing) View(fn func(record.View) error) error              { return fn(nothing{}) }
func (nothing) Age() time.Duration                                 { return 0 }
func (nothing) Get(record.Key) (s record.Stored, ok bool, e error) { return }
func (nothing) Scan(record.Key, record.Key, func(record.Stored) bool) error {
	return nil
}

// serve serves a dialect behind a front door with short deadlines, over HTTP/2
// or HTTP/1.
func serve(t *testing.T, http2 bool, limits throttle.Options, dialect http.HandlerFunc) *httptest.Server {
	t.Helper()
	log, err := audit.Open(audit.Options{Paths: []string{filepath.Join(t.TempDir(), "audit")}, Region: "east", Process: "one"})
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := throttle.New(limits)
	if err != nil {
		t.Fatal(err)
	}
	authenticator, err := authn.New(authn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(frontdoor.NewHandler(frontdoor.Options{
		Service: service.New(service.Options{Audit: log, Local: nothing{}}), Authenticator: authenticator, Dialect: dialect,
		MaxRequestBytes: 1 << 20, Limiter: limiter, IOTimeout: 100 * time.Millisecond,
		Watch:       func(path string) bool { return path == "/watch" },
		NativeError: func(_ context.Context, err error) error { return connect.NewError(frontdoor.StatusOf(err).Native, err) },
	}))
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(func() {
		server.Close()
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func protocols(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Run("HTTP/1", func(t *testing.T) { test(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { test(t, true) })
}

// slowly begins a request whose body does not end before stop is called.
func slowly(t *testing.T, server *httptest.Server) (stop func()) {
	t.Helper()
	body, sender := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 10
	var running sync.WaitGroup
	running.Go(func() {
		if response, err := server.Client().Do(request); err == nil {
			_ = response.Body.Close()
		}
	})
	running.Go(func() { _, _ = sender.Write([]byte("a")) })
	return func() {
		_ = sender.Close()
		running.Wait()
	}
}

func TestASlowBodyIsNotWaitedFor(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		read := make(chan error, 10)
		server := serve(t, http2, throttle.Options{MaxConcurrent: 1}, func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			read <- err
			w.WriteHeader(http.StatusBadRequest)
		})
		for range 2 { // the second needs the slot of the first
			stop := slowly(t, server)
			err := <-read
			stop()
			if err == nil {
				t.Fatal("a body that did not end was read to its end")
			}
		}
	})
}

// takeTime takes longer than any deadline, which must not end the request.
func takeTime(t *testing.T, r *http.Request) {
	select {
	case <-r.Context().Done():
		t.Error("the request was ended")
	case <-time.After(300 * time.Millisecond):
	}
}

func TestARequestMayTakeLongerThanItsBody(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		server := serve(t, http2, throttle.Options{}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			takeTime(t, r)
			_, _ = w.Write([]byte("part"))
			w.(http.Flusher).Flush()
			takeTime(t, r)
			_, _ = w.Write([]byte("s"))
		})
		response, err := server.Client().Post(server.URL, "", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if text, err := io.ReadAll(response.Body); err != nil || string(text) != "parts" {
			t.Errorf("answer %q, %v", text, err)
		}
	})
}

func TestWhoDoesNotTakeInAnAnswerIsGivenUp(t *testing.T) {
	for _, flushes := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushes=%t", flushes), func(t *testing.T) {
			protocols(t, func(t *testing.T, http2 bool) { givesUp(t, http2, flushes) })
		})
	}
}

func givesUp(t *testing.T, http2, flushes bool) {
	ended := make(chan error, 1)
	var begun atomic.Int64
	server := serve(t, http2, throttle.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		if begun.Add(1) == 1 { // the next request comes on the same connection
			_, _ = w.Write([]byte("all"))
			return
		}
		for chunk := make([]byte, 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				ended <- err
				return
			}
			if flushes {
				w.(http.Flusher).Flush()
			}
		}
	})
	for range 2 {
		response, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if begun.Load() == 1 {
			_, _ = io.Copy(io.Discard, response.Body)
		}
	}
	if err := <-ended; err == nil {
		t.Error("no error")
	}
}

func TestWatchesLeaveRequestsTheirSlots(t *testing.T) {
	started, end := make(chan struct{}), make(chan struct{})
	server := serve(t, true, throttle.Options{MaxConcurrent: 1, MaxWatches: 1}, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/watch" {
			started <- struct{}{}
			<-end
		}
	})
	get := func(path string) int {
		response, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Error(err)
			return 0
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	first := make(chan int)
	go func() { first <- get("/watch") }()
	<-started
	if status := get("/"); status != http.StatusOK {
		t.Errorf("a request beside a watch: %d", status)
	}
	if status := get("/watch"); status != http.StatusTooManyRequests {
		t.Errorf("one watch too many: %d", status)
	}
	close(end)
	if status := <-first; status != http.StatusOK {
		t.Errorf("the watch: %d", status)
	}
}
