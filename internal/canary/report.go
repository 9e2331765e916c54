package canary

import (
	"time"

	"github.com/lifeboat-secrets/lifeboat/client"
)

// Results of reads beside OK and the codes of errors.
const (
	// OK is the result of what went well.
	OK = "ok"
	// Late means that a host did not show the value within the time allowed.
	Late = "late"
	// WentBack means that a host showed an older version than before.
	WentBack = "went_back"
	// NoAnswer means that a host did not answer within the time allowed.
	NoAnswer = "no_answer"
	// WrongValue means that a host showed a value that was not written.
	WrongValue = "wrong_value"
)

// Round is what one round found.
type Round struct {
	At    time.Time `json:"at"`
	Round uint64    `json:"round"`
	// OK says that the write and all reads went well.
	OK    bool   `json:"ok"`
	Write Write  `json:"write"`
	Reads []Read `json:"reads"`
}

// Write is what became of the round's write.
type Write struct {
	// Result is OK or the code of the error.
	Result       string  `json:"result"`
	Milliseconds float64 `json:"ms"`
}

// OK reports whether the write was acknowledged.
func (w Write) OK() bool { return w.Result == OK }

// Read is what one host answered.
type Read struct {
	Host string `json:"host"`
	// Result is OK, Late, NoAnswer, WentBack, WrongValue or the code of an error.
	Result string `json:"result"`
	// VisibleMilliseconds is the time from the acknowledgement of the write until
	// the host showed it; 0 if it did not.
	VisibleMilliseconds float64 `json:"visible_ms"`
	// ReadMilliseconds is the time of the read with the revision token.
	ReadMilliseconds float64 `json:"read_ms"`
	// AgeSeconds and FromStore are what the last answer said of its freshness.
	AgeSeconds float64 `json:"age_seconds"`
	FromStore  bool    `json:"from_store"`

	version uint64
}

// OK reports whether the host showed what it should.
func (r Read) OK() bool { return r.Result == OK }

// mayStillCome reports whether waiting may help.
func (r Read) mayStillCome() bool {
	switch r.Result {
	case WentBack, WrongValue, string(client.CodeDenied), string(client.CodeUnauthenticated), string(client.CodeTampered):
		return false
	}
	return true
}

// afterError is the result after an error. That the time is over says less than what
// was found before.
func (r Read) afterError(err error) string {
	switch {
	case client.CodeOf(err) != client.CodeCanceled:
		return resultOf(err)
	case r.Result == "" || r.Result == OK:
		return NoAnswer
	}
	return r.Result
}

func resultOf(err error) string {
	if err == nil {
		return OK
	}
	return string(client.CodeOf(err))
}
