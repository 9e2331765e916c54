package auditreport

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
)

// Line is what a report needs of a line of the audit log. Later releases may add
// keys, which it leaves out.
type Line struct {
	Time          time.Time `json:"time"`
	Region        string    `json:"region"`
	Process       string    `json:"process"`
	Principal     string    `json:"principal"`
	PrincipalName string    `json:"principal_name"`
	Account       string    `json:"account"`
	IP            string    `json:"ip"`
	Action        string    `json:"action"`
	Kind          string    `json:"kind"`
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Decision      string    `json:"decision"`
	Outcome       string    `json:"outcome"`
	Version       string    `json:"version"`
	BreakGlass    bool      `json:"break_glass"`
}

// errNotALine says that it is no line of an audit log, or a part of one.
var errNotALine = errors.New("not a line of an audit log")

// Decode parses a line. What is no JSON object, names a key twice, or lacks what
// every line has, is refused.
func Decode(b []byte) (Line, error) {
	var l Line
	if len(b) > audit.MaxLineBytes {
		return Line{}, errNotALine
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return Line{}, errNotALine
	}
	if l.Time.IsZero() || l.Region == "" || l.Process == "" || l.Decision == "" || l.Outcome == "" {
		return Line{}, errNotALine
	}
	return l, nil
}

// cutDigits is how many hexadecimal digits of a digest end a value that was cut.
const cutDigits = 12

// means reports whether a field of a line, which may have been cut, is the value.
func means(field, value string) bool {
	if field == value {
		return true
	}
	at := len(field) - cutDigits - 1
	if at < 0 || field[at] != '~' || !strings.HasPrefix(value, field[:at]) {
		return false
	}
	digest := sha256.Sum256([]byte(value))
	return field[at+1:] == hex.EncodeToString(digest[:cutDigits/2])
}
