package authn

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxParsedRecords bounds the trust bundles, issuers and key sets that are kept
// parsed. Each is at most 64 KiB stored.
const maxParsedRecords = 4096

// parsedRecords keeps what is costly to parse, by the key of its record. What is
// kept counts only for the very bytes that it was parsed from. Readers take no
// lock.
type parsedRecords struct {
	records sync.Map // record.Key → *parsedRecord
	kept    atomic.Int64
}

type parsedRecord struct {
	value  []byte
	parsed any
}

func (p *parsedRecords) put(key record.Key, r *parsedRecord) {
	if _, replaced := p.records.Swap(key, r); replaced {
		return
	}
	if p.kept.Add(1) > maxParsedRecords { // rare; what is in use comes back
		p.records.Clear()
		p.kept.Store(0)
	}
}

func (p *parsedRecords) remove(key record.Key) {
	if _, ok := p.records.LoadAndDelete(key); ok {
		p.kept.Add(-1)
	}
}

// loadParsed reads a record and parses it, unless it was parsed before; nil if
// there is none. All transcripts share the bytes of what is kept.
func loadParsed[T any](t *transcript, key record.Key, parse func([]byte) (*T, error)) (*T, error) {
	stored, ok, err := t.Get(key)
	if err != nil || !ok {
		return nil, err
	}
	if v, ok := t.parsed.records.Load(key); ok {
		if kept := v.(*parsedRecord); bytes.Equal(kept.value, stored.Value) {
			if parsed, ok := kept.parsed.(*T); ok {
				t.reads[len(t.reads)-1].found[0].value = kept.value
				return parsed, nil
			}
		}
	}
	parsed, err := parse(stored.Value)
	if err != nil {
		return nil, secret.Wrap(secret.CodeOf(err), err, "record "+string(key))
	}
	t.parsed.put(key, &parsedRecord{value: stored.Value, parsed: parsed})
	return parsed, nil
}

// trust is a bundle that certificates can be verified by.
type trust struct {
	pool    *x509.CertPool
	anchors map[secret.Fingerprint]bool
}

func parseTrust(value []byte) (*trust, error) {
	bundle, err := record.TrustBundles.Decode(value)
	if err != nil {
		return nil, err
	}
	authorities, err := secret.Authorities("ca_pem", bundle.CAPEM)
	if err != nil {
		return nil, secret.Wrap(secret.CodeCorrupt, err, "the trust bundle cannot be read")
	}
	t := &trust{pool: x509.NewCertPool(), anchors: map[secret.Fingerprint]bool{}}
	for _, cert := range authorities {
		t.pool.AddCert(cert)
		t.anchors[secret.FingerprintOf(cert)] = true
	}
	return t, nil
}

// issuer is an issuer with its rules prepared.
type issuer struct {
	*secret.Issuer
	templates [][]secret.TemplatePart // by rule
	digests   [][16]byte
}

func parseIssuer(value []byte) (*issuer, error) {
	i, err := record.Issuers.Decode(value)
	if err != nil {
		return nil, err
	}
	parsed := &issuer{Issuer: i, templates: make([][]secret.TemplatePart, len(i.Rules)), digests: make([][16]byte, len(i.Rules))}
	for n := range i.Rules {
		parsed.digests[n] = i.Rules[n].Digest()
		if i.Rules[n].Template == "" {
			continue
		}
		if parsed.templates[n], err = secret.ParseTemplate(i.Rules[n].Template); err != nil {
			return nil, secret.Wrap(secret.CodeCorrupt, err, "a rule of the issuer cannot be read")
		}
	}
	return parsed, nil
}

// issuerKeys are the keys of an issuer, ready to verify with.
type issuerKeys struct {
	*secret.IssuerKeys
	set jose.JSONWebKeySet
}

func parseIssuerKeys(value []byte) (*issuerKeys, error) {
	k, err := record.IssuerKeySets.Decode(value)
	if err != nil {
		return nil, err
	}
	parsed := &issuerKeys{IssuerKeys: k}
	if len(k.Set) == 0 {
		return parsed, nil
	}
	if err := json.Unmarshal(k.Set, &parsed.set); err != nil {
		return nil, secret.Wrap(secret.CodeCorrupt, err, "the keys of the issuer cannot be read")
	}
	return parsed, nil
}
