package service

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// RevisionToken names a state of one secret: a read that carries it answers
// that state or a newer one.
type RevisionToken struct {
	Secret      secret.ID
	Incarnation secret.Incarnation
	Order       secret.Order
}

const revisionTokenFormat = "1"

// TokenOf returns the revision token of the state of s. The incarnation is that
// of the region that gives the token, not of the record.
func TokenOf(s *secret.Secret, incarnation secret.Incarnation) RevisionToken {
	return RevisionToken{Secret: s.ID, Incarnation: incarnation, Order: s.Ownership.Order}
}

// String returns the opaque form.
func (t RevisionToken) String() string {
	if t.Secret == "" {
		return ""
	}
	b := make([]byte, 0, 192)
	b = append(b, revisionTokenFormat+fieldSeparator...)
	b = append(append(b, t.Secret...), fieldSeparator...)
	b = append(append(b, t.Incarnation...), fieldSeparator...)
	b = append(strconv.AppendUint(b, t.Order.Epoch.Counter, 10), fieldSeparator...)
	b = append(append(b, t.Order.Epoch.Region...), fieldSeparator...)
	b = strconv.AppendUint(b, t.Order.Seq, 10)
	return string(base64.RawURLEncoding.AppendEncode(make([]byte, 0, 256), b))
}

// ParseRevisionToken parses the opaque form; empty is no token and ok. Errors:
// CodeInvalid.
func ParseRevisionToken(s string) (RevisionToken, error) {
	if s == "" {
		return RevisionToken{}, nil
	}
	invalid := secret.Invalid("revision_token", "is malformed")
	f, ok := decodeOpaque(revisionTokenFormat, s, 5)
	if !ok || !secret.ID(f[0]).Valid() {
		return RevisionToken{}, invalid
	}
	counter, err1 := strconv.ParseUint(f[2], 10, 64)
	seq, err2 := strconv.ParseUint(f[4], 10, 64)
	if err1 != nil || err2 != nil {
		return RevisionToken{}, invalid
	}
	return RevisionToken{
		Secret: secret.ID(f[0]), Incarnation: secret.Incarnation(f[1]),
		Order: secret.Order{Epoch: secret.Epoch{Counter: counter, Region: secret.RegionName(f[3])}, Seq: seq},
	}, nil
}

// pageToken says where a list goes on: after the key last, in the list that
// query describes.
type pageToken struct {
	query string
	last  string
}

const pageTokenFormat = "p1"

func (t pageToken) String() string {
	return encodeOpaque(pageTokenFormat, t.query, t.last)
}

func parsePageToken(s, query string) (string, error) {
	if s == "" {
		return "", nil
	}
	f, ok := decodeOpaque(pageTokenFormat, s, 2)
	switch {
	case !ok:
		return "", secret.Invalid("page_token", "is malformed")
	case f[0] != query:
		return "", secret.Invalid("page_token", "is of another list: keep all other fields as in the first request")
	}
	return f[1], nil
}

const (
	fieldSeparator = "\x00"
	maxOpaqueBytes = 4096
)

func encodeOpaque(format string, fields ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(format + fieldSeparator + strings.Join(fields, fieldSeparator)))
}

func decodeOpaque(format, s string, n int) ([]string, bool) {
	if len(s) > maxOpaqueBytes {
		return nil, false
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, false
	}
	fields := strings.Split(string(b), fieldSeparator)
	if len(fields) != n+1 || fields[0] != format {
		return nil, false
	}
	return fields[1:], true
}
