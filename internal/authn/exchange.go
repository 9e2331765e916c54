package authn

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// An exchanged token is lbx_<account ID>.<claims>.<digest>: it says all of itself,
// so that a host can make and check it without the store. The digest is made
// under a key of the account that every host of every region has. It names what
// it was exchanged for, which is looked up whenever the token is used.
const (
	exchangedPrefix = "lbx_"
	exchangedDomain = "exchanged token"
	// maxExchangedBytes bounds what is looked at of a token.
	maxExchangedBytes = 1 << 10
)

// Kinds of what a token was exchanged for.
const (
	originCredential  = "credential"
	originCertificate = "certificate"
	originJWT         = "jwt"
)

// origin is what a caller's proof rests on, as an exchanged token names it.
type origin struct {
	kind string
	// name is the ID of the credential or binding, or the name of the issuer.
	name string
	// mark is the fingerprint of the authority that a certificate leads to, or the
	// digest of the rule that mapped a JWT.
	mark secret.Fingerprint
}

// exchangedClaims are what an exchanged token says.
type exchangedClaims struct {
	Format     int    `json:"v"`
	ID         string `json:"jti"`
	Principal  string `json:"sub"`
	IssuedAt   int64  `json:"iat"` // Unix seconds
	ExpiresAt  int64  `json:"exp"`
	Kind       string `json:"knd"`
	Name       string `json:"org"`
	Credential string `json:"crd"` // as the audit log names it
	Mark       []byte `json:"mrk,omitempty"`
}

const exchangedFormat = 1

// Digest makes a MAC of parts under a key of an account that is the same in every
// region and on every host. A missing account is caused by record.ErrNotFound.
type Digest func(ctx context.Context, view record.View, account secret.AccountID, domain string, parts ...[]byte) (secret.MAC, error)

// Exchanged is a token made by Exchange.
type Exchanged struct {
	ID        string
	Token     secret.Plaintext
	ExpiresAt time.Time
}

// Exchange makes a token for a caller that works for at most lifetime, and not
// longer than what the caller presented. Errors: CodeUnauthenticated for a caller
// that presented such a token, which would be renewed for ever; those of
// Options.Digest.
func (a *Authenticator) Exchange(ctx context.Context, view record.View, caller Caller, lifetime time.Duration, now time.Time) (Exchanged, error) {
	if a.digest == nil {
		return Exchanged{}, secret.Errorf(secret.CodeInternal, "tokens cannot be exchanged without a key")
	}
	if caller.Method == MethodExchange {
		return Exchanged{}, secret.Errorf(secret.CodeUnauthenticated, "a token that was itself exchanged cannot be exchanged again").
			WithHint("present the certificate, JWT or token that it was made for")
	}
	expires := now.Add(lifetime)
	if !caller.Until.IsZero() && caller.Until.Before(expires) {
		expires = caller.Until
	}
	expires = expires.Truncate(time.Second)
	made := Exchanged{ID: ulid.MustNewDefault(now).String(), ExpiresAt: expires}
	c := exchangedClaims{
		Format: exchangedFormat, ID: made.ID, Principal: string(caller.Principal.ID), IssuedAt: now.Unix(), ExpiresAt: expires.Unix(),
		Kind: caller.origin.kind, Name: caller.origin.name, Credential: string(caller.Credential),
	}
	if caller.origin.mark != (secret.Fingerprint{}) {
		c.Mark = caller.origin.mark[:]
	}
	body, err := json.Marshal(&c)
	if err != nil {
		return Exchanged{}, secret.Wrap(secret.CodeInternal, err, "encode a token")
	}
	signed := append([]byte(exchangedPrefix), caller.Account...)
	signed = append(signed, '.')
	signed = base64.RawURLEncoding.AppendEncode(signed, body)
	mac, err := a.digest(ctx, view, caller.Account, exchangedDomain, signed)
	if err != nil {
		return Exchanged{}, err
	}
	signed = append(signed, '.')
	made.Token = secret.NewPlaintext(base64.RawURLEncoding.AppendEncode(signed, mac))
	return made, nil
}

// parseExchanged splits a token into what is signed, its account and the digest.
func parseExchanged(token string) (signed string, account secret.AccountID, mac []byte, ok bool) {
	at := strings.LastIndexByte(token, '.')
	if len(token) > maxExchangedBytes || at < 0 {
		return "", "", nil, false
	}
	signed = token[:at]
	id, _, found := strings.Cut(strings.TrimPrefix(signed, exchangedPrefix), ".")
	mac, err := base64.RawURLEncoding.Strict().DecodeString(token[at+1:])
	return signed, secret.AccountID(id), mac, found && err == nil && secret.ValidULID(id)
}

// openExchanged returns what a token says if the region made it.
func (a *Authenticator) openExchanged(ctx context.Context, view record.View, token string) (secret.AccountID, *exchangedClaims, error) {
	signed, account, mac, ok := parseExchanged(token)
	if !ok || a.digest == nil {
		return "", nil, secret.Errorf(secret.CodeUnauthenticated, "the token is malformed").
			WithHint("check that it was copied whole")
	}
	want, err := a.digest(ctx, view, account, exchangedDomain, []byte(signed))
	if errors.Is(err, record.ErrNotFound) {
		return "", nil, refused()
	}
	if err != nil {
		return "", nil, err
	}
	if !want.Equal(mac) {
		return "", nil, refused()
	}
	body, err := base64.RawURLEncoding.Strict().DecodeString(signed[len(exchangedPrefix)+len(account)+1:])
	if err != nil {
		return "", nil, refused()
	}
	c := new(exchangedClaims)
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(c); err != nil || c.Format != exchangedFormat || len(c.Mark) > len(secret.Fingerprint{}) {
		return "", nil, secret.Errorf(secret.CodeUnauthenticated, "the token was made by another release").WithHint("exchange again")
	}
	return account, c, nil
}

// proveExchanged finds the principal of an exchanged token, if what it was
// exchanged for still stands.
func (a *Authenticator) proveExchanged(ctx context.Context, t *transcript, p *proof, token string, named secret.AccountID, now time.Time) error {
	account, c, err := a.openExchanged(ctx, t.view, token)
	if err != nil {
		return err
	}
	expires := time.Unix(c.ExpiresAt, 0)
	switch {
	case named != "" && named != account:
		return secret.Errorf(secret.CodeUnauthenticated, "the token is of another account than the request names")
	case !now.Before(expires):
		return secret.Errorf(secret.CodeUnauthenticated, "the token expired at %s", expires.UTC().Format(time.RFC3339)).WithHint("exchange again")
	}
	p.narrow(time.Time{}, expires)
	from := origin{kind: c.Kind, name: c.Name}
	copy(from.mark[:], c.Mark)
	if err := p.stands(t, account, c, from, now); err != nil {
		return err
	}
	p.caller.Credential, p.caller.Proof, p.caller.origin = secret.CredentialID(c.Credential), c.ID, from
	return p.standsFor(t, account, secret.PrincipalID(c.Principal))
}

// stands checks that what a token was exchanged for has not been taken back.
func (p *proof) stands(t *transcript, account secret.AccountID, c *exchangedClaims, from origin, now time.Time) error {
	gone := func(what string) error {
		return secret.Errorf(secret.CodeUnauthenticated, "%s that the token was exchanged for is not accepted any more", what)
	}
	switch from.kind {
	case originCredential:
		cred, _, err := record.Load(t, record.Credentials, record.CredentialKey(secret.CredentialID(from.name)))
		switch {
		case errors.Is(err, record.ErrNotFound):
			return gone("the credential")
		case err != nil:
			return err
		case cred.Account != account || string(cred.Principal) != c.Principal:
			return gone("the credential")
		}
		p.narrow(time.Time{}, cred.ExpiresAt)
		return cred.Usable(now)
	case originCertificate:
		key := record.BindingKey(account, secret.PrincipalID(c.Principal), secret.BindingID(from.name))
		b, _, err := record.Load(t, record.Bindings, key)
		if errors.Is(err, record.ErrNotFound) {
			return gone("the certificate")
		}
		if err != nil {
			return err
		}
		bundle, err := loadParsed(t, record.TrustKey(account, b.Trust), parseTrust)
		if err == nil && (bundle == nil || !bundle.anchors[from.mark]) {
			return gone("the certificate")
		}
		return err
	case originJWT:
		i, err := loadParsed(t, record.IssuerKey(account, from.name), parseIssuer)
		if err == nil && (i == nil || string(i.ID) != c.Credential || !i.hasRule(from.mark)) {
			return gone("the JWT")
		}
		return err
	}
	return gone("what")
}

func (i *issuer) hasRule(mark secret.Fingerprint) bool {
	for _, d := range i.digests {
		if bytes.Equal(d[:], mark[:len(d)]) {
			return true
		}
	}
	return false
}
