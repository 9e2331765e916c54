package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Presented is what a request shows of who calls. A bearer token counts before a
// certificate.
type Presented struct {
	// Bearer is the token of the Authorization header, empty if there is none.
	Bearer string
	// Chain is the client's certificate, the key of which it was shown to hold, and
	// what may link it to an authority.
	Chain []*x509.Certificate
	// Account, an ID or a name, is the one whose principal the caller claims to be;
	// empty if it does not say.
	Account string
}

// Present returns who presents what. Errors: those of Bearer; CodeUnauthenticated
// for a certificate or token that stands for no principal or for several; those
// of Options.Digest.
func (a *Authenticator) Present(ctx context.Context, view record.View, p Presented, now time.Time) (Caller, error) {
	var method string
	switch {
	case strings.HasPrefix(p.Bearer, exchangedPrefix):
		method = MethodExchange
	case isJWT(p.Bearer):
		method = MethodJWT
	case p.Bearer != "":
		return a.Bearer(view, p.Bearer, now)
	case len(p.Chain) > 0:
		method = MethodCertificate
	default:
		return Caller{}, secret.Errorf(secret.CodeUnauthenticated, "the request carries no credential").
			WithHint("send the header Authorization: Bearer TOKEN, or connect with a client certificate")
	}
	return a.proven(ctx, view, p, method, now)
}

// proof is who presented something, and how long and over which views that
// follows. It is never changed once it is in the cache.
type proof struct {
	digest [sha256.Size]byte // of what was presented
	reads  []noted
	caller Caller
	// from and until bound the times for which it was judged.
	from, until time.Time
}

func (p *proof) cacheKey() [sha256.Size]byte { return p.digest }

// narrow keeps the proof within a time.
func (p *proof) narrow(from, until time.Time) {
	if from.After(p.from) {
		p.from = from
	}
	if !until.IsZero() && (p.until.IsZero() || until.Before(p.until)) {
		p.until = until
	}
}

func (p *proof) covers(now time.Time) bool {
	return !now.Before(p.from) && (p.until.IsZero() || now.Before(p.until))
}

// proven returns who presents something, from the cache if all that it was judged
// by is in the view as it was.
func (a *Authenticator) proven(ctx context.Context, view record.View, p Presented, method string, now time.Time) (Caller, error) {
	digest := p.digest(method)
	known := a.proofs.get(digest)
	if known != nil {
		holds, err := same(view, known.reads)
		if err != nil {
			return Caller{}, err
		}
		if !holds || !known.covers(now) {
			known = nil
		}
	}
	if known == nil {
		var err error
		if known, err = a.prove(ctx, view, p, method, now); err != nil {
			return Caller{}, err
		}
		known.digest = digest
		a.proofs.put(known)
	}
	breakGlass, err := a.confirmed(view)
	if err != nil {
		return Caller{}, err
	}
	caller := known.caller
	caller.BreakGlass = breakGlass
	return caller, nil
}

func (p *Presented) digest(method string) [sha256.Size]byte {
	h := sha256.New()
	add := func(b []byte) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		_, _ = h.Write(b)
	}
	add([]byte(method))
	add([]byte(p.Account))
	if method != MethodCertificate {
		add([]byte(p.Bearer))
		return [sha256.Size]byte(h.Sum(nil))
	}
	for _, c := range p.Chain {
		add(c.Raw)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// prove judges what is presented by the records of the view.
func (a *Authenticator) prove(ctx context.Context, view record.View, p Presented, method string, now time.Time) (*proof, error) {
	t := &transcript{view: view, parsed: &a.parsed}
	account, err := namedAccount(t, p.Account)
	if err != nil {
		return nil, err
	}
	made := &proof{}
	switch method {
	case MethodExchange:
		err = a.proveExchanged(ctx, t, made, p.Bearer, account, now)
	case MethodJWT:
		err = a.proveJWT(t, made, p.Bearer, account, now)
	default:
		err = proveCertificate(t, made, p.Chain, account, now)
	}
	if err != nil {
		return nil, err
	}
	made.reads = t.reads
	made.caller.Method, made.caller.Until = method, made.until
	return made, nil
}

// namedAccount returns the account that the caller names, empty if it names none.
func namedAccount(t *transcript, ref string) (secret.AccountID, error) {
	if ref == "" || secret.ValidULID(ref) {
		return secret.AccountID(ref), nil
	}
	if secret.CheckContainerName("account", ref) != nil {
		return "", refused()
	}
	stored, ok, err := t.Get(record.AccountNameKey(ref))
	if err != nil {
		return "", err
	}
	if !ok {
		return "", refused()
	}
	id, err := record.DecodeReference(stored.Value)
	return secret.AccountID(id), err
}

// indexed visits the index entries of a name in all accounts, or in the given one.
func indexed(t *transcript, key func(secret.AccountID) record.Key, account secret.AccountID, visit func(account secret.AccountID, ref string) error) error {
	if account != "" {
		stored, ok, err := t.Get(key(account))
		if err != nil || !ok {
			return err
		}
		return visitIndexed(stored, account, visit)
	}
	prefix := string(key(""))
	var visitErr error
	err := t.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		visitErr = visitIndexed(stored, secret.AccountID(stored.Key[len(prefix):]), visit)
		return visitErr == nil
	})
	return errors.Join(err, visitErr)
}

func visitIndexed(stored record.Stored, account secret.AccountID, visit func(secret.AccountID, string) error) error {
	ref, err := record.DecodeReference(stored.Value)
	if err != nil {
		return err
	}
	return visit(account, ref)
}

// standsFor completes a proof with its principal. Errors: CodeUnauthenticated if
// that does not exist or is disabled.
func (p *proof) standsFor(t *transcript, account secret.AccountID, id secret.PrincipalID) error {
	key := record.PrincipalKey(account, id)
	principal, _, err := record.Load(t, record.Principals, key)
	switch {
	case errors.Is(err, record.ErrNotFound):
		return secret.Errorf(secret.CodeUnauthenticated, "the principal was deleted")
	case err != nil:
		return err
	case principal.ID != id || principal.Account != account:
		return secret.Errorf(secret.CodeCorrupt, "record %s holds principal %s of account %s", key, principal.ID, principal.Account)
	case principal.Disabled:
		return secret.Errorf(secret.CodeUnauthenticated, "the principal is disabled")
	}
	p.caller.Principal, p.caller.Account = principal, account
	return nil
}

func ambiguous() error {
	return secret.Errorf(secret.CodeUnauthenticated, "what was presented stands for several principals").
		WithHint("name the account with the header Lifeboat-Account; within one account, unbind all but one")
}
