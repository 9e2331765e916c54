package auditreport

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
)

// Order says by what the rows of a report are sorted first.
type Order string

// The orders.
const (
	BySecret    Order = "secret"
	ByPrincipal Order = "principal"
)

// DefaultRows bounds the rows of a report, each some 500 bytes of memory.
const DefaultRows = 100_000

// Read is the action of reading a value.
const Read = "GetSecretValue"

// Options of a Report. The zero value is of all reads of all secrets.
type Options struct {
	// Secret and Principal are IDs or names; empty means any.
	Secret, Principal string
	// Since and Until bound the time; zero means no bound. Until is excluded.
	Since, Until time.Time
	// AllActions counts everything that was asked of a secret, not only reads of
	// values.
	AllActions bool
	Order      Order
	// MaxRows bounds the rows; default DefaultRows.
	MaxRows int
}

// Row is what one principal did with one version of a secret through one process
// from one address.
type Row struct {
	Secret      string    `json:"secret"`
	SecretID    string    `json:"secretId,omitempty"`
	Version     string    `json:"version,omitempty"`
	Principal   string    `json:"principal"`
	PrincipalID string    `json:"principalId,omitempty"`
	Account     string    `json:"account,omitempty"`
	Action      string    `json:"action"`
	Outcome     string    `json:"outcome"`
	Region      string    `json:"region"`
	Process     string    `json:"process"`
	IP          string    `json:"ip,omitempty"`
	BreakGlass  bool      `json:"breakGlass,omitempty"`
	Count       int64     `json:"count"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
}

// Summary says what was read to make a report.
type Summary struct {
	// Lines were read, Matched are counted in rows.
	Lines   int64 `json:"lines"`
	Matched int64 `json:"matched"`
	// Unreadable are no lines of an audit log, such as those that were cut short.
	Unreadable int64 `json:"unreadable"`
	// LeftOut matched but are in no row, because there are too many rows.
	LeftOut int64 `json:"leftOut"`
	// Gaps are what the logs say of lines that they lack.
	Gaps []string `json:"gaps"`
}

// maxGaps bounds the gaps that are listed.
const maxGaps = 100

// Report gathers rows out of logs. It is used by one goroutine.
type Report struct {
	options Options
	rows    map[key]*Row
	summary Summary
}

type key struct {
	secret, version, principal, action, outcome, region, process, ip string
	breakGlass                                                       bool
}

// New returns an empty report.
func New(o Options) *Report {
	o.MaxRows = cmp.Or(o.MaxRows, DefaultRows)
	o.Order = cmp.Or(o.Order, BySecret)
	return &Report{options: o, rows: map[key]*Row{}, summary: Summary{Gaps: []string{}}}
}

// Add reads a log to its end: text, or compressed by gzip or bzip2, which its first
// bytes tell. tell, if set, is called with the bytes that were read of r now and
// then. Errors are those of reading, and of ctx.
func (r *Report) Add(ctx context.Context, log io.Reader, tell func(bytes int64)) error {
	counted := &counting{from: log, tell: tell}
	text, err := decompressed(bufio.NewReaderSize(counted, 64<<10))
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(text, 4096)
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, tooLong, err := nextLine(lines)
		if len(line) > 0 || tooLong {
			r.line(line, tooLong)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// nextLine returns the next line without its end. Of one that is longer than the
// buffer it returns none, and reads on to its end.
func nextLine(from *bufio.Reader) (line []byte, tooLong bool, err error) {
	line, err = from.ReadSlice('\n')
	for errors.Is(err, bufio.ErrBufferFull) {
		tooLong = true
		line, err = from.ReadSlice('\n')
	}
	if tooLong {
		return nil, true, err
	}
	return bytes.TrimRight(line, "\r\n"), false, err
}

func (r *Report) line(b []byte, tooLong bool) {
	r.summary.Lines++
	l, err := Decode(b)
	if tooLong || err != nil {
		r.summary.Unreadable++
		return
	}
	if !r.options.Since.IsZero() && l.Time.Before(r.options.Since) || !r.options.Until.IsZero() && !l.Time.Before(r.options.Until) {
		return
	}
	if l.Action == audit.GapAction {
		if len(r.summary.Gaps) < maxGaps {
			r.summary.Gaps = append(r.summary.Gaps, fmt.Sprintf("%s %s: %s", l.Time.Format(time.RFC3339), l.Process, l.Name))
		}
		return
	}
	if r.matches(&l) {
		r.count(&l)
	}
}

func (r *Report) matches(l *Line) bool {
	o := &r.options
	return l.Kind == "secret" && (o.AllActions || l.Action == Read) &&
		(o.Secret == "" || means(l.Name, o.Secret) || means(l.ID, o.Secret)) &&
		(o.Principal == "" || means(l.PrincipalName, o.Principal) || means(l.Principal, o.Principal))
}

func (r *Report) count(l *Line) {
	secret := cmp.Or(l.ID, l.Name) // an ID, unless there is none of that name
	k := key{secret, l.Version, l.Principal, l.Action, l.Outcome, l.Region, l.Process, l.IP, l.BreakGlass}
	row := r.rows[k]
	if row == nil {
		if len(r.rows) >= r.options.MaxRows {
			r.summary.LeftOut++
			return
		}
		row = &Row{
			Secret: l.Name, SecretID: l.ID, Version: l.Version, Principal: l.PrincipalName, PrincipalID: l.Principal, Account: l.Account,
			Action: l.Action, Outcome: l.Outcome, Region: l.Region, Process: l.Process, IP: l.IP, BreakGlass: l.BreakGlass,
			First: l.Time, Last: l.Time,
		}
		r.rows[k] = row
	}
	r.summary.Matched++
	row.Count++
	if l.Time.Before(row.First) {
		row.First = l.Time
	}
	if l.Time.After(row.Last) {
		row.Last = l.Time
	}
}

// Rows returns the rows, sorted.
func (r *Report) Rows() []Row {
	rows := make([]Row, 0, len(r.rows))
	for _, row := range r.rows {
		rows = append(rows, *row)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		secret := cmp.Or(cmp.Compare(a.Secret, b.Secret), cmp.Compare(a.SecretID, b.SecretID), cmp.Compare(a.Version, b.Version))
		principal := cmp.Or(cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.PrincipalID, b.PrincipalID))
		if r.options.Order == ByPrincipal {
			secret, principal = principal, secret
		}
		return cmp.Or(secret, principal, a.First.Compare(b.First), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Outcome, b.Outcome),
			cmp.Compare(a.Region, b.Region), cmp.Compare(a.Process, b.Process), cmp.Compare(a.IP, b.IP))
	})
	return rows
}

// Summary says what was read so far.
func (r *Report) Summary() Summary { return r.summary }

// decompressed returns the text of a log.
func decompressed(b *bufio.Reader) (io.Reader, error) {
	magic, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(magic, []byte("BZh")):
		return bzip2.NewReader(b), nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), bytes.HasPrefix(magic, []byte("\xfd7zXZ")):
		return nil, errors.New("the log is compressed by zstd or xz: decompress it and pass it on standard input")
	}
	return b, nil
}

// counting tells how much was read.
type counting struct {
	from io.Reader
	tell func(int64)
	n    int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if c.tell != nil {
		c.tell(c.n)
	}
	return n, err
}
