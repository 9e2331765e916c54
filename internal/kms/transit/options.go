// Package transit is the key service driver for the transit secrets engine of
// HashiCorp Vault and OpenBao, by plain HTTP.
//
// Its token needs, in the words of a policy: "update" on <mount>/encrypt/<key>
// and <mount>/decrypt/<key>, "read" on <mount>/keys/<key> and, which the default
// policy has, on auth/token/lookup-self. It should not have
// "create" on <mount>/encrypt/<key>: that makes missing keys.
package transit

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/remote"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Driver is the name of this driver.
const Driver = "transit"

// Causes of this driver's own errors, for errors.Is.
var (
	// ErrToken means that the service does not accept the token at all, for
	// instance since it expired. It is around kms.ErrFault and not
	// kms.ErrWrongKey, so that data keys in use go on working meanwhile. To cut a
	// region off at once, take the key away from the token's policy.
	ErrToken = errors.New("the token is not accepted")
	// ErrUnfitKey means that a key is there but is not one that the driver would
	// use: it must be of the type aes256-gcm96 or chacha20-poly1305, not derived,
	// not exportable and without plaintext backups.
	ErrUnfitKey = errors.New("key is not fit to be a master key")
	// ErrNoAssociatedData means that the service ignores associated data: Vault
	// does before 1.9.
	ErrNoAssociatedData = errors.New("the service ignores associated data")
)

// Defaults and limits of Options.
const (
	DefaultMount   = "transit"
	DefaultTimeout = 10 * time.Second
	maxTimeout     = time.Minute
	maxNameBytes   = 255
	maxOlderKeys   = 100
	// idleConnections are kept, since a start unwraps many data keys at once.
	idleConnections = 16
)

// Options say where the service and its keys are.
type Options struct {
	// Address is a URL like https://vault.example:8200; required. Plain http is
	// for the loopback alone.
	Address string
	// Namespace is sent with every request unless empty.
	Namespace string
	// Mount is the path of the engine, DefaultMount if empty.
	Mount string
	// Key is the name of the active master key; required. Its latest version
	// wraps.
	Key string
	// OlderKeys are the names of at most 100 keys that still unwrap.
	OlderKeys []string
	// TokenFile holds the token; required. It is read for every request, so that
	// an agent may replace it. See credential.Read for who may read it.
	TokenFile string
	// CAFile has the authorities in PEM; those of the system if empty.
	CAFile string
	// Timeout bounds one call of the driver, which may be several requests:
	// DefaultTimeout if 0, at most 1 minute.
	Timeout time.Duration
	// Now is for tests; time.Now if nil.
	Now func() time.Time
}

// validName is what the engine takes for the name of a key.
var validName = regexp.MustCompile(`^\w([\w.-]*\w)?$`)

// check returns a secret.CodeInvalid error that names the field and its limit.
func (o Options) check() error {
	if err := remote.CheckURL("address", o.Address); err != nil {
		return err
	}
	switch {
	case len(o.Namespace) > maxNameBytes || strings.ContainsAny(o.Namespace, "\r\n\x00"):
		return secret.Invalid("namespace", "must be one line of at most %d bytes", maxNameBytes)
	case o.TokenFile == "":
		return secret.Invalid("token_file", "must not be empty")
	case o.Timeout < 0 || o.Timeout > maxTimeout:
		return secret.Invalid("timeout", "is %s; allowed are 0 to %s", o.Timeout, maxTimeout)
	case len(o.OlderKeys) > maxOlderKeys:
		return secret.Invalid("older_keys", "has %d entries; the limit is %d", len(o.OlderKeys), maxOlderKeys)
	}
	for part := range strings.SplitSeq(o.Mount, "/") {
		if err := checkName("mount", part); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for i, name := range o.names() {
		field := "key"
		if i > 0 {
			field = fmt.Sprintf("older_keys[%d]", i-1)
		}
		if err := checkName(field, name); err != nil {
			return err
		}
		if seen[name] {
			return secret.Invalid(field, "%q is named twice", name)
		}
		seen[name] = true
	}
	return nil
}

func checkName(field, name string) error {
	if len(name) > maxNameBytes || !validName.MatchString(name) {
		return secret.Invalid(field, "must have 1 to %d letters, digits and any of _.-", maxNameBytes)
	}
	return nil
}

// names are those of all keys, the active one first.
func (o Options) names() []string { return append([]string{o.Key}, o.OlderKeys...) }

func (o Options) withDefaults() Options {
	if o.Mount == "" {
		o.Mount = DefaultMount
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Address = strings.TrimRight(o.Address, "/")
	return o
}

// client follows a redirect, which is how a standby names the active node, but
// never from https to http: the token goes along.
func (o Options) client() (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	transport.MaxIdleConnsPerHost = idleConnections
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, secret.Wrap(secret.CodeKeyUnavailable, err, "cannot read the authorities of the key service")
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, secret.Invalid("ca_file", "%s has no certificate in PEM", o.CAFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 2 {
			return errors.New("too many redirects")
		}
		if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return errors.New("redirected from https to http")
		}
		return nil
	}}, nil
}
