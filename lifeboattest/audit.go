package lifeboattest

import (
	"bytes"
	"encoding/json"
	"os"
	"time"
)

// AuditLine is a line of the audit log, as far as tests ask for it.
type AuditLine struct {
	Time          time.Time `json:"time"`
	Process       string    `json:"process"`
	Request       string    `json:"request"`
	Principal     string    `json:"principal"`
	PrincipalName string    `json:"principal_name"`
	Account       string    `json:"account"`
	Credential    string    `json:"credential"`
	Method        string    `json:"method"`
	Proof         string    `json:"proof"`
	IP            string    `json:"ip"`
	ForwardedFor  string    `json:"forwarded_for"`
	Action        string    `json:"action"`
	Kind          string    `json:"kind"`
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Vault         string    `json:"vault"`
	Owner         string    `json:"owner"`
	Decision      string    `json:"decision"`
	Policies      []string  `json:"policies"`
	Outcome       string    `json:"outcome"`
	Version       string    `json:"version"`
	Order         string    `json:"order"`
	BreakGlass    bool      `json:"break_glass"`
}

// AuditLines returns what the process has written to its audit log so far.
func (p *Process) AuditLines() ([]AuditLine, error) { return readAudit(p.AuditFile()) }

// AuditLines returns the audit lines of all processes, one process after the
// other.
func (r *Region) AuditLines() (lines []AuditLine, err error) {
	for _, p := range r.Processes() {
		more, err := p.AuditLines()
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

// readAudit skips, as every reader of the log must, what is not a whole line.
func readAudit(path string) (lines []AuditLine, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var l AuditLine
		if json.Unmarshal(line, &l) == nil {
			lines = append(lines, l)
		}
	}
	return lines, nil
}
