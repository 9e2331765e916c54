package secret

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Limits on what an account trusts of an issuer.
const (
	// MaxIssuerRules bounds the mapping rules of an issuer, MaxRuleClaims the
	// conditions of one.
	MaxIssuerRules = 100
	MaxRuleClaims  = 16
	// MaxAudiences bounds the audiences of an issuer.
	MaxAudiences = 20
	// MaxClaimBytes bounds the name of a claim, a value that a rule asks for, an
	// audience and the URL of an issuer.
	MaxClaimBytes = 512
	// MaxKeySetBytes bounds the keys of an issuer as JSON.
	MaxKeySetBytes = 64 << 10

	// MaxLeeway bounds by how much the clocks of issuers may differ.
	MaxLeeway     = 5 * time.Minute
	DefaultLeeway = 30 * time.Second
	// MaxJWTLifetime bounds how long a token may be valid from its beginning.
	MaxJWTLifetime     = 7 * 24 * time.Hour
	DefaultJWTLifetime = 24 * time.Hour
	// MinKeyRefresh and MaxKeyAge bound how often keys are fetched and how old they
	// may be.
	MinKeyRefresh     = time.Minute
	DefaultKeyRefresh = 15 * time.Minute
	MaxKeyAge         = 30 * 24 * time.Hour
	DefaultKeyAge     = 24 * time.Hour
)

// IssuerID names an issuer: a ULID, new each time one of its name is made.
type IssuerID string

// KeySource says where an issuer's keys come from.
type KeySource string

// The sources of keys.
const (
	KeysByDiscovery KeySource = "DISCOVERY" // the issuer's OpenID configuration names them
	KeysByURL       KeySource = "JWKS_URL"  // a URL of their own
	KeysStatic      KeySource = "STATIC"    // given by who manages the account, and never fetched
)

// Issuer is one whose signed JSON Web Tokens prove who calls.
type Issuer struct {
	ID          IssuerID
	Account     AccountID
	Name        string
	Description string
	// URL is what the claim iss must be.
	URL string
	// Audiences are accepted values of the claim aud; one must be in it.
	Audiences []string
	// Algorithms are the accepted signature algorithms.
	Algorithms []string
	Rules      []MappingRule
	Source     KeySource
	// KeysURL is that of KeysByURL.
	KeysURL string
	// CAPEM are the authorities to trust when keys are fetched; empty means those
	// of the system.
	CAPEM string
	// Leeway allows for clocks that differ.
	Leeway time.Duration
	// MaxLifetime bounds how long a token may be valid.
	MaxLifetime time.Duration
	// RefreshEvery is how often keys are fetched, MaxKeyAge how old the last ones
	// that were may be.
	RefreshEvery time.Duration
	MaxKeyAge    time.Duration
	Ownership    Ownership
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// MappingRule says which principal a token stands for if it has all the claims.
type MappingRule struct {
	// Claims are what the token must say. A name is that of a claim, or, beginning
	// with a slash, a path of names. A value matches the claim, or an element of
	// it if that is a list; with a * at its end it matches what begins so.
	Claims map[string]string
	// Principal is the one it stands for, or empty.
	Principal PrincipalID
	// Template makes the principal's name out of claims, {NAME}, if Principal is
	// empty.
	Template string
}

// Digest identifies a rule by what it says.
func (r *MappingRule) Digest() [16]byte {
	h := sha256.New()
	add := func(s string) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		_, _ = h.Write([]byte(s))
	}
	add(string(r.Principal))
	add(r.Template)
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		add(name)
		add(r.Claims[name])
	}
	return [16]byte(h.Sum(nil)[:16])
}

// IssuerKeys are the public keys of an issuer, as they were last given or
// fetched.
type IssuerKeys struct {
	Account AccountID
	// Name and Issuer are those of the issuer.
	Name   string
	Issuer IssuerID
	// Set is a JSON Web Key Set of public keys; empty if none was fetched yet.
	Set []byte
	// FetchedAt is when they were last given or fetched; they need not have changed.
	FetchedAt time.Time
	// LastError says why the last attempt failed, since FailedAt; empty if it did
	// not.
	LastError string
	FailedAt  time.Time
	Ownership Ownership
}

// Clone returns a deep copy.
func (k *IssuerKeys) Clone() *IssuerKeys {
	c := *k
	c.Set = slices.Clone(k.Set)
	c.Ownership = k.Ownership.clone()
	return &c
}

// SignatureAlgorithms are those that an issuer may use. There is none with a
// shared key, and not the one that signs nothing.
func SignatureAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// DefaultAlgorithms are accepted of an issuer unless it is told otherwise.
func DefaultAlgorithms() []string { return []string{"RS256", "ES256"} }

// SetDefaults fills what was left out.
func (i *Issuer) SetDefaults() {
	if len(i.Algorithms) == 0 {
		i.Algorithms = DefaultAlgorithms()
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&i.Leeway, DefaultLeeway}, {&i.MaxLifetime, DefaultJWTLifetime}, {&i.RefreshEvery, DefaultKeyRefresh}, {&i.MaxKeyAge, DefaultKeyAge},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Check returns a CodeInvalid error that names the first field that is wrong.
func (i *Issuer) Check() error {
	if err := CheckIssuerURL("url", i.URL); err != nil {
		return err
	}
	if err := i.checkLists(); err != nil {
		return err
	}
	switch i.Source {
	case KeysByDiscovery, KeysStatic:
		if i.KeysURL != "" {
			return Invalid("jwks_url", "is given beside another source of keys")
		}
	case KeysByURL:
		if err := CheckIssuerURL("jwks_url", i.KeysURL); err != nil {
			return err
		}
	default:
		return Invalid("key_source", "must be DISCOVERY, JWKS_URL or STATIC")
	}
	if i.CAPEM != "" {
		if _, err := Authorities("ca_pem", i.CAPEM); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		field           string
		value           time.Duration
		lowest, highest time.Duration
	}{
		{"leeway", i.Leeway, 0, MaxLeeway}, {"max_lifetime", i.MaxLifetime, time.Minute, MaxJWTLifetime},
		{"refresh_every", i.RefreshEvery, MinKeyRefresh, MaxKeyAge}, {"max_key_age", i.MaxKeyAge, i.RefreshEvery, MaxKeyAge},
	} {
		if d.value < d.lowest || d.value > d.highest {
			return Invalid(d.field, "is %s; allowed are %s to %s", d.value, d.lowest, d.highest)
		}
	}
	return CheckText("description", i.Description, MaxDescriptionBytes)
}

func (i *Issuer) checkLists() error {
	if n := len(i.Audiences); n == 0 || n > MaxAudiences {
		return Invalid("audiences", "has %d entries; allowed are 1 to %d", n, MaxAudiences)
	}
	for _, a := range i.Audiences {
		if err := checkClaimText("audiences", a); err != nil {
			return err
		}
	}
	if len(i.Algorithms) > len(SignatureAlgorithms()) {
		return Invalid("algorithms", "has %d entries", len(i.Algorithms))
	}
	for _, a := range i.Algorithms {
		if !slices.Contains(SignatureAlgorithms(), a) {
			return Invalid("algorithms", "has %q; allowed are %s", clipped(a), strings.Join(SignatureAlgorithms(), ", "))
		}
	}
	if n := len(i.Rules); n == 0 || n > MaxIssuerRules {
		return Invalid("rules", "has %d entries; allowed are 1 to %d", n, MaxIssuerRules)
	}
	for n := range i.Rules {
		if err := i.Rules[n].check(); err != nil {
			return err
		}
	}
	return nil
}

func checkClaimText(field, s string) error {
	if s == "" {
		return Invalid(field, "has an empty entry")
	}
	return CheckText(field, s, MaxClaimBytes)
}

func (r *MappingRule) check() error {
	if n := len(r.Claims); n == 0 && r.Template == "" || n > MaxRuleClaims {
		return Invalid("rules", "has a rule with %d claims; allowed are 1 to %d", n, MaxRuleClaims)
	}
	for name, value := range r.Claims {
		if err := checkClaimText("rules", name); err != nil {
			return err
		}
		if err := checkClaimText("rules", value); err != nil {
			return err
		}
		if value == "*" && r.Principal != "" && len(r.Claims) == 1 {
			return Invalid("rules", "has a rule that matches every token with the claim %s", clipped(name)).
				WithHint("ask for something that only the intended callers have")
		}
	}
	if (r.Principal == "") == (r.Template == "") {
		return Invalid("rules", "has a rule with both or neither of a principal and a template")
	}
	if r.Template == "" {
		return nil
	}
	_, err := ParseTemplate(r.Template)
	return err
}

// CheckIssuerURL checks the URL of an issuer or of its keys: https, with a host,
// without user, query and fragment.
func CheckIssuerURL(field, s string) error {
	if len(s) > MaxClaimBytes {
		return Invalid(field, "is %d bytes long; the limit is %d", len(s), MaxClaimBytes)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" ||
		strings.ContainsAny(s, "|# \t\r\n") {
		return Invalid(field, "must be a URL like https://issuer.example, without user, query and fragment")
	}
	return nil
}

// TemplatePart is a literal, or a claim's name.
type TemplatePart struct {
	Literal, Claim string
}

// ParseTemplate splits a template like k8s.{/kubernetes.io/namespace}.{sub}. It
// must begin with a literal, so that claims alone cannot name any principal, and
// have one between two claims, so that different claims make different names.
// Errors: CodeInvalid.
func ParseTemplate(template string) ([]TemplatePart, error) {
	bad := func(format string, args ...any) ([]TemplatePart, error) {
		return nil, Invalid("rules", "has the template %q, "+format, append([]any{clipped(template)}, args...)...)
	}
	if len(template) > MaxContainerNameBytes {
		return bad("which is longer than %d bytes", MaxContainerNameBytes)
	}
	var parts []TemplatePart
	claims := 0
	for rest := template; rest != ""; {
		literal, after, found := strings.Cut(rest, "{")
		if literal != "" {
			if err := checkChars("rules", literal, MaxContainerNameBytes, containerChars, "letters, digits and _.- in a template, beside {CLAIM}"); err != nil {
				return nil, err
			}
			parts = append(parts, TemplatePart{Literal: literal})
		} else if found {
			return bad("which must have text before each claim")
		}
		if !found {
			break
		}
		claim, tail, closed := strings.Cut(after, "}")
		if !closed || claim == "" || strings.Contains(claim, "{") {
			return bad("in which a claim is not closed or has no name")
		}
		parts = append(parts, TemplatePart{Claim: claim})
		claims++
		rest = tail
	}
	if claims == 0 {
		return bad("which has no claim")
	}
	return parts, nil
}
