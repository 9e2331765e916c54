package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/lifeboat-secrets/lifeboat/internal/auditreport"
)

func (a *app) auditCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "Make reports out of audit logs", Example: "  lifeboat audit report --log audit.log --secret db/password",
	}
	c.AddCommand(a.auditReport())
	return c
}

type reportOptions struct {
	auditreport.Options
	logs             []string
	since, until, by string
}

func (a *app) auditReport() *cobra.Command {
	var o reportOptions
	c := &cobra.Command{
		Use: "report --log FILE...", Short: "Say who read which version of which secret, where and when",
		Long: `Say who read which version of which secret, where and when, from the audit logs of
the region's processes. Name all of them: each process writes its own, and those
that were rotated. Files may be compressed by gzip or bzip2; - is standard input.

A name that an audit line had to cut is found by its digest. Lines that cannot be
read, and gaps that a log itself tells of, are counted.`,
		Example: `  lifeboat audit report --log audit.log --secret db/password --since 720h
  lifeboat audit report --by principal audit.log audit.log.*.gz
  lifeboat audit report --principal checkout --all-actions -o json audit.log
  zstd -dc audit.log.zst | lifeboat audit report --log -`,
		RunE: func(c *cobra.Command, args []string) error {
			o.logs = append(o.logs, args...)
			return a.runReport(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.logs, "log", nil, "audit log; repeatable, and more may follow as arguments")
	f.StringVar(&o.Secret, "secret", "", "only this secret: its name or ID")
	f.StringVar(&o.Principal, "principal", "", "only this principal: its name or ID")
	f.StringVar(&o.since, "since", "", "only from this time on: a duration back from now, or a time")
	f.StringVar(&o.until, "until", "", "only before this time")
	f.StringVar(&o.by, "by", string(auditreport.BySecret), "sort by secret or by principal")
	f.BoolVar(&o.AllActions, "all-actions", false, "everything that was asked of secrets, not only reads of values")
	f.IntVar(&o.MaxRows, "max-rows", auditreport.DefaultRows, "rows to keep; what is beyond is counted")
	_ = c.RegisterFlagCompletionFunc("by", cobra.FixedCompletions([]string{"secret", "principal"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// past parses a time, or a duration back from now.
func past(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, usagef("--%s must be a duration such as 720h, or a time such as 2030-01-31T12:00:00Z", flag)
	}
	return t, nil
}

func (o *reportOptions) check() (err error) {
	if len(o.logs) == 0 {
		return usagef("--log is missing")
	}
	if o.Since, err = past("since", o.since); err != nil {
		return err
	}
	if o.Until, err = past("until", o.until); err != nil {
		return err
	}
	if o.MaxRows < 1 {
		return usagef("--max-rows must be at least 1")
	}
	o.Order = auditreport.Order(o.by)
	if o.Order != auditreport.BySecret && o.Order != auditreport.ByPrincipal {
		return usagef("--by is %q; allowed are secret and principal", o.by)
	}
	return nil
}

func (a *app) runReport(ctx context.Context, o reportOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	logs, total, err := a.openLogs(o.logs)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range logs {
			_ = l.Close()
		}
	}()
	report := auditreport.New(o.Options)
	reached, done := a.bytesProgress("reading", total)
	defer done()
	read := int64(0)
	for i, l := range logs {
		last := int64(0)
		err := report.Add(ctx, l, func(n int64) {
			last = n
			reached(read + n)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", o.logs[i], err)
		}
		read += last
	}
	done()
	return a.showReport(report)
}

// openLogs opens all logs before any is read. One that is named twice would be
// counted twice.
func (a *app) openLogs(names []string) (logs []io.ReadCloser, total int64, err error) {
	var seen []os.FileInfo
	defer func() {
		if err != nil {
			for _, l := range logs {
				_ = l.Close()
			}
		}
	}()
	for _, name := range names {
		if name == "-" {
			logs = append(logs, io.NopCloser(a.Stdin))
			continue
		}
		f, err := os.Open(name) //nolint:gosec // the caller's own file
		if err != nil {
			return logs, 0, fmt.Errorf("open the log: %w", err)
		}
		logs = append(logs, f)
		info, err := f.Stat()
		if err != nil {
			return logs, 0, err
		}
		if slices.ContainsFunc(seen, func(other os.FileInfo) bool { return os.SameFile(info, other) }) {
			return logs, 0, usagef("%s is named twice", name)
		}
		seen = append(seen, info)
		total += info.Size()
	}
	return logs, total, nil
}

// bytesProgress shows how much of a known size was read, on a terminal only. done
// may be called more than once.
func (a *app) bytesProgress(what string, total int64) (reached func(int64), done func()) {
	if total == 0 || !isTerminal(a.Stderr) || a.flags.output == outputJSON {
		return func(int64) {}, func() {}
	}
	p := mpb.New(mpb.WithOutput(a.Stderr), mpb.WithWidth(60))
	bar := p.AddBar(total, mpb.PrependDecorators(decor.Name(what+" ")),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f")), mpb.BarRemoveOnComplete())
	return func(n int64) { bar.SetCurrent(n) }, func() {
		bar.Abort(true)
		p.Wait()
	}
}

func (a *app) showReport(report *auditreport.Report) error {
	rows, summary := report.Rows(), report.Summary()
	if summary.Unreadable > 0 {
		a.note("warning: %d lines cannot be read, such as those that were cut short by a full disk", summary.Unreadable)
	}
	for _, gap := range summary.Gaps {
		a.note("warning: the log has a gap: %s", oneLine(gap))
	}
	if a.flags.output == outputJSON {
		if err := writeJSON(a.Stdout, struct {
			Rows []auditreport.Row `json:"rows"`
			auditreport.Summary
		}{rows, summary}); err != nil {
			return err
		}
	} else {
		w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		reportTable(w, rows)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if summary.LeftOut > 0 {
		return withHint(errors.New(strconv.FormatInt(summary.LeftOut, 10)+" matching lines are in no row, because there are too many rows"),
			"narrow the report with --secret, --principal or --since, or allow more with --max-rows")
	}
	return nil
}

func reportTable(w io.Writer, rows []auditreport.Row) {
	row(w, "SECRET", "VERSION", "PRINCIPAL", "WHERE", "LAST", "TIMES", "OUTCOME")
	for _, r := range rows {
		outcome := r.Outcome
		if r.Action != auditreport.Read {
			outcome = r.Action + " " + outcome
		}
		row(w, clip(or(r.Secret, r.SecretID), 18), tail(or(r.Version, "-"), 8), clip(or(r.Principal, or(r.PrincipalID, "-")), 14),
			clip(r.Process, 10), r.Last.UTC().Format("2006-01-02T15:04Z"), strconv.FormatInt(r.Count, 10), clip(outcome, 16))
	}
}

// tail shortens an ID to its last n characters, by which IDs differ.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n+1:]
}
