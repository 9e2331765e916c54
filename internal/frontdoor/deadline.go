package frontdoor

import (
	"io"
	"net/http"
	"time"
)

// ioTimeout is how long a caller may take to send a body, and to take in each
// part of an answer, unless Options say otherwise.
const ioTimeout = 30 * time.Second

// limitBody has the reading of the body fail after a while, so that who sends it
// slowly holds nothing for long.
func (x *exchange) limitBody(r *http.Request, after time.Duration) {
	if r.ContentLength == 0 {
		return
	}
	_ = x.deadlines.SetReadDeadline(time.Now().Add(after))
	if r.ProtoMajor == 1 {
		// There the deadline is one of the connection, on which the server waits
		// for the caller to go away once the body is read.
		x.body = timedBody{ReadCloser: r.Body, exchange: x}
		r.Body = &x.body
	}
}

// timedBody takes the limit away when it has been read to its end.
type timedBody struct {
	io.ReadCloser
	exchange *exchange // nil once it is taken away
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.exchange != nil {
		_ = b.exchange.deadlines.SetReadDeadline(time.Time{})
		b.exchange = nil
	}
	return n, err
}

// limitWrite has the writing of this part of the answer fail after a while.
func (x *exchange) limitWrite() {
	if !x.limited {
		x.limited = true
		_ = x.deadlines.SetWriteDeadline(time.Now().Add(x.writeTimeout))
	}
}

// unlimitWrite is called when a part of the answer has been written: the time
// until the next one is not the caller's.
func (x *exchange) unlimitWrite() {
	if x.limited {
		x.limited = false
		_ = x.deadlines.SetWriteDeadline(time.Time{})
	}
}
