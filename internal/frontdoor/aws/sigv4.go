package aws

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Signature Version 4 of AWS: of the request as it was sent, with a key that is
// derived from the access key for a day, a region and a service.
const (
	algorithm    = "AWS4-HMAC-SHA256"
	terminator   = "aws4_request"
	serviceName  = "secretsmanager"
	dateFormat   = "20060102T150405Z"
	maxSkew      = 5 * time.Minute
	maxSigned    = 64       // headers
	maxHeaderLen = 16 << 10 // of what is parsed
)

func incomplete(format string, args ...any) error {
	return faultf(secret.CodeUnauthenticated, "IncompleteSignatureException", format, args...)
}

func wrongSignature(format string, args ...any) error {
	return faultf(secret.CodeUnauthenticated, "InvalidSignatureException", format, args...)
}

// authorization is what the header of that name says.
type authorization struct {
	key secret.CredentialID
	// date, region and service are the scope of the credential.
	date, region, service string
	// signed are the names of the signed headers, in lower case, sorted.
	signed    []string
	signature [sha256.Size]byte
}

// parseAuthorization parses the header. It must have each parameter exactly once.
func parseAuthorization(header string) (authorization, error) {
	var a authorization
	if header == "" {
		return a, faultf(secret.CodeUnauthenticated, "MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok || len(header) > maxHeaderLen {
		return a, incomplete("the Authorization header is not of the algorithm %s", algorithm)
	}
	seen := 0
	for parameter := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		var bit int
		switch name {
		case "Credential":
			bit, ok = 1, a.setScope(value)
		case "SignedHeaders":
			bit, ok = 2, a.setSigned(value)
		case "Signature":
			bit, ok = 4, a.setSignature(value)
		default:
			ok = false
		}
		if !ok || seen&bit != 0 {
			return authorization{}, incomplete("a parameter of the Authorization header is malformed")
		}
		seen |= bit
	}
	for bit, name := range map[int]string{1: "Credential", 2: "SignedHeaders", 4: "Signature"} {
		if seen != 7 && seen&bit == 0 {
			return authorization{}, incomplete("Authorization header requires '%s' parameter.", name)
		}
	}
	return a, nil
}

func (a *authorization) setScope(value string) bool {
	part := strings.Split(value, "/")
	if len(part) != 5 || part[4] != terminator || slices.Contains(part, "") || len(part[1]) != 8 {
		return false
	}
	a.key, a.date, a.region, a.service = secret.CredentialID(part[0]), part[1], part[2], part[3]
	return true
}

func (a *authorization) setSigned(value string) bool {
	a.signed = strings.Split(value, ";")
	for i, name := range a.signed {
		if name == "" || strings.ToLower(name) != name || i > 0 && a.signed[i-1] >= name {
			return false
		}
	}
	return len(a.signed) <= maxSigned
}

func (a *authorization) setSignature(value string) bool {
	if len(value) != hex.EncodedLen(len(a.signature)) {
		return false
	}
	_, err := hex.Decode(a.signature[:], []byte(value))
	return err == nil
}

func (a *authorization) covers(header string) bool {
	_, found := slices.BinarySearch(a.signed, header)
	return found
}

// signature is that of one request.
type signature struct {
	authorization
	at string // X-Amz-Date
	// request is the digest of the canonical request, in hexadecimal.
	request [2 * sha256.Size]byte
}

// signatureOf checks of a request's signature what needs neither the body nor the
// key: its form, what it covers, its scope and its time.
func signatureOf(r *http.Request, region string, now time.Time) (*signature, error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return nil, incomplete("there is more than one Authorization header")
	}
	a, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	s := &signature{authorization: a, at: r.Header.Get("X-Amz-Date")}
	if err := s.checkCovered(r.Header); err != nil {
		return nil, err
	}
	switch {
	case s.service != serviceName:
		return nil, wrongSignature("Credential should be scoped to correct service: '%s'. ", serviceName)
	case s.region != region:
		return nil, wrongSignature("Credential should be scoped to a valid region: this is '%s'.", region)
	case r.Header.Get("X-Amz-Security-Token") != "":
		return nil, faultf(secret.CodeUnauthenticated, "UnrecognizedClientException",
			"The security token included in the request is invalid: access keys of this region come without a session token.")
	}
	return s, s.checkTime(now)
}

// checkCovered checks that nothing that decides what is done is left unsigned.
func (s *signature) checkCovered(h http.Header) error {
	if !s.covers("host") {
		return wrongSignature("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name, values := range h {
		if !strings.HasPrefix(name, "X-Amz-") {
			continue
		}
		if !s.covers(strings.ToLower(name)) {
			return wrongSignature("'%s' must be a 'SignedHeader' in the AWS Authorization.", name)
		}
		if len(values) > 1 {
			return incomplete("there is more than one header %s", name)
		}
	}
	return nil
}

func (s *signature) checkTime(now time.Time) error {
	at, err := time.Parse(dateFormat, s.at)
	switch {
	case err != nil:
		return incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header; it must be like %s.", dateFormat)
	case s.at[:8] != s.date:
		return wrongSignature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", s.date, s.at[:8])
	case at.Before(now.Add(-maxSkew)):
		return wrongSignature("Signature expired: %s is now earlier than %s (%s - 5 min.)",
			s.at, now.Add(-maxSkew).UTC().Format(dateFormat), now.UTC().Format(dateFormat))
	case at.After(now.Add(maxSkew)):
		return wrongSignature("Signature not yet current: %s is still later than %s (%s + 5 min.)",
			s.at, now.Add(maxSkew).UTC().Format(dateFormat), now.UTC().Format(dateFormat))
	}
	return nil
}

// cover makes the digest of the canonical request. The body that counts is the one
// that came: one that is not signed as a whole, by itself, is refused.
func (s *signature) cover(r *http.Request, body []byte) error {
	digest := sha256.Sum256(body)
	var payload [2 * sha256.Size]byte
	hex.Encode(payload[:], digest[:])
	if claimed := r.Header.Get("X-Amz-Content-Sha256"); claimed != "" && claimed != string(payload[:]) {
		return wrongSignature("The X-Amz-Content-Sha256 header is not the digest of the body; bodies that are unsigned or signed in chunks are not accepted.")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return wrongSignature("The body must be sent as it is, without a content encoding.")
	}
	var space [2 << 10]byte
	c := append(space[:0], "POST\n/\n\n"...)
	for _, name := range s.signed {
		c = append(append(c, name...), ':')
		c = append(appendHeader(c, r, name), '\n')
	}
	c = append(c, '\n')
	for i, name := range s.signed {
		if i > 0 {
			c = append(c, ';')
		}
		c = append(c, name...)
	}
	c = append(append(c, '\n'), payload[:]...)
	digest = sha256.Sum256(c)
	hex.Encode(s.request[:], digest[:])
	return nil
}

// appendHeader appends the canonical value of a header; a missing one is empty.
func appendHeader(c []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		return appendTrimmed(c, r.Host)
	case "content-length":
		if r.ContentLength >= 0 {
			return strconv.AppendInt(c, r.ContentLength, 10)
		}
		return c
	}
	for i, value := range r.Header.Values(name) {
		if i > 0 {
			c = append(c, ',')
		}
		c = appendTrimmed(c, value)
	}
	return c
}

// appendTrimmed appends a value without spaces around it, and with one for several
// in a row.
func appendTrimmed(c []byte, value string) []byte {
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if value[i] != ' ' || value[i-1] != ' ' {
			c = append(c, value[i])
		}
	}
	return c
}

// derive makes the key of a scope from the secret half of an access key.
func (s *signature) derive(half secret.Plaintext) service.SigningKey {
	var space [128]byte
	first := append(append(space[:0], "AWS4"...), half.Reveal()...)
	derived := keyed(first, s.date)
	clear(first)
	for _, part := range [...]string{s.region, s.service, terminator} {
		derived = keyed(derived[:], part)
	}
	return derived
}

// verify compares the signature with the one that the key of the scope makes.
func (s *signature) verify(key *service.SigningKey) error {
	var space [256]byte
	text := space[:0]
	for _, part := range [...]string{algorithm, "\n", s.at, "\n", s.date, "/", s.region, "/", s.service, "/", terminator, "\n"} {
		text = append(text, part...)
	}
	text = append(text, s.request[:]...)
	mac := hmac.New(sha256.New, key[:])
	_, _ = mac.Write(text)
	if subtle.ConstantTimeCompare(mac.Sum(nil), s.signature[:]) != 1 {
		return wrongSignature("The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return nil
}

func keyed(key []byte, text string) (sum service.SigningKey) {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(text))
	mac.Sum(sum[:0])
	return sum
}
