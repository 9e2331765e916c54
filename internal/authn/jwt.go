package authn

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxJWTBytes bounds a JWT.
const maxJWTBytes = 16 << 10

// isJWT reports whether a bearer token has the form of a JWT: a JSON object in
// base64 and two more parts.
func isJWT(token string) bool {
	return strings.HasPrefix(token, "eyJ") && strings.Count(token, ".") == 2
}

func badJWT(format string, args ...any) *secret.Error {
	return secret.Errorf(secret.CodeUnauthenticated, "the JWT "+format, args...)
}

// claims are what a JWT says: the ones that every token has, and all.
type claims struct {
	jwt.Claims
	all map[string]any
}

// signatureAlgorithms are those that any issuer may use.
func signatureAlgorithms() []jose.SignatureAlgorithm {
	var all []jose.SignatureAlgorithm
	for _, a := range secret.SignatureAlgorithms() {
		all = append(all, jose.SignatureAlgorithm(a))
	}
	return all
}

// parseJWT takes a token apart without believing it. Errors:
// CodeUnauthenticated.
func parseJWT(text string) (token *jwt.JSONWebToken, header jose.Header, issuer string, err error) {
	if len(text) > maxJWTBytes {
		return nil, header, "", badJWT("is %d bytes long; the limit is %d", len(text), maxJWTBytes)
	}
	token, err = jwt.ParseSigned(text, signatureAlgorithms())
	if err != nil || len(token.Headers) != 1 {
		return nil, header, "", badJWT("cannot be read, or is signed with an algorithm that is never accepted").
			WithHint("accepted are " + strings.Join(secret.SignatureAlgorithms(), ", ") + ", as far as the issuer is trusted with them")
	}
	var unverified jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&unverified); err != nil || unverified.Issuer == "" ||
		secret.CheckIssuerURL("", unverified.Issuer) != nil {
		return nil, header, "", badJWT("names no issuer by its URL")
	}
	return token, token.Headers[0], unverified.Issuer, nil
}

// proveJWT finds the principal that a JWT stands for.
func (a *Authenticator) proveJWT(t *transcript, p *proof, text string, account secret.AccountID, now time.Time) error {
	token, header, url, err := parseJWT(text)
	if err != nil {
		return err
	}
	var failed error
	found := false
	key := func(account secret.AccountID) record.Key { return record.IssuerURLKey(url, account) }
	err = indexed(t, key, account, func(account secret.AccountID, name string) error {
		this := &proof{}
		if err := a.judgeJWT(t, this, token, header, account, name, now); err != nil {
			failed = errors.Join(failed, err)
			return nil
		}
		if found && (this.caller.Account != p.caller.Account || this.caller.Principal.ID != p.caller.Principal.ID) {
			return ambiguous()
		}
		found, *p = true, *this
		return nil
	})
	switch {
	case err != nil || found:
		return err
	case failed != nil:
		return failed
	}
	return badJWT("is of an issuer that no account trusts")
}

// judgeJWT judges a JWT by what one account says of its issuer.
func (a *Authenticator) judgeJWT(t *transcript, p *proof, token *jwt.JSONWebToken, header jose.Header, account secret.AccountID, name string, now time.Time) error {
	i, err := loadParsed(t, record.IssuerKey(account, name), parseIssuer)
	if err != nil {
		return err
	}
	if i == nil {
		return badJWT("is of an issuer that no account trusts")
	}
	if !slices.Contains(i.Algorithms, header.Algorithm) {
		return badJWT("is signed with %s, which its issuer is not trusted with", header.Algorithm)
	}
	key, err := a.signingKey(t, p, i, header, now)
	if err != nil {
		return err
	}
	var c claims
	if err := token.Claims(key.Key, &c.Claims, &c.all); err != nil {
		return badJWT("has a signature that is not right")
	}
	if err := i.valid(p, &c.Claims, now); err != nil {
		return err
	}
	principal, rule, err := i.principalOf(t, &c)
	if err != nil {
		return err
	}
	p.caller.Credential = secret.CredentialID(i.ID)
	p.caller.Proof = c.Subject
	if c.ID != "" {
		p.caller.Proof += " " + c.ID
	}
	p.caller.origin = origin{kind: originJWT, name: i.Name}
	copy(p.caller.origin.mark[:], i.digests[rule][:])
	return p.standsFor(t, account, principal)
}

// signingKey returns the key that a token says it is signed with. If the region
// does not know it, the issuer may have a new one: that is asked for.
func (a *Authenticator) signingKey(t *transcript, p *proof, i *issuer, header jose.Header, now time.Time) (*jose.JSONWebKey, error) {
	keys, err := loadParsed(t, record.IssuerKeysKey(i.Account, i.Name), parseIssuerKeys)
	if err != nil {
		return nil, err
	}
	lacking := func() (*jose.JSONWebKey, error) {
		e := badJWT("is signed with a key of its issuer that is not known here")
		if i.Source != secret.KeysStatic && a.lacksKey != nil {
			a.lacksKey(i.Account, i.Name)
			e = e.WithHint("if the issuer has a new key, try again in a few seconds")
		}
		return nil, e
	}
	if keys == nil || keys.Issuer != i.ID {
		return lacking()
	}
	if i.Source != secret.KeysStatic {
		until := keys.FetchedAt.Add(i.MaxKeyAge)
		if !now.Before(until) {
			_, _ = lacking()
			return nil, badJWT("cannot be checked: the keys of its issuer were last fetched at %s", keys.FetchedAt.UTC().Format(time.RFC3339)).
				WithHint("the issuer does not answer: lifeboat issuer show tells why")
		}
		p.narrow(time.Time{}, until)
	}
	for n := range keys.set.Keys {
		key := &keys.set.Keys[n]
		named := key.KeyID == header.KeyID && header.KeyID != "" || header.KeyID == "" && len(keys.set.Keys) == 1
		if named && (key.Algorithm == "" || key.Algorithm == header.Algorithm) {
			return key, nil
		}
	}
	return lacking()
}

// valid checks what a token says of itself, and narrows the proof to the time for
// which it is valid.
func (i *issuer) valid(p *proof, c *jwt.Claims, now time.Time) error {
	if c.Issuer != i.URL {
		return badJWT("is of another issuer")
	}
	if !slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(i.Audiences, a) }) {
		return badJWT("is not meant for this audience").WithHint("ask the issuer for one of the audiences that the account accepts")
	}
	if c.Expiry == nil {
		return badJWT("never expires; that is not accepted")
	}
	expires, begins := c.Expiry.Time(), time.Time{}
	for _, at := range []*jwt.NumericDate{c.NotBefore, c.IssuedAt} {
		if at != nil && at.Time().After(begins) {
			begins = at.Time()
		}
	}
	switch {
	case begins.IsZero():
		return badJWT("does not say since when it is valid")
	case !now.Before(expires.Add(i.Leeway)):
		return badJWT("expired at %s", expires.UTC().Format(time.RFC3339))
	case now.Add(i.Leeway).Before(begins):
		return badJWT("is not valid before %s", begins.UTC().Format(time.RFC3339))
	case expires.Sub(begins) > i.MaxLifetime:
		return badJWT("is valid for %s; the account accepts %s", expires.Sub(begins), i.MaxLifetime)
	}
	p.narrow(begins.Add(-i.Leeway), expires.Add(i.Leeway))
	return nil
}

// principalOf returns the one principal that the rules map the claims to, and the
// number of a rule that does.
func (i *issuer) principalOf(t *transcript, c *claims) (id secret.PrincipalID, rule int, err error) {
	for n := range i.Rules {
		if !ruleMatches(&i.Rules[n], c.all) {
			continue
		}
		mapped := i.Rules[n].Principal
		if mapped == "" {
			if mapped, err = i.fromTemplate(t, i.templates[n], c.all); err != nil {
				return "", 0, err
			}
		}
		switch {
		case mapped == "" || mapped == id:
		case id != "":
			return "", 0, ambiguous()
		default:
			id, rule = mapped, n
		}
	}
	if id == "" {
		return "", 0, badJWT("has claims that no rule of the account maps to a principal")
	}
	return id, rule, nil
}

// fromTemplate returns the principal whose name a template makes of the claims,
// empty if there is none.
func (i *issuer) fromTemplate(t *transcript, template []secret.TemplatePart, all map[string]any) (secret.PrincipalID, error) {
	name, ok := expand(template, all)
	if !ok {
		return "", nil
	}
	stored, ok, err := t.Get(record.PrincipalNameKey(i.Account, name))
	if err != nil || !ok {
		return "", err
	}
	id, err := record.DecodeReference(stored.Value)
	return secret.PrincipalID(id), err
}

// expand makes a name of a template. A claim may not contain the text that
// follows it, so that no two sets of claims make the same name.
func expand(template []secret.TemplatePart, all map[string]any) (string, bool) {
	var name strings.Builder
	for n, part := range template {
		if part.Claim == "" {
			name.WriteString(part.Literal)
			continue
		}
		value, ok := claim(all, part.Claim).(string)
		if !ok || value == "" || n+1 < len(template) && strings.Contains(value, template[n+1].Literal) {
			return "", false
		}
		name.WriteString(value)
	}
	return name.String(), secret.CheckContainerName("", name.String()) == nil
}

func ruleMatches(r *secret.MappingRule, all map[string]any) bool {
	for name, want := range r.Claims {
		if !claimMatches(want, claim(all, name)) {
			return false
		}
	}
	return true
}

// claim returns the claim of a name, or, if that begins with a slash, at the end
// of a path of names in which ~1 is a slash and ~0 a tilde.
func claim(all map[string]any, name string) any {
	path, ok := strings.CutPrefix(name, "/")
	if !ok {
		return all[name]
	}
	var at any = all
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	for segment := range strings.SplitSeq(path, "/") {
		object, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = object[unescape.Replace(segment)]
	}
	return at
}

func claimMatches(want string, got any) bool {
	switch got := got.(type) {
	case string:
		if prefix, ok := strings.CutSuffix(want, "*"); ok {
			return strings.HasPrefix(got, prefix)
		}
		return got == want
	case bool:
		return strconv.FormatBool(got) == want
	case float64:
		return strconv.FormatFloat(got, 'f', -1, 64) == want
	case []any:
		return slices.ContainsFunc(got, func(element any) bool {
			_, nested := element.([]any)
			return !nested && claimMatches(want, element)
		})
	}
	return false
}
