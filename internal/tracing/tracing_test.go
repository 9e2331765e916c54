package tracing

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func tracer(t *testing.T, ratio float64) (tr *Tracer, requests *atomic.Int32) {
	t.Helper()
	requests = new(atomic.Int32)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	t.Cleanup(receiver.Close)
	tr, err := New(t.Context(), Options{Endpoint: receiver.URL + "/v1/traces", Ratio: ratio, Region: "east", Process: "p"})
	if err != nil {
		t.Fatal(err)
	}
	return tr, requests
}

// serve sends a request with a header through the tracer and calls inside meanwhile.
func serve(tr *Tracer, traceparent string, inside func(ctx context.Context, header http.Header)) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	if traceparent != "" {
		r.Header.Set("traceparent", traceparent)
	}
	tr.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside(r.Context(), r.Header) })).
		ServeHTTP(httptest.NewRecorder(), r)
}

const (
	wanted   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unwanted = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestWhoDecides(t *testing.T) {
	for _, tt := range []struct {
		name, traceparent string
		ratio             float64
		traced            bool
	}{
		{"nobody asks and none is wanted", "", 0, false},
		{"all are wanted", "", 1, true},
		{"the caller asks", wanted, 0, true},
		{"the caller does not want it", unwanted, 1, false},
		{"a header that is none", "00-nonsense", 0, false},
		{"a header of a version to come", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr, requests := tracer(t, tt.ratio)
			serve(tr, tt.traceparent, func(ctx context.Context, _ http.Header) {
				traceparent, ended := tr.Begin(ctx)
				if (traceparent != "") != tt.traced || (ended != nil) != tt.traced {
					t.Errorf("begins with %q", traceparent)
				}
				_, end := tr.Step(ctx, "plan")
				end(errors.New("x"))
				if ended != nil {
					ended(&audit.Entry{Action: "GetSecretValue", Outcome: secret.CodeNotFound})
				}
			})
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			if s := tr.Stats(); (s.Sent == 2 && s.Ended == 2) != tt.traced || (requests.Load() > 0) != tt.traced {
				t.Errorf("%+v, %d requests to the receiver", s, requests.Load())
			}
		})
	}
}

// Whoever gets the request next sees this one's span, not the caller's.
func TestTheHeaderIsPassedOnAnew(t *testing.T) {
	tr, _ := tracer(t, 0)
	serve(tr, wanted, func(_ context.Context, header http.Header) {
		got := header.Get("traceparent")
		if len(got) != len(wanted) || got == wanted || got[:36] != wanted[:36] {
			t.Errorf("passed on is %q", got)
		}
	})
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordOfWhatIsNotTraced(t *testing.T) {
	tr, _ := tracer(t, 0)
	for _, traceparent := range []string{"", "nonsense", unwanted} {
		tr.Record("clear", traceparent, time.Now().Add(-time.Second), time.Now())
	}
	tr.Record("clear", wanted, time.Now().Add(-time.Second), time.Now())
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if s := tr.Stats(); s.Sent != 1 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAReceiverThatIsAwayIsCounted(t *testing.T) {
	tr, err := New(t.Context(), Options{Endpoint: "http://127.0.0.1:1/v1/traces", Ratio: 1})
	if err != nil {
		t.Fatal(err)
	}
	serve(tr, "", func(context.Context, http.Header) {})
	if err := tr.Close(); err != nil {
		t.Fatal(err)
	}
	if s := tr.Stats(); s.Failed != 1 || s.Sent != 0 {
		t.Errorf("%+v", s)
	}
}
