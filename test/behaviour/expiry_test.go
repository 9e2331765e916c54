package behaviour_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// Certificates that end soon are a warning, in health and in the status, while
// the process is ready all the same.
func TestCertificatesThatEndSoonAreAWarning(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Configure: func(_ string, c *config.Config) { c.TLS.ExpiryWarning = 365 * 24 * time.Hour }})
	status, body := ready(t, r, r.Control())
	if status != http.StatusOK || !strings.Contains(body, `"warning":true`) {
		t.Errorf("readyz answers %d %s", status, body)
	}
	warned := map[string]bool{}
	for _, c := range do(t, r.Operator().GetStatus, &lifeboatv1.GetStatusRequest{}).GetChecks() {
		if !c.GetHealthy() {
			t.Errorf("check %v", c)
		}
		warned[c.GetName()] = c.GetWarning()
	}
	// The authority of a test is good for ten years.
	if !warned["certificate"] || !warned["peer certificate"] || warned["peer authority"] || warned["audit log"] {
		t.Errorf("warned of %v", warned)
	}
}
