// Package canary watches a region from outside, as its callers see it: it writes a
// value, reads it back through every address it is given, and says how long each
// took to show it and whether what it showed was right.
package canary

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// secretName is that of the one secret in a canary's vault; in another vault it
// gets a suffix.
const secretName = "canary"

// VaultPrefix begins the names of the vaults that canaries make.
const VaultPrefix = "lifeboat-canary-"

// Reader is a host to read through.
type Reader struct {
	// Host names it in reports.
	Host   string
	Client *client.Client
}

// Options of a Canary. Writer and Readers are required.
type Options struct {
	Writer  *client.Client
	Readers []Reader
	// Vault is one that exists; empty means one of the canary's own, which Close
	// removes.
	Vault string
	// Within bounds how long a host may take to show a value, and then to show it to who
	// has the revision token; default 5 s.
	Within time.Duration
}

// Canary is one that has its secret. Its methods are not for concurrent use.
type Canary struct {
	Options
	secret string
	round  uint64
	// ownVault and ownSecret are set if there may be such to remove.
	ownVault, ownSecret bool

	// allowed are the values that reads may answer: the last one acknowledged,
	// and those since of which it is not known whether they were committed.
	allowed []string
	// token is the revision token of the last one acknowledged.
	token string
	// written are the last values, of which a host that is late shows one.
	written []string
	// seen is the newest version that each host has shown.
	seen map[string]uint64
}

// Open makes the canary's vault, unless it is given one, and its secret. Close it
// after use, also if Open fails. Errors: those of the client.
func Open(ctx context.Context, o Options) (*Canary, error) {
	if o.Within <= 0 {
		o.Within = 5 * time.Second
	}
	id := ulid.Make().String()
	c := &Canary{Options: o, secret: secretName, seen: map[string]uint64{}}
	if o.Vault == "" {
		c.Vault = VaultPrefix + id
		_, err := c.Writer.CreateVault(ctx, &lifeboatv1.CreateVaultRequest{Name: c.Vault})
		if c.ownVault = err == nil || client.MayBeDone(err); err != nil {
			return c, err
		}
	} else {
		c.secret = "lifeboat-canary/" + id
	}
	value := newValue(0)
	made, err := c.Writer.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{
		Vault: c.Vault, Name: c.secret, Value: []byte(value), Retention: &lifeboatv1.Retention{MaxVersions: 2},
		Wait: lifeboatv1.Wait_WAIT_CLEARED, // a secret that a host does not know yet is no fault of the host
	})
	if c.ownSecret = err == nil || client.MayBeDone(err); err != nil {
		return c, err
	}
	c.allowed, c.token = []string{value}, made.GetRevisionToken()
	c.remember(value)
	return c, nil
}

// mostWritten bounds the values that are remembered.
const mostWritten = 1000

func (c *Canary) remember(value string) {
	if c.written = append(c.written, value); len(c.written) > mostWritten {
		c.written = slices.Delete(c.written, 0, 1)
	}
}

// Close removes what the canary made, for good.
func (c *Canary) Close(ctx context.Context) error {
	var errs []error
	if c.ownSecret {
		_, err := c.Writer.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{Vault: c.Vault, Secret: c.secret, Immediate: true})
		if err != nil && client.CodeOf(err) != client.CodeNotFound {
			errs = append(errs, fmt.Errorf("secret %s of vault %s is left: %w", c.secret, c.Vault, err))
		}
	}
	if c.ownVault {
		_, err := c.Writer.DeleteVault(ctx, &lifeboatv1.DeleteVaultRequest{Vault: c.Vault})
		if err != nil && client.CodeOf(err) != client.CodeNotFound {
			errs = append(errs, fmt.Errorf("vault %s is left: %w", c.Vault, err))
		}
	}
	return errors.Join(errs...)
}

// newValue returns a value that was never there before. It is no secret.
func newValue(round uint64) string { return fmt.Sprintf("canary %d %s", round, rand.Text()) }

// Round writes a new value and reads it through every host. It takes at most the
// time that the clients allow a call, and Within twice.
func (c *Canary) Round(ctx context.Context) Round {
	c.round++
	r := Round{At: time.Now().UTC(), Round: c.round}
	r.Write = c.write(ctx)
	acknowledged := time.Now()
	results := make(chan Read, len(c.Readers))
	for _, reader := range c.Readers {
		go func() { results <- c.readThrough(ctx, reader, acknowledged) }()
	}
	for range c.Readers {
		r.Reads = append(r.Reads, <-results)
	}
	slices.SortFunc(r.Reads, func(a, b Read) int { return c.place(a.Host) - c.place(b.Host) })
	for _, read := range r.Reads {
		c.seen[read.Host] = max(c.seen[read.Host], read.version)
	}
	r.OK = r.Write.OK() && !slices.ContainsFunc(r.Reads, func(read Read) bool { return !read.OK() })
	return r
}

func (c *Canary) place(host string) int {
	return slices.IndexFunc(c.Readers, func(r Reader) bool { return r.Host == host })
}

func (c *Canary) write(ctx context.Context) (w Write) {
	value, began := newValue(c.round), time.Now()
	put, err := c.Writer.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: c.Vault, Secret: c.secret, Value: []byte(value)})
	w.Milliseconds = milliseconds(began)
	w.Result = resultOf(err)
	c.remember(value)
	if err != nil {
		// It may have been done all the same, or be done yet.
		c.allowed = append(c.allowed, value)
		return w
	}
	c.allowed, c.token = []string{value}, put.GetRevisionToken()
	return w
}

// readThrough waits until a host shows the value, and then asks it with the
// revision token.
func (c *Canary) readThrough(ctx context.Context, r Reader, acknowledged time.Time) Read {
	read := Read{Host: r.Host}
	within, cancel := context.WithTimeout(ctx, c.Within)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		got, err := c.get(within, r, "")
		if c.judge(&read, got, err) {
			read.VisibleMilliseconds = milliseconds(acknowledged)
			break
		}
		if !read.mayStillCome() {
			return read
		}
		select {
		case <-within.Done():
			return read
		case <-time.After(pause):
		}
	}
	ctx, cancel = context.WithTimeout(ctx, c.Within)
	defer cancel()
	began := time.Now()
	got, err := c.get(ctx, r, c.token)
	c.judge(&read, got, err)
	read.ReadMilliseconds = milliseconds(began)
	return read
}

func (c *Canary) get(ctx context.Context, r Reader, token string) (*lifeboatv1.GetSecretValueResponse, error) {
	return r.Client.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: c.Vault, Secret: c.secret, RevisionToken: token})
}

// judge notes what an answer means and reports whether it is right.
func (c *Canary) judge(read *Read, got *lifeboatv1.GetSecretValueResponse, err error) bool {
	if err != nil {
		read.Result = read.afterError(err)
		return false
	}
	read.AgeSeconds, read.FromStore = got.GetFreshness().GetAgeSeconds(), got.GetFreshness().GetFromStore()
	version := got.GetVersionNumber()
	switch {
	case version < max(read.version, c.seen[read.Host]):
		read.Result = WentBack
	case slices.Contains(c.allowed, string(got.GetValue())):
		read.Result = OK
	case slices.Contains(c.written, string(got.GetValue())):
		read.Result = Late
	default:
		read.Result = WrongValue
	}
	read.version = max(read.version, version)
	return read.Result == OK
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1e3 }
