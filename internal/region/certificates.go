package region

import (
	"fmt"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/pki"
)

// certificate is one of the process's, with what health calls it.
type certificate struct {
	name  string
	files *pki.Reloader
	ends  func() time.Time
}

// certificates are those that the process shows, and the authorities that it
// trusts.
func (p *Process) certificates() []certificate {
	all := []certificate{{"certificate", p.serverCert, p.serverCert.NotAfter}}
	if p.peerCert != nil {
		all = append(all,
			certificate{"peer certificate", p.peerCert, p.peerCert.NotAfter},
			certificate{"peer authority", p.peerCert, p.peerCert.AuthoritiesNotAfter},
		)
	}
	return all
}

// checkCertificates warns before a certificate ends.
func (p *Process) checkCertificates(now time.Time) (checks []check) {
	for _, c := range p.certificates() {
		ends := c.ends()
		made := check{name: c.name, err: c.files.Err(), info: "valid until " + ends.Format(time.RFC3339)}
		switch {
		case made.err != nil:
		case !now.Before(ends):
			made.err = fmt.Errorf("expired at %s", ends.Format(time.RFC3339))
		case ends.Sub(now) < p.config.TLS.ExpiryWarning:
			made.warning = true
			made.info += ", which is soon: replace it, see the runbook on certificates"
		}
		checks = append(checks, made)
	}
	return checks
}
