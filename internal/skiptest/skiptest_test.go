package skiptest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// ended is a test that notes how it ended.
type ended struct {
	testing.TB
	how, why string
}

func (*ended) Helper()          {}
func (e *ended) Fatal(a ...any) { e.how, e.why = "failed", a[0].(string) }
func (e *ended) Skip(a ...any)  { e.how, e.why = "skipped", a[0].(string) }

func TestHowTestsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		ci, unprivileged   string
		missing, forbidden string
	}{
		"by hand":               {"", "", "skipped", "skipped"},
		"in CI":                 {"true", "", "failed", "failed"},
		"in CI, unprivileged":   {"true", "true", "failed", "skipped"},
		"by hand, unprivileged": {"", "true", "skipped", "skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CI", c.ci)
			t.Setenv("LIFEBOAT_TEST_UNPRIVILEGED", c.unprivileged)
			e := &ended{}
			if skiptest.Missing(e, "promtool", "apt-get install prometheus"); e.how != c.missing || !strings.Contains(e.why, "apt-get install prometheus") {
				t.Errorf("%s: %s", e.how, e.why)
			}
			if skiptest.Forbidden(e, "mounting", errors.New("no permission")); e.how != c.forbidden || !strings.Contains(e.why, "no permission") {
				t.Errorf("%s: %s", e.how, e.why)
			}
		})
	}
}
