package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lifeboat-secrets/lifeboat/internal/pki"
)

// connections is the number of clients of a load, each of which sends its next
// request when it has the answer to the last one.
const connections = 16

// load is a closed loop of requests to one server.
type load struct {
	server  *child
	clients []sender
	tls     *tls.Config
	header  http.Header
	// next returns the path and the body of a client's next request.
	next func(client int) (path string, body []byte)
	// headers returns that of a request with a body, if they are not all the same.
	headers func(body []byte) http.Header
	// latencies of the last round.
	latencies []float64
}

// sender sends requests and returns the sizes of their answers.
type sender interface {
	post(ctx context.Context, path string, header http.Header, body []byte) (size int, err error)
	close()
}

// rates are what a round achieved.
type rates struct {
	perSecond, perCPUSecond float64
	answerBytes             int
}

// newLoad returns a load on a server. With http2 all clients share one
// connection, else each has its own.
func newLoad(server *child, caFile string, http2 bool, header http.Header, next func(int) (string, []byte)) (*load, error) {
	tlsConfig, err := pki.ClientTLS(caFile)
	if err != nil {
		return nil, err
	}
	tlsConfig.NextProtos = nil
	l := &load{server: server, header: header, next: next, tls: tlsConfig}
	for range connections {
		if http2 && len(l.clients) > 0 {
			l.clients = append(l.clients, l.clients[0])
			continue
		}
		transport := &http.Transport{TLSClientConfig: tlsConfig.Clone(), Protocols: new(http.Protocols), DisableCompression: true}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetHTTP2(http2)
		l.clients = append(l.clients, &httpClient{address: server.address, http: http.Client{Transport: transport}})
	}
	return l, nil
}

// direct has the clients send their requests themselves, over HTTP/1.1; all have the
// same header.
func (l *load) direct() *load {
	for i := range l.clients {
		l.clients[i] = &conn{address: l.server.address, tls: l.tls, header: l.header}
	}
	return l
}

func (l *load) close() {
	for _, c := range l.clients {
		c.close()
	}
}

// run sends requests for a while.
func (l *load) run(ctx context.Context, length time.Duration) (rates, error) {
	results := make([][]float64, len(l.clients))
	size := 0
	var g errgroup.Group
	before, err := l.server.cpu()
	if err != nil {
		return rates{}, err
	}
	start := time.Now()
	for i := range l.clients {
		g.Go(func() error {
			for time.Since(start) < length {
				sent := time.Now()
				n, err := l.once(ctx, i)
				if err != nil {
					return err
				}
				results[i] = append(results[i], float64(time.Since(sent))/1e6)
				if i == 0 {
					size = n
				}
			}
			return nil
		})
	}
	err = g.Wait()
	elapsed := time.Since(start)
	after, cpuErr := l.server.cpu()
	if err := errors.Join(err, cpuErr); err != nil {
		return rates{}, err
	}
	l.latencies = l.latencies[:0]
	for _, r := range results {
		l.latencies = append(l.latencies, r...)
	}
	n := float64(len(l.latencies))
	return rates{perSecond: n / elapsed.Seconds(), perCPUSecond: n / (after - before).Seconds(), answerBytes: size}, nil
}

// once sends one request and returns the size of its answer.
func (l *load) once(ctx context.Context, client int) (int, error) {
	path, body := l.next(client)
	header := l.header
	if l.headers != nil {
		header = l.headers(body)
	}
	return l.clients[client].post(ctx, path, header, body)
}

// httpClient is a sender that uses net/http.
type httpClient struct {
	address string
	http    http.Client
}

// post implements sender.
func (c *httpClient) post(ctx context.Context, path string, header http.Header, body []byte) (size int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.address+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header = header
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(answer.Body)
		return 0, fmt.Errorf("%s: %s: %s", path, answer.Status, b)
	}
	n, err := io.Copy(io.Discard, answer.Body)
	return int(n), err
}

// close implements sender.
func (c *httpClient) close() { c.http.CloseIdleConnections() }

// anyOf sends one of the bodies, at random, to a path.
func anyOf(path string, bodies [][]byte) func(int) (string, []byte) {
	return func(int) (string, []byte) {
		return path, bodies[rand.IntN(len(bodies))] //nolint:gosec // a load needs no cryptography
	}
}
