package pki

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// DefaultCheckInterval is how often, at most, files are looked at.
const DefaultCheckInterval = 10 * time.Second

// ReloaderOptions configure a reloader.
type ReloaderOptions struct {
	// CertFile and KeyFile are of the certificate to present; empty if there is
	// none.
	CertFile, KeyFile string
	// CAFile holds the authorities that sign peers; empty if there are none.
	CAFile string
	// Every is how long what was read is used without looking at the files;
	// default DefaultCheckInterval.
	Every time.Duration
	// OnError, if set, is called when files changed but cannot be used, at most
	// once for each error in a row. It must not block.
	OnError func(error)
	// Now defaults to time.Now.
	Now func() time.Time
}

// Reloader holds a certificate, its key and authorities, and reads them again
// in the course of a handshake when their files have changed. Files that cannot
// be used, such as a new certificate whose key is not yet written, are reported
// and tried again; until then the last good ones serve. It is safe for
// concurrent use and has no goroutine.
type Reloader struct {
	o       ReloaderOptions
	current atomic.Pointer[material]
	next    atomic.Int64 // Unix nanoseconds of the next look at the files

	mu      sync.Mutex // held while looking
	lastErr error
}

// material is what one reading of the files gave.
type material struct {
	cert   *tls.Certificate
	pool   *x509.CertPool
	ends   time.Time         // of the authorities, the last
	digest [sha256.Size]byte // of all files
}

// NewReloader reads the files for the first time. It returns
// secret.CodeInvalid if they cannot be used.
func NewReloader(o ReloaderOptions) (*Reloader, error) {
	if o.Every <= 0 {
		o.Every = DefaultCheckInterval
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Reloader{o: o}
	c, digest, err := r.contents()
	if err != nil {
		return nil, err
	}
	m, err := r.parse(c, digest)
	if err != nil {
		return nil, err
	}
	r.current.Store(m)
	r.next.Store(o.Now().Add(o.Every).UnixNano())
	return r, nil
}

// contents are those of the three files. They are compared as a whole: they are
// small, and times and inodes can be the same for different content.
type contents [3][]byte

func (r *Reloader) contents() (c contents, digest [sha256.Size]byte, err error) {
	h := sha256.New()
	for i, path := range []string{r.o.CertFile, r.o.KeyFile, r.o.CAFile} {
		if path == "" {
			continue
		}
		if c[i], err = os.ReadFile(path); err != nil {
			return c, digest, secret.Wrap(secret.CodeInvalid, err, "cannot read a file of the TLS configuration")
		}
		part := sha256.Sum256(c[i])
		h.Write(part[:])
	}
	h.Sum(digest[:0])
	return c, digest, nil
}

func (r *Reloader) parse(c contents, digest [sha256.Size]byte) (*material, error) {
	m := &material{digest: digest}
	var err error
	if r.o.CertFile != "" {
		if m.cert, err = parsePair(c[0], c[1], r.o.CertFile, r.o.KeyFile); err != nil {
			return nil, err
		}
	}
	if r.o.CAFile == "" {
		return m, nil
	}
	m.ends = lastEnd(c[2])
	m.pool, err = parsePool(c[2], r.o.CAFile)
	return m, err
}

// get returns what serves now, after a look at the files if one is due. Of
// concurrent callers one looks; the others do not wait for it.
func (r *Reloader) get() *material {
	now := r.o.Now()
	if now.UnixNano() < r.next.Load() || !r.mu.TryLock() {
		return r.current.Load()
	}
	defer r.mu.Unlock()
	r.next.Store(now.Add(r.o.Every).UnixNano())
	r.lookLocked()
	return r.current.Load()
}

func (r *Reloader) lookLocked() {
	c, digest, err := r.contents()
	if err == nil && digest == r.current.Load().digest {
		r.lastErr = nil
		return
	}
	var m *material
	if err == nil {
		m, err = r.parse(c, digest)
	}
	if err == nil {
		r.current.Store(m)
		r.lastErr = nil
		return
	}
	repeated := r.lastErr != nil && r.lastErr.Error() == err.Error()
	r.lastErr = err
	if r.o.OnError != nil && !repeated {
		r.o.OnError(err)
	}
}

// Err looks at the files and returns why they cannot be used, nil if they can.
func (r *Reloader) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookLocked()
	return r.lastErr
}

// NotAfter returns when the certificate that serves now expires, after a look
// at the files if one is due.
func (r *Reloader) NotAfter() time.Time { return r.get().cert.Leaf.NotAfter }

// AuthoritiesNotAfter returns when the last of the authorities expires; zero if
// there are none.
func (r *Reloader) AuthoritiesNotAfter() time.Time { return r.get().ends }

func lastEnd(authorities []byte) (last time.Time) {
	for rest := authorities; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return last
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.NotAfter.After(last) {
			last = cert.NotAfter
		}
	}
}

// GetCertificate is for tls.Config.
func (r *Reloader) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return r.get().cert, nil
}

// GetClientCertificate is for tls.Config.
func (r *Reloader) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return r.get().cert, nil
}
