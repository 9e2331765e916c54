// Package router sends a request to the process that can serve it. A data-plane
// host serves reads itself and passes mutations on to a control process of its
// region, over mutual TLS.
package router

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

// Options of a Forwarder.
type Options struct {
	// Addresses are host:port of the control processes' peer listeners.
	Addresses []string
	// Transport makes connections with this process's certificate.
	Transport http.RoundTripper
	// Unsent reports whether an error of Transport means that the request was not
	// carried out; nil leaves it at what this package can tell by itself.
	Unsent func(error) bool
	Logger *slog.Logger
}

// Forwarder passes requests on to control processes. Safe for concurrent use.
type Forwarder struct {
	Options
	// preferred is the index of the address that answered last.
	preferred atomic.Uint32
	forwarded atomic.Uint64
	failed    atomic.Uint64
}

// NewForwarder returns a Forwarder.
func NewForwarder(o Options) *Forwarder {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Forwarder{Options: o}
}

// Counts returns how many requests were answered by a control process and how
// many reached none.
func (f *Forwarder) Counts() (forwarded, failed uint64) { return f.forwarded.Load(), f.failed.Load() }

// Forward sends the request to the control process that answered last, then to
// the others. It goes on to the next only while the request provably did not
// reach one, or one said that it has done nothing (HeaderNotDone), so that a
// mutation is never carried out twice. If none answered nothing is
// written, and sent says whether one may have carried the request out.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, body []byte) (answered, sent bool) {
	first := int(f.preferred.Load())
	for i := range f.Addresses {
		n := (first + i) % len(f.Addresses)
		var answer *http.Response
		var err error
		answer, sent, err = f.send(r, f.Addresses[n], body) //nolint:bodyclose // copyAnswer closes it
		if err == nil {
			if notDone(answer) {
				f.Logger.Warn("control process cannot carry out what it is asked", "address", f.Addresses[n])
				if i < len(f.Addresses)-1 && r.Context().Err() == nil {
					_ = answer.Body.Close()
					sent = false
					continue
				}
			} else {
				f.preferred.Store(uint32(n)) //nolint:gosec // a handful of addresses
			}
			f.forwarded.Add(1)
			copyAnswer(w, answer)
			return true, true
		}
		f.Logger.Warn("control process did not answer", "address", f.Addresses[n], "sent", sent, "error", err)
		if sent || r.Context().Err() != nil {
			break
		}
	}
	f.failed.Add(1)
	return false, sent
}

// Reaches reports whether a control process answers a question of health, a path below
// /health, with yes.
func (f *Forwarder) Reaches(ctx context.Context, path string) bool {
	first := int(f.preferred.Load())
	for i := range f.Addresses {
		if f.healthy(ctx, "https://"+f.Addresses[(first+i)%len(f.Addresses)]+path) {
			return true
		}
	}
	return false
}

// healthTimeout bounds the question to one control process.
const healthTimeout = 500 * time.Millisecond

func (f *Forwarder) healthy(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	answer, err := f.Transport.RoundTrip(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// HeaderNotDone is set, as a header or a trailer, in the answer of a control
// process that has done nothing and will not for now, so that another one may be
// asked.
const HeaderNotDone = "Lifeboat-Not-Done"

// notDone looks for HeaderNotDone and takes it out: it is between processes. In
// the gRPC protocols it is a trailer, after an empty body.
func notDone(answer *http.Response) bool {
	found := answer.Header.Get(HeaderNotDone) != ""
	answer.Header.Del(HeaderNotDone)
	if found || !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/grpc") {
		return found
	}
	var first [1]byte
	n, err := io.ReadFull(answer.Body, first[:])
	rest := io.Reader(answer.Body)
	if err != nil {
		rest = failed{err}
	}
	answer.Body = body{Reader: io.MultiReader(bytes.NewReader(first[:n]), rest), Closer: answer.Body}
	found = errors.Is(err, io.EOF) && answer.Trailer.Get(HeaderNotDone) != ""
	answer.Trailer.Del(HeaderNotDone)
	return found
}

type body struct {
	io.Reader
	io.Closer
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// dialTimeout bounds how long a dead control process delays the next one's turn.
const dialTimeout = 2 * time.Second

func (f *Forwarder) send(r *http.Request, address string, body []byte) (answer *http.Response, sent bool, err error) {
	var connected atomic.Bool
	ctx, cancel := context.WithCancel(r.Context())
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	slow := time.AfterFunc(dialTimeout, func() {
		if !connected.Load() {
			cancel()
		}
	})
	defer slow.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.RequestURI = "https", address, ""
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	// Without a way to get the body again the transport does not retry by itself.
	out.GetBody = nil
	answer, err = f.Transport.RoundTrip(out)
	if err != nil {
		var dial *net.OpError
		unsent := !connected.Load() || errors.As(err, &dial) && dial.Op == "dial" || f.Unsent != nil && f.Unsent(err)
		return nil, !unsent, err
	}
	answer.Body = &closeAndCancel{ReadCloser: answer.Body, cancel: cancel}
	return answer, true, nil
}

type closeAndCancel struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c *closeAndCancel) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

func copyAnswer(w http.ResponseWriter, answer *http.Response) {
	defer func() { _ = answer.Body.Close() }()
	header := w.Header()
	for k, v := range answer.Header {
		header[k] = v
	}
	for k := range answer.Trailer {
		header.Add("Trailer", k)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
	for k, v := range answer.Trailer {
		header[k] = v
	}
}
