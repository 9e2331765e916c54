package router_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/router"
)

// control is a control process that counts what reaches it.
type control struct {
	*httptest.Server
	requests atomic.Int64
}

func startControl(t *testing.T, answer http.HandlerFunc) *control {
	t.Helper()
	c := new(control)
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		answer(w, r)
	}))
	c.EnableHTTP2 = true
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}

func (c *control) address() string { return c.Listener.Addr().String() }

// dead is an address where nobody listens.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func forwarder(t *testing.T, c *control, addresses ...string) *router.Forwarder {
	t.Helper()
	transport := c.Client().Transport
	t.Cleanup(c.Client().CloseIdleConnections)
	return router.NewForwarder(router.Options{Addresses: addresses, Transport: transport})
}

// forward sends one mutation and tells whether it was answered.
func forward(ctx context.Context, f *router.Forwarder, body string) (*httptest.ResponseRecorder, bool) {
	w, answered, _ := forwardOrSend(ctx, f, body)
	return w, answered
}

func forwardOrSend(ctx context.Context, f *router.Forwarder, body string) (w *httptest.ResponseRecorder, answered, sent bool) {
	w = httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/lifeboat.v1.SecretService/CreateSecret", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer t")
	answered, sent = f.Forward(w, r, []byte(body))
	return w, answered, sent
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Path", r.URL.Path)
	w.Header().Set("X-Authorization", r.Header.Get("Authorization"))
	w.Header().Set("Trailer", "X-Trailer")
	w.WriteHeader(http.StatusConflict)
	_, _ = w.Write(body)
	w.Header().Set("X-Trailer", "end")
}

func TestTheAnswerIsPassedOnAsItIs(t *testing.T) {
	c := startControl(t, echo)
	f := forwarder(t, c, c.address())
	body := string(bytes.Repeat([]byte("x"), 100_000))
	w, ok := forward(t.Context(), f, body)
	if !ok || w.Code != http.StatusConflict || w.Body.String() != body {
		t.Fatalf("passed on %t, %d, %d bytes", ok, w.Code, w.Body.Len())
	}
	answer := w.Result()
	if answer.Header.Get("X-Path") != "/lifeboat.v1.SecretService/CreateSecret" || answer.Header.Get("X-Authorization") != "Bearer t" || answer.Trailer.Get("X-Trailer") != "end" {
		t.Errorf("headers %v, trailers %v", answer.Header, answer.Trailer)
	}
	if forwarded, failed := f.Counts(); forwarded != 1 || failed != 0 {
		t.Errorf("counted %d and %d", forwarded, failed)
	}
}

func TestADeadFirstAddressIsPassedOver(t *testing.T) {
	c := startControl(t, echo)
	f := forwarder(t, c, dead(t), c.address())
	for range 3 {
		if _, ok := forward(t.Context(), f, "x"); !ok {
			t.Fatal("not passed on")
		}
	}
	if n := c.requests.Load(); n != 3 {
		t.Errorf("%d requests arrived, 3 were made", n)
	}
}

func TestNoneReachable(t *testing.T) {
	c := startControl(t, echo)
	f := forwarder(t, c, dead(t), dead(t))
	w, ok, sent := forwardOrSend(t.Context(), f, "x")
	if ok || sent || w.Body.Len() > 0 || len(w.Header()) > 0 {
		t.Errorf("passed on to nobody: %t, %v", ok, w)
	}
	if forwarded, failed := f.Counts(); forwarded != 0 || failed != 1 {
		t.Errorf("counted %d and %d", forwarded, failed)
	}
	if _, ok := forward(t.Context(), router.NewForwarder(router.Options{}), "x"); ok {
		t.Error("passed on without an address")
	}
}

// A control process that breaks off may have committed: nobody else is asked.
func TestAMutationIsNeverSentTwice(t *testing.T) {
	breaks := startControl(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	second := startControl(t, echo)
	transport := breaks.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.InsecureSkipVerify = true //nolint:gosec // two servers, one client
	t.Cleanup(transport.CloseIdleConnections)
	f := router.NewForwarder(router.Options{Addresses: []string{breaks.address(), second.address()}, Transport: transport})
	for i := range 5 {
		w, ok, sent := forwardOrSend(t.Context(), f, "x")
		if ok || !sent || w.Body.Len() > 0 {
			t.Fatalf("passed on: %v", w)
		}
		if n := breaks.requests.Load(); n != int64(i+1) {
			t.Fatalf("%d requests reached the first process, %d were made", n, i+1)
		}
	}
	if n := second.requests.Load(); n != 0 {
		t.Errorf("%d requests that had been sent before were sent again", n)
	}
}

func TestAProcessThatComesBackIsFound(t *testing.T) {
	first, second := startControl(t, echo), startControl(t, echo)
	transport := first.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.InsecureSkipVerify = true //nolint:gosec // two servers, one client
	t.Cleanup(transport.CloseIdleConnections)
	f := router.NewForwarder(router.Options{Addresses: []string{first.address(), second.address()}, Transport: transport})
	if _, ok := forward(t.Context(), f, "x"); !ok || first.requests.Load() != 1 {
		t.Fatal("not sent to the first")
	}
	first.CloseClientConnections()
	first.Close()
	// What is sent on a connection that is just being lost may fail, but not for long.
	for _, ok := forward(t.Context(), f, "x"); !ok; _, ok = forward(t.Context(), f, "x") {
	}
	if second.requests.Load() != 1 {
		t.Errorf("%d requests reached the second", second.requests.Load())
	}
}

func TestACallerThatLeavesEndsTheRequest(t *testing.T) {
	arrived := make(chan struct{})
	ended := make(chan error, 1)
	c := startControl(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	f := forwarder(t, c, c.address(), c.address())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool)
	go func() {
		_, ok := forward(ctx, f, "x")
		done <- ok
	}()
	<-arrived
	cancel()
	if <-done {
		t.Error("passed on after its caller left")
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// both is a client of two servers.
func both(t *testing.T, first, second *control) *router.Forwarder {
	t.Helper()
	transport := first.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.InsecureSkipVerify = true //nolint:gosec // two servers, one client
	t.Cleanup(transport.CloseIdleConnections)
	return router.NewForwarder(router.Options{Addresses: []string{first.address(), second.address()}, Transport: transport})
}

// A control process that says that it has done nothing is not the last word.
func TestAProcessThatCannotHelpIsPassedOver(t *testing.T) {
	asConnect := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(router.HeaderNotDone, "unavailable")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "sorry")
	}
	asGRPC := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc+proto")
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(http.StatusOK)
		w.Header().Set("Grpc-Status", "14")
		w.Header().Set(http.TrailerPrefix+router.HeaderNotDone, "unavailable")
	}
	for name, unable := range map[string]http.HandlerFunc{"Connect": asConnect, "gRPC": asGRPC} {
		t.Run(name, func(t *testing.T) {
			first, second := startControl(t, unable), startControl(t, echo)
			f := both(t, first, second)
			for i := range 3 {
				if w, ok := forward(t.Context(), f, "x"); !ok || w.Code != http.StatusConflict {
					t.Fatalf("answered %t, %d", ok, w.Code)
				}
				if n := second.requests.Load(); n != int64(i+1) {
					t.Fatalf("%d requests reached the second process", n)
				}
			}
			if n := first.requests.Load(); n != 1 {
				t.Errorf("%d requests reached the process that cannot help", n)
			}
			alone := both(t, first, startControl(t, unable))
			w, ok := forward(t.Context(), alone, "x")
			answer := w.Result()
			if !ok || answer.Header.Get(router.HeaderNotDone)+answer.Trailer.Get(router.HeaderNotDone) != "" {
				t.Errorf("if none can help: %t, %v, %v", ok, answer.Header, answer.Trailer)
			}
			if name == "gRPC" && answer.Trailer.Get("Grpc-Status") != "14" || name == "Connect" && w.Body.String() != "sorry" {
				t.Errorf("the answer is not passed on: %v, %q", answer.Trailer, w.Body)
			}
		})
	}
}

// Other failures may have changed something.
func TestAnAnswerThatDoesNotSayThatNothingWasDoneIsFinal(t *testing.T) {
	first := startControl(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	second := startControl(t, echo)
	if w, ok := forward(t.Context(), both(t, first, second), "x"); !ok || w.Code != http.StatusServiceUnavailable || second.requests.Load() != 0 {
		t.Errorf("answered %t, %d", ok, w.Code)
	}
}
