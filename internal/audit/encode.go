package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxLineBytes bounds a line, its newline included.
const MaxLineBytes = 1000

// GapAction is the action of a line that says how many lines are missing.
const GapAction = "audit:Gap"

// The variable fields, in the order in which a line that is too long cuts them.
const (
	fieldName = iota
	fieldPolicies
	fieldPrincipalName
	fieldProof
	fieldForwardedFor
	fieldVersion
	fieldAction
	fieldKind
	fieldOrder
	fieldCredential
	fieldOwner
	fieldVault
	fieldRequest
	fieldID
	fieldPrincipal
	fieldAccount
	fieldOutcome
	fieldMethod
	fieldCount
)

// cutBytes is the length of the end of a cut value: "~" and 12 digits.
const cutBytes = 1 + 12

// floor is how far each field may be cut, in encoded bytes. IDs in canonical
// form are never cut, save that of the vault and the owner in a line that is
// hostile everywhere else. TestFloorsFit proves that the floors and everything
// around them fit in MaxLineBytes.
func floor(field int) int {
	switch field {
	case fieldName, fieldAction, fieldOutcome:
		return 20
	case fieldPolicies, fieldOwner, fieldVault:
		return cutBytes + 3
	case fieldOrder:
		return 24
	case fieldRequest:
		return 36
	case fieldID:
		return 53
	case fieldPrincipal, fieldAccount:
		return 26
	}
	return cutBytes
}

// encoder appends lines. It is not safe for concurrent use; it is pooled, so
// that encoding does not allocate.
type encoder struct {
	buf     []byte
	scratch []byte
	limits  [fieldCount]int
	used    [fieldCount]int
	// second is that of the last line, with what its time began with.
	second      int64
	secondBegin []byte
}

// identity returns the part of each line that says who writes.
func identity(region secret.RegionName, process string) []byte {
	b := appendText([]byte(`,"region":"`), string(region), MaxLineBytes)
	b = append(b, `","process":"`...)
	b = appendText(b, process, MaxLineBytes)
	return append(b, '"')
}

// encode returns the line of e, valid until the next call. identity is the
// encoded region and process.
func (c *encoder) encode(identity []byte, e *Entry) []byte {
	for i := range c.limits {
		c.limits[i] = MaxLineBytes
	}
	c.line(identity, e)
	excess := len(c.buf) - MaxLineBytes
	if excess <= 0 {
		return c.buf
	}
	for i := 0; i < fieldCount && excess > 0; i++ {
		c.limits[i] = c.used[i]
		if give := min(excess, c.used[i]-floor(i)); give > 0 {
			c.limits[i] -= give
			excess -= give
		}
	}
	c.line(identity, e)
	return c.buf
}

func (c *encoder) line(identity []byte, e *Entry) {
	c.used = [fieldCount]int{}
	b := append(c.buf[:0], `{"time":"`...)
	b = c.time(b, e.Time)
	b = append(b, '"')
	c.buf = append(b, identity...)
	c.text(`,"request":"`, fieldRequest, e.RequestID)
	c.text(`,"principal":"`, fieldPrincipal, string(e.Principal))
	c.text(`,"principal_name":"`, fieldPrincipalName, e.PrincipalName)
	c.text(`,"account":"`, fieldAccount, string(e.Account))
	c.text(`,"credential":"`, fieldCredential, string(e.Credential))
	c.text(`,"method":"`, fieldMethod, e.Method)
	c.text(`,"proof":"`, fieldProof, e.Proof)
	c.address(e.Source)
	c.text(`,"forwarded_for":"`, fieldForwardedFor, e.ForwardedFor)
	c.text(`,"action":"`, fieldAction, e.Action)
	c.resource(e)
	c.buf = append(c.buf, `,"decision":"`...)
	c.buf = append(c.buf, e.Decision.String()...)
	c.buf = append(c.buf, '"')
	c.policies(e.Policies)
	outcome := string(e.Outcome)
	if outcome == "" {
		outcome = "ok"
	}
	c.text(`,"outcome":"`, fieldOutcome, outcome)
	c.text(`,"version":"`, fieldVersion, string(e.Version))
	c.order(e)
	if e.BreakGlass {
		c.buf = append(c.buf, `,"break_glass":true`...)
	}
	c.buf = append(c.buf, `,"duration_us":`...)
	c.buf = strconv.AppendInt(c.buf, max(0, e.Duration.Microseconds()), 10)
	c.buf = append(c.buf, '}', '\n')
}

func (c *encoder) resource(e *Entry) {
	r := &e.Resource
	c.text(`,"kind":"`, fieldKind, r.Kind)
	c.text(`,"id":"`, fieldID, r.ID)
	c.text(`,"name":"`, fieldName, r.Name)
	if !strings.HasPrefix(r.ID, string(r.Vault)) {
		c.text(`,"vault":"`, fieldVault, string(r.Vault))
	}
	if r.Account != e.Account {
		c.text(`,"owner":"`, fieldOwner, string(r.Account))
	}
}

func (c *encoder) address(a netip.Addr) {
	if !a.IsValid() {
		return
	}
	c.buf = append(c.buf, `,"ip":"`...)
	c.buf = a.Unmap().WithZone("").AppendTo(c.buf)
	c.buf = append(c.buf, '"')
}

func (c *encoder) order(e *Entry) {
	if e.Order.Seq == 0 {
		return
	}
	s := strconv.AppendUint(c.scratch[:0], e.Order.Epoch.Counter, 10)
	s = append(s, ':')
	s = append(s, e.Order.Epoch.Region...)
	s = append(s, ':')
	c.scratch = strconv.AppendUint(s, e.Order.Seq, 10)
	c.buf = append(c.buf, `,"order":"`...)
	start := len(c.buf)
	c.buf = appendText(c.buf, c.scratch, c.limits[fieldOrder])
	c.used[fieldOrder] = len(c.buf) - start
	c.buf = append(c.buf, '"')
}

func (c *encoder) text(key string, field int, s string) {
	if s == "" {
		return
	}
	c.buf = append(c.buf, key...)
	start := len(c.buf)
	c.buf = appendText(c.buf, s, c.limits[field])
	c.used[field] = len(c.buf) - start
	c.buf = append(c.buf, '"')
}

// policies appends a list whose elements, quotes and commas fit the limit.
func (c *encoder) policies(names []string) {
	if len(names) == 0 {
		return
	}
	c.buf = append(c.buf, `,"policies":[`...)
	start := len(c.buf)
	limit := c.limits[fieldPolicies]
	cut, kept := start, 0 // as far as a mark for the rest still fits
	for i, name := range names {
		if i > 0 {
			c.buf = append(c.buf, ',')
		}
		c.buf = append(c.buf, '"')
		c.buf = appendText(c.buf, name, MaxLineBytes)
		c.buf = append(c.buf, '"')
		used := len(c.buf) - start
		if used > limit {
			c.buf = appendPoliciesMark(c.buf[:cut], cut > start, names[kept:])
			break
		}
		if used+len(`,""`)+cutBytes <= limit {
			cut, kept = len(c.buf), i+1
		}
	}
	c.used[fieldPolicies] = len(c.buf) - start
	c.buf = append(c.buf, ']')
}

func appendPoliciesMark(b []byte, comma bool, rest []string) []byte {
	h := sha256.New()
	for _, name := range rest {
		h.Write([]byte(name))
		h.Write([]byte{0})
	}
	if comma {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = appendMark(b, h.Sum(nil))
	return append(b, '"')
}

func appendMark(b, digest []byte) []byte {
	b = append(b, '~')
	return hex.AppendEncode(b, digest[:(cutBytes-1)/2])
}

// appendText appends s escaped for JSON, without quotes, in at most limit
// bytes; limit is at least cutBytes.
func appendText[T string | []byte](b []byte, s T, limit int) []byte {
	start := len(b)
	cut := start // as far as the mark still fits
	for i := 0; i < len(s); {
		run := i + plainRun(s[i:], limit)
		if run > i {
			before := len(b)
			b = append(b, s[i:run]...)
			if room := start + limit - cutBytes; before <= room {
				cut = min(len(b), room)
			}
			i = run
		} else {
			var size int
			b, size = appendEscaped(b, s[i:])
			i += size
			if len(b)-start <= limit-cutBytes {
				cut = len(b)
			}
		}
		if len(b)-start > limit {
			digest := sha256.Sum256([]byte(s))
			return appendMark(b[:cut], digest[:])
		}
	}
	return b
}

// plainRun returns how many characters at the beginning of s, at most limit, stand for
// themselves in JSON. It looks at eight at a time.
func plainRun[T string | []byte](s T, limit int) (n int) {
	s = s[:min(len(s), limit)]
	for ; n+8 <= len(s) && plainWord(s[n:n+8]); n += 8 {
	}
	for n < len(s) && plain(s[n]) {
		n++
	}
	return n
}

// plainWord reports whether eight bytes are plain.
func plainWord[T string | []byte](s T) bool {
	_ = s[7]
	w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	// The lowest byte that is not plain sets its highest bit in one of these: as it is if it
	// is not ASCII; less a blank if it is below one, and less 1 if it is a quote or a
	// backslash, which are 0 there, as both borrow; and 0x7f with 1 added.
	const each, highest = 0x0101010101010101, 0x8080808080808080
	return (w|(w-each*' ')|((w^each*'"')-each)|((w^each*'\\')-each)|(w+each))&highest == 0
}

func plain(c byte) bool {
	return c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7f
}

// appendEscaped appends the first character of s and returns its size in s.
func appendEscaped[T string | []byte](b []byte, s T) ([]byte, int) {
	if c := s[0]; c < utf8.RuneSelf {
		if c == '"' || c == '\\' {
			return append(b, '\\', c), 1
		}
		const digits = "0123456789abcdef"
		return append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15]), 1
	}
	var first [utf8.UTFMax]byte
	n := copy(first[:], s)
	r, size := utf8.DecodeRune(first[:n])
	if r == '\u2028' || r == '\u2029' { // line separators in some viewers
		return append(b, '\\', 'u', '2', '0', '2', '8'+byte(r-'\u2028')), size
	}
	return utf8.AppendRune(b, r), size
}

// time is appendTime, which does the calendar once a second.
func (c *encoder) time(b []byte, t time.Time) []byte {
	if second := t.Unix(); second != c.second || len(c.secondBegin) == 0 {
		c.second, c.secondBegin = second, appendTime(c.secondBegin[:0], t.Truncate(time.Second))
	}
	nanos := t.Nanosecond()
	b = append(b, c.secondBegin[:len(c.secondBegin)-1]...) // but for the Z
	if nanos == 0 {
		return append(b, 'Z')
	}
	b = append(b, '.')
	digits := 9
	for ; nanos%10 == 0; digits-- {
		nanos /= 10
	}
	at := len(b)
	b = append(b, "000000000"[:digits]...)
	for i := at + digits - 1; i >= at; i-- {
		b[i] = byte('0' + nanos%10)
		nanos /= 10
	}
	return append(b, 'Z')
}

// appendTime clamps years to four digits, which RFC 3339 demands.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		t = time.Time{}
	}
	return t.AppendFormat(b, time.RFC3339Nano)
}
