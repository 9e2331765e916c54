package frontdoor

import (
	"net/http"
	"time"
)

// ioTimeout is how long a caller may take to send a body, and to take in each
// part of an answer, unless Options say otherwise.
const ioTimeout = 30 * time.Second

// limitBody has the reading of the body fail after a while, so that who sends it
// slowly holds nothing for long. The server takes the limit away from a connection when it has
// read the body to its end: from then on it waits there for the caller to go away.
func (x *exchange) limitBody(r *http.Request, after time.Duration) {
	if r.ContentLength != 0 {
		_ = x.deadlines.SetReadDeadline(time.Now().Add(after))
	}
}

// limitWrite has the writing of this part of the answer fail after a while. The server
// takes the limit away after each request.
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
