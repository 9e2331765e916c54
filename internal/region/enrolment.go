package region

import (
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

var errNotEnrolled = secret.Errorf(secret.CodeUnavailable, "this host is not in the region's set of hosts yet")

// enrolledIn reports whether the local copy holds this host's own record: whoever
// clears mutations then counts on this host, for all that come later. It stays so
// while the host is cut off, also across restarts.
func (p *Process) enrolledIn(view record.View) (bool, error) {
	if p.enrolled.Load() || !p.isHost() {
		return true, nil
	}
	_, found, err := view.Get(record.HostKey(p.config.Process.ID))
	if err == nil && found {
		p.enrolled.Store(true)
	}
	return found, err
}

// reportsFreshFor is how old the last acknowledged report of a healthy host may
// be; it reports each second.
const reportsFreshFor = 3 * time.Second

// acknowledged notes that a control process has taken a report of this host.
func (p *Process) acknowledged() { p.reportedAt.Store(time.Now().UnixNano()) }

// checkReports reports whether a control process knows how far this host is.
// Without that it serves what it has, but nothing before it is enrolled.
func (p *Process) checkReports() check {
	enrolled := false
	err := p.synced(func(view record.View) (err error) {
		enrolled, err = p.enrolledIn(view)
		return err
	})
	c := check{name: "reports", vital: !enrolled, info: "a control process takes them"}
	last := p.reportedAt.Load()
	age := time.Since(record.FromNanos(last))
	switch {
	case err != nil:
		c.err = err
	case !enrolled:
		c.err = errNotEnrolled
	case last == 0:
		c.err = errors.New("no control process has taken a report yet")
	case age > reportsFreshFor:
		c.err = fmt.Errorf("no control process has taken a report for %s", age.Round(time.Second))
	}
	return c
}
