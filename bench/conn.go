package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net/http"
)

// conn is a client that sends its requests over one connection of its own, by
// HTTP/1.1. That of net/http hands each request and answer from one goroutine to
// another, which costs a third more. It is for comparisons with what is measured
// without clients, but on the same cores.
type conn struct {
	tls tls.Dialer
	// open is nil before the first request, and after a failure.
	open *openConn
}

type openConn struct {
	close func() error
	in    *bufio.Reader
	out   *bufio.Writer
}

// Do is that of http.Client. The last answer must have been read to its end.
func (c *conn) Do(r *http.Request) (*http.Response, error) {
	if c.open == nil {
		dialled, err := c.tls.DialContext(r.Context(), "tcp", r.URL.Host)
		if err != nil {
			return nil, err
		}
		c.open = &openConn{close: dialled.Close, in: bufio.NewReader(dialled), out: bufio.NewWriter(dialled)}
	}
	err := errors.Join(r.Write(c.open.out), c.open.out.Flush())
	if err != nil {
		c.CloseIdleConnections()
		return nil, err
	}
	answer, err := http.ReadResponse(c.open.in, r)
	if err != nil {
		c.CloseIdleConnections()
	}
	return answer, err
}

// CloseIdleConnections is that of http.Client.
func (c *conn) CloseIdleConnections() {
	if c.open != nil {
		_ = c.open.close()
		c.open = nil
	}
}
