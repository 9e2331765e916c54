package pki

import (
	"crypto/tls"
	"crypto/x509"
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
	cert  *tls.Certificate
	pool  *x509.CertPool
	stamp stamp
}

// stamp tells one state of the files from another. Files are replaced by
// renaming, so that size, time and identity of the three change with content.
type stamp [3]os.FileInfo

func (s stamp) equal(t stamp) bool {
	for i := range s {
		a, b := s[i], t[i]
		if a == nil || b == nil {
			if a != b {
				return false
			}
			continue
		}
		if a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) || !os.SameFile(a, b) {
			return false
		}
	}
	return true
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
	m, err := r.read()
	if err != nil {
		return nil, err
	}
	r.current.Store(m)
	r.next.Store(o.Now().Add(o.Every).UnixNano())
	return r, nil
}

func (r *Reloader) stamp() (stamp, error) {
	var s stamp
	for i, path := range []string{r.o.CertFile, r.o.KeyFile, r.o.CAFile} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return stamp{}, secret.Wrap(secret.CodeInvalid, err, "cannot look at a file of the TLS configuration")
		}
		s[i] = info
	}
	return s, nil
}

// read takes the stamp first: a change in between is seen by the next look.
func (r *Reloader) read() (*material, error) {
	s, err := r.stamp()
	if err != nil {
		return nil, err
	}
	m := &material{stamp: s}
	if m.cert, err = readPair(r.o.CertFile, r.o.KeyFile); err != nil {
		return nil, err
	}
	if r.o.CAFile == "" {
		return m, nil
	}
	m.pool, err = readPool(r.o.CAFile)
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
	s, err := r.stamp()
	if err == nil && s.equal(r.current.Load().stamp) {
		r.lastErr = nil
		return
	}
	var m *material
	if err == nil {
		m, err = r.read()
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

// GetCertificate is for tls.Config.
func (r *Reloader) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return r.get().cert, nil
}

// GetClientCertificate is for tls.Config.
func (r *Reloader) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return r.get().cert, nil
}
