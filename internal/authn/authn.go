package authn

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// How a caller proved who it is, for the audit log and as context.method in
// policies.
const (
	MethodToken       = "token"       // a bearer token
	MethodSignature   = "signature"   // a request signed with an access key
	MethodCertificate = "certificate" // a client certificate
	MethodJWT         = "jwt"         // a JSON Web Token of a trusted issuer
	MethodExchange    = "exchange"    // a short-lived token that was given for one of the others
)

// DefaultCacheEntries is how many credentials an Authenticator keeps decoded
// unless told otherwise; an entry takes 1 to 2 KiB.
const DefaultCacheEntries = 16 << 10

// Caller is who makes a request.
type Caller struct {
	// Principal is shared between requests and must not be changed.
	Principal *secret.Principal
	// Credential is the ID of the stored record that the proof rests on: of the
	// credential, of the binding of a certificate, or of the issuer of a JWT.
	Credential secret.CredentialID
	// Account is that of the principal.
	Account secret.AccountID
	// Method is one of the constants.
	Method string
	// Proof tells one proof from others that rest on the same record: the
	// fingerprint of a certificate, subject and ID of a JWT, the ID of an exchanged
	// token. The subject is whatever the issuer put there.
	Proof string
	// Until is when what was presented ends; zero means never.
	Until time.Time
	// BreakGlass is set if the credential was accepted only because break-glass
	// is on: the host has been cut off for longer than MaxAge. It is audited.
	BreakGlass bool

	origin origin
}

// Options of an Authenticator.
type Options struct {
	// MaxAge is how long a host that cannot hear of revocations goes on
	// accepting credentials by its copy; 0 means for ever. The configuration's
	// default is 24 h.
	MaxAge time.Duration
	// Age returns how long ago the host was last known to be in sync, by a clock
	// that nobody sets. Required if MaxAge is not 0.
	Age func() time.Duration
	// BreakGlass reports whether an operator has suspended MaxAge; nil means no.
	BreakGlass func() bool
	// Digest makes and checks exchanged tokens; nil means that there are none.
	Digest Digest
	// LacksKey is told of an issuer that may have a key that the view lacks; it must
	// not block. Callers that prove nothing can cause it.
	LacksKey func(account secret.AccountID, issuer string)
	// CacheEntries bounds the cache of credentials and that of other proofs; 0 means
	// DefaultCacheEntries.
	CacheEntries int
}

// Authenticator checks credentials against the records of a view. It is safe
// for concurrent use.
type Authenticator struct {
	maxAge     time.Duration
	age        func() time.Duration
	breakGlass func() bool
	digest     Digest
	lacksKey   func(secret.AccountID, string)
	cache      *cache[secret.CredentialID, entry, *entry]
	proofs     *cache[[sha256.Size]byte, proof, *proof]
	parsed     parsedRecords

	hits, misses atomic.Uint64
}

// Counts returns how many checks found a credential decoded, and how many had to
// decode it.
func (a *Authenticator) Counts() (hits, misses uint64) { return a.hits.Load(), a.misses.Load() }

// New returns an Authenticator. It returns a CodeInvalid error for a negative
// MaxAge, and for a MaxAge without Age.
func New(o Options) (*Authenticator, error) {
	switch {
	case o.MaxAge < 0:
		return nil, secret.Invalid("max_age", "is %s; it must not be negative", o.MaxAge)
	case o.MaxAge > 0 && o.Age == nil:
		return nil, secret.Invalid("age", "is required with a maximum age of %s", o.MaxAge)
	case o.CacheEntries < 0:
		return nil, secret.Invalid("cache_entries", "is %d; it must not be negative", o.CacheEntries)
	}
	if o.CacheEntries == 0 {
		o.CacheEntries = DefaultCacheEntries
	}
	return &Authenticator{
		maxAge: o.MaxAge, age: o.Age, breakGlass: o.BreakGlass, digest: o.Digest, lacksKey: o.LacksKey,
		cache:  newCache[secret.CredentialID, entry](o.CacheEntries),
		proofs: newCache[[sha256.Size]byte, proof](o.CacheEntries / 4),
	}, nil
}

// Bearer returns who presents a bearer token. Errors: CodeUnauthenticated, with
// one message for an unknown ID and a wrong secret half, so that it does not
// tell which IDs exist; CodeUnavailable past MaxAge; those of the view.
func (a *Authenticator) Bearer(view record.View, token string, now time.Time) (Caller, error) {
	id, half, ok := parseToken(token)
	if !ok {
		return Caller{}, secret.Errorf(secret.CodeUnauthenticated, "the token is malformed").
			WithHint("a token begins with lbt_ and has 81 characters; check that it was copied whole")
	}
	e, state, err := a.load(view, id)
	if err != nil {
		return Caller{}, err
	}
	// An unknown ID is hashed and compared like a known one.
	var want [sha256.Size]byte
	known := e != nil && e.credential.Kind == secret.Token && len(e.credential.TokenHash) == len(want)
	if known {
		copy(want[:], e.credential.TokenHash)
	}
	got := hash(half)
	if equal := subtle.ConstantTimeCompare(got[:], want[:]) == 1; !equal || !known {
		return Caller{}, refused()
	}
	return a.admit(view, e, state, now, MethodToken)
}

// Signature returns who signed a request with the access key id. It calls prove
// with the access key's record, which must not be changed: prove opens the
// sealed key, checks the signature in constant time and returns nil only if it
// is right. Errors: those of prove; CodeUnauthenticated if there is no such
// access key; else as Bearer. The ID of an access key is sent in clear and is no
// secret, so prove is not called for an unknown one.
func (a *Authenticator) Signature(
	view record.View, id secret.CredentialID, now time.Time, prove func(*secret.Credential) error,
) (Caller, error) {
	if !IsAccessKey(string(id)) {
		return Caller{}, refused()
	}
	e, state, err := a.load(view, id)
	if err != nil {
		return Caller{}, err
	}
	if e == nil || e.credential.Kind != secret.AccessKey {
		return Caller{}, refused()
	}
	if err := prove(e.credential); err != nil {
		return Caller{}, err
	}
	return a.admit(view, e, state, now, MethodSignature)
}

// hash returns what is stored of a token's secret half.
func hash(half string) [sha256.Size]byte {
	var b [secretLength]byte // on the stack, unlike a converted string
	copy(b[:], half)
	return sha256.Sum256(b[:])
}

func refused() error {
	return secret.Errorf(secret.CodeUnauthenticated, "the credential is not valid")
}

// knowledge is what is known of an entry.
type knowledge int

const (
	// bare: the entry has no principal.
	bare knowledge = iota
	// older: it has one, which is to be compared with the view's.
	older
	// present: it is what the view holds.
	present
)

// load returns the credential, nil if there is none, and what is known of it.
func (a *Authenticator) load(view record.View, id secret.CredentialID) (*entry, knowledge, error) {
	e := a.cache.get(id)
	var key record.Key
	if e != nil {
		key = e.credentialKey
	} else {
		key = record.CredentialKey(id)
	}
	if m, ok := view.(record.Memory); ok {
		if e, ok := m.Recall(key).(*entry); ok {
			a.hits.Add(1)
			p, ok := m.Recall(e.principalKey).(*decodedPrincipal)
			if !ok {
				return e, older, nil
			}
			if p != e.decodedPrincipal { // decoded for another credential
				full := *e
				full.decodedPrincipal = p
				e = &full
				m.Keep(key, e)
			}
			return e, present, nil
		}
	}
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return nil, bare, err
	}
	if e != nil && bytes.Equal(stored.Value, e.credentialValue) {
		a.hits.Add(1)
		return e, older, nil
	}
	a.misses.Add(1)
	c, err := record.Credentials.Decode(stored.Value)
	if err != nil {
		return nil, bare, secret.Wrap(secret.CodeOf(err), err, "record "+string(key))
	}
	if c.ID != id {
		return nil, bare, secret.Errorf(secret.CodeCorrupt, "record %s holds credential %s", key, c.ID)
	}
	return &entry{credential: c, credentialKey: key, credentialValue: bytes.Clone(stored.Value)}, bare, nil
}

// admit decides whether a credential that was proven works now.
func (a *Authenticator) admit(view record.View, e *entry, state knowledge, now time.Time, method string) (Caller, error) {
	if err := e.credential.Usable(now); err != nil {
		return Caller{}, err
	}
	if state != present {
		var err error
		if e, err = a.withPrincipal(view, e, state == older); err != nil {
			return Caller{}, err
		}
		if m, ok := view.(record.Memory); ok {
			m.Keep(e.credentialKey, e)
			m.Keep(e.principalKey, e.decodedPrincipal)
		}
	}
	if e.principal.Disabled {
		return Caller{}, secret.Errorf(secret.CodeUnauthenticated, "the principal is disabled")
	}
	breakGlass, err := a.confirmed(view)
	if err != nil {
		return Caller{}, err
	}
	return Caller{
		Principal: e.principal, Credential: e.credential.ID, Account: e.principal.Account, Method: method, BreakGlass: breakGlass,
		Until: e.credential.ExpiresAt, origin: origin{kind: originCredential, name: string(e.credential.ID)},
	}, nil
}

// withPrincipal returns an entry with the principal that the view holds.
func (a *Authenticator) withPrincipal(view record.View, e *entry, cached bool) (*entry, error) {
	var key record.Key
	if cached {
		key = e.principalKey
	} else {
		key = record.PrincipalKey(e.credential.Account, e.credential.Principal)
	}
	stored, ok, err := view.Get(key)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, secret.Errorf(secret.CodeUnauthenticated, "the principal was deleted")
	case cached && bytes.Equal(stored.Value, e.principalValue):
		return e, nil
	}
	p, err := record.Principals.Decode(stored.Value)
	if err != nil {
		return nil, secret.Wrap(secret.CodeOf(err), err, "record "+string(key))
	}
	if p.ID != e.credential.Principal || p.Account != e.credential.Account {
		return nil, secret.Errorf(secret.CodeCorrupt, "record %s holds principal %s of account %s", key, p.ID, p.Account)
	}
	full := *e
	full.decodedPrincipal = &decodedPrincipal{principal: p, principalKey: key, principalValue: bytes.Clone(stored.Value)}
	a.cache.put(&full)
	return &full, nil
}

// linearizable is a view whose reads see what was committed before them: MaxAge,
// which bounds how old a copy may be, does not concern it.
type linearizable interface{ Linearizable() }

// confirmed reports whether credentials are recent enough to be trusted, and
// whether only break-glass makes them so.
func (a *Authenticator) confirmed(view record.View) (breakGlass bool, err error) {
	if _, ok := view.(linearizable); ok || a.maxAge == 0 {
		return false, nil
	}
	age := a.age()
	switch {
	case age <= a.maxAge:
		return false, nil
	case a.breakGlass != nil && a.breakGlass():
		return true, nil
	}
	return false, secret.Errorf(secret.CodeUnavailable,
		"credentials have not been confirmed for %s; this host accepts them for %s", age.Round(time.Second), a.maxAge).
		WithHint("ask another host, or let an operator switch break-glass on")
}

// Changed drops what the caches hold of changed records. Correctness does not
// depend on it: it frees the memory of what was revoked, deleted or replaced. It
// is cheap, and may be called before or after the commit.
func (a *Authenticator) Changed(changes []record.Change) {
	for _, c := range changes {
		if id, ok := strings.CutPrefix(string(c.Key), record.CredentialPrefix); ok {
			a.cache.remove(secret.CredentialID(id))
		}
		if c.Key.HasPrefix(record.TrustPrefix) || c.Key.HasPrefix(record.IssuerPrefix) || c.Key.HasPrefix(record.IssuerKeysPrefix) {
			a.parsed.remove(c.Key)
		}
	}
}
