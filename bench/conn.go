package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

// conn is a client that sends its requests over one connection of its own, by
// HTTP/1.1, and does no more than that takes. That of net/http takes three times as much
// CPU time. It is for comparisons with what is measured without clients, but on the
// same cores.
type conn struct {
	address string
	tls     *tls.Config
	header  http.Header

	// open is nil before the first request, and after a failure.
	open net.Conn
	in   *bufio.Reader
	// head is what stands between the path and the length in every request.
	head []byte
	out  []byte
}

// post implements sender. Answers must have a Content-Length.
func (c *conn) post(ctx context.Context, path string, _ http.Header, body []byte) (size int, err error) {
	if c.open == nil {
		if err := c.dial(ctx); err != nil {
			return 0, err
		}
	}
	c.out = append(append(append(c.out[:0], "POST "...), path...), c.head...)
	c.out = append(append(strconv.AppendInt(c.out, int64(len(body)), 10), "\r\n\r\n"...), body...)
	_, err = c.open.Write(c.out)
	if err == nil {
		size, err = c.answer(path)
	}
	if err != nil {
		c.close()
	}
	return size, err
}

func (c *conn) dial(ctx context.Context) (err error) {
	dialer := tls.Dialer{Config: c.tls}
	if c.open, err = dialer.DialContext(ctx, "tcp", c.address); err != nil {
		return err
	}
	c.in = bufio.NewReader(c.open)
	var fields bytes.Buffer
	_ = c.header.Write(&fields) // never fails
	c.head = fmt.Appendf(nil, " HTTP/1.1\r\nHost: %s\r\n%sContent-Length: ", c.address, fields.Bytes())
	return nil
}

var (
	statusOK      = []byte("HTTP/1.1 200 OK\r\n")
	contentLength = []byte("Content-Length: ")
)

func (c *conn) answer(path string) (size int, err error) {
	status, err := c.in.ReadBytes('\n')
	if err != nil {
		return 0, err
	}
	size = -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if n, ok := bytes.CutPrefix(line, contentLength); ok {
			if size, err = strconv.Atoi(string(n)); err != nil {
				return 0, err
			}
		}
	}
	switch {
	case size < 0:
		return 0, errors.New("an answer of unknown length")
	case !bytes.Equal(status, statusOK):
		b, err := io.ReadAll(io.LimitReader(c.in, int64(size)))
		return 0, errors.Join(fmt.Errorf("%s: %s: %s", path, bytes.TrimSpace(status), b), err)
	}
	_, err = c.in.Discard(size)
	return size, err
}

// close implements sender.
func (c *conn) close() {
	if c.open != nil {
		_ = c.open.Close()
		c.open = nil
	}
}
