package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Pair is a certificate and its key. The key is secret.
type Pair struct {
	CertPEM []byte
	KeyPEM  secret.Plaintext
}

func newPair(key *ecdsa.PrivateKey, cert *x509.Certificate) (*Pair, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot encode the key")
	}
	return &Pair{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		KeyPEM:  secret.NewPlaintext(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}, nil
}

// Save writes both files, each atomically and durably, mode 0600. Directories
// must exist.
func (p *Pair) Save(certFile, keyFile string) error {
	if err := WriteFile(keyFile, p.KeyPEM.Reveal()); err != nil {
		return err
	}
	return WriteFile(certFile, p.CertPEM)
}

// WriteFile replaces a file atomically and durably: a reader, or a crash, finds
// the old or the new content. The file's mode is 0600.
func WriteFile(path string, data []byte) error {
	if err := writeFile(path, data); err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "cannot write "+path)
	}
	return nil
}

// Unfinished returns the files that WriteFile left next to a path when it was
// interrupted, by a crash say.
func Unfinished(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	var left []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary(path)) {
			left = append(left, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return left, err
}

// temporary begins the names of files that WriteFile has not finished.
func temporary(path string) string { return "." + filepath.Base(path) + "." }

func writeFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary(path)+"*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "cannot read a certificate")
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "cannot read a key")
	}
	return parsePair(cert, key, certFile, keyFile)
}

func parsePair(cert, key []byte, certFile, keyFile string) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "cannot use "+certFile+" with "+keyFile)
	}
	return &pair, nil
}

func readPool(caFile string) (*x509.CertPool, error) {
	data, err := os.ReadFile(caFile)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInvalid, err, "cannot read the authorities")
	}
	return parsePool(data, caFile)
}

func parsePool(data []byte, caFile string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, secret.Errorf(secret.CodeInvalid, "%s has no certificate in PEM form", caFile)
	}
	return pool, nil
}
