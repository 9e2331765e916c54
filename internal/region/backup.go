package region

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	actionInitialize = "OperatorInitialize"
	// actionBreakGlass is that of a request which does not say on or off.
	actionBreakGlass    = "OperatorBreakGlass"
	actionBreakGlassOn  = "OperatorBreakGlassOn"
	actionBreakGlassOff = "OperatorBreakGlassOff"
	actionReopenAudit   = "OperatorReopenAudit"
	actionBackup        = "OperatorBackup"
	actionRestore       = "OperatorRestore"
	// socketPrincipal is who acts over the control socket: whoever may run as the
	// process's user.
	socketPrincipal = "control-socket"
	// progressEvery bounds how often progress is told.
	progressEvery = 200 * time.Millisecond
	// restoreWait bounds how long a restore waits for this process's own copy,
	// which takes a few seconds for a million records.
	restoreWait = 30 * time.Second
)

// Revision implements backup.Source.
func (l *lateStore) Revision(ctx context.Context) (int64, error) {
	s, err := l.get()
	if err != nil {
		return 0, err
	}
	return s.Revision(ctx)
}

// PageAt implements backup.Source.
func (l *lateStore) PageAt(ctx context.Context, start, end record.Key, limit int, revision int64) (record.Page, error) {
	s, err := l.get()
	if err != nil {
		return record.Page{}, err
	}
	return s.PageAt(ctx, start, end, limit, revision)
}

// Backup writes a backup of the shard to a new file.
func (p *Process) Backup(ctx context.Context, path string, progress func(backup.Progress)) (backup.Summary, error) {
	start := time.Now()
	if err := p.operatorMayAct(path); err != nil {
		return backup.Summary{}, p.auditUndone(actionBackup, start, err)
	}
	made, err := backup.WriteFile(ctx, path, backup.WriteOptions{
		Source: p.store, Keys: p.kms, Release: p.release, Progress: progress, Expected: p.local.Position().Records, Now: p.clock,
	})
	if err == nil {
		err = p.recordBackup(ctx, made)
	}
	err = p.auditOperator(actionBackup, start, string(made.Incarnation), err)
	if err == nil {
		p.log.Info("backup written", "file", path, "records", made.Records, "revision", made.Revision, "took", time.Since(start))
	}
	return made, err
}

// Restore makes the empty store a region out of a backup, and waits, within
// bounds, until this process has it.
func (p *Process) Restore(ctx context.Context, path string, progress func(backup.Progress)) (report backup.Report, err error) {
	start := time.Now()
	if err := p.operatorMayAct(path); err != nil {
		return report, p.auditUndone(actionRestore, start, err)
	}
	f, err := os.Open(path)
	if err != nil {
		err = secret.Wrap(secret.CodeInvalid, err, "the backup cannot be opened")
		return report, p.auditUndone(actionRestore, start, err)
	}
	defer func() { _ = f.Close() }()
	report, err = backup.Restore(ctx, f, backup.RestoreOptions{
		Store: p.store, Region: p.config.Region.Name, Keys: p.kms, Keyring: p.keyring, Progress: progress, Now: p.clock,
	})
	err = p.auditOperator(actionRestore, start, string(report.Incarnation), err)
	if err == nil {
		p.log.Warn("region restored", "file", path, "records", report.Backup.Records, "revision", report.Backup.Revision,
			"incarnation", report.Incarnation, "restore_epoch", report.RestoreEpoch, "took", report.Took)
		p.waitLife(ctx, report.Incarnation)
	}
	return report, err
}

// recordBackup has the region know of a backup, so that the keys it needs are
// kept for as long as it may be restored.
func (p *Process) recordBackup(ctx context.Context, made backup.Summary) error {
	err := p.service.RecordBackup(ctx, &recordpb.Backup{
		Id: made.ID, CreatedAt: made.CreatedAt.UnixNano(), Revision: made.Revision, RestoreEpoch: made.RestoreEpoch,
		Incarnation: string(made.Incarnation), MasterKeys: made.NeedsMasterKeys(),
	})
	if err == nil {
		return nil
	}
	return secret.Wrap(secret.CodeOf(err), err, "the backup is complete, but the region could not record it").
		WithHint("make another one: this one keeps no key from being retired")
}

// waitLife waits, within bounds, until this process's own copy is of that life.
func (p *Process) waitLife(ctx context.Context, incarnation secret.Incarnation) {
	ctx, cancel := context.WithTimeout(ctx, restoreWait)
	defer cancel()
	for ctx.Err() == nil {
		if at := p.local.Position(); at.Synced && at.Incarnation == incarnation {
			return
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// hasControl refuses what only a control process does.
func (p *Process) hasControl() error {
	if p.isControl() {
		return nil
	}
	return secret.Errorf(secret.CodeWrongState, "this process has no role control").WithHint("use the socket of a control process")
}

func (p *Process) operatorMayAct(path string) error {
	if err := p.hasControl(); err != nil {
		return err
	}
	if !filepath.IsAbs(path) {
		return secret.Invalid("file", "must be an absolute path, as the process has its own working directory")
	}
	return p.audit.Ready()
}

// auditOperator writes the line of what was asked for over the control socket. It
// returns the error of the action, or else that of the audit log.
func (p *Process) auditOperator(action string, start time.Time, incarnation string, err error) error {
	entry := p.operatorEntry(action, start, incarnation, err)
	entry.Committed = true
	if auditErr := p.audit.Write(&entry); err == nil {
		return auditErr
	}
	return err
}

// auditUndone writes the line of what was asked for over the control socket, before
// anything is done for it or because nothing will be. It returns err, or that of the
// audit log.
func (p *Process) auditUndone(action string, start time.Time, err error) error {
	entry := p.operatorEntry(action, start, string(p.local.Position().Incarnation), err)
	if auditErr := p.audit.Write(&entry); auditErr != nil {
		return auditErr
	}
	return err
}

func (p *Process) operatorEntry(action string, start time.Time, incarnation string, err error) audit.Entry {
	return audit.Entry{
		Time: start, Duration: time.Since(start), Action: action, Outcome: secret.CodeOf(err),
		Principal: socketPrincipal, PrincipalName: socketPrincipal, Account: secret.SystemAccount,
		Resource: audit.Resource{Kind: "Region", ID: incarnation, Name: string(p.config.Region.Name)},
	}
}

// auditDone is auditOperator for what was done, whether or not it can be audited.
func (p *Process) auditDone(action string, start time.Time, err error) error {
	auditErr := p.auditOperator(action, start, string(p.local.Position().Incarnation), err)
	if err != nil || auditErr == nil {
		return err
	}
	return secret.Wrap(secret.CodeOutcomeUnknown, auditErr, "it was done, but cannot be audited now").WithHint("mend the audit log")
}

type fileRequest struct {
	File string `json:"file"`
}

// streamed is one line of an answer that takes long: progress, and at last the
// answer or why there is none.
type streamed struct {
	Progress *backup.Progress `json:"progress,omitempty"`
	Answer   any              `json:"answer,omitempty"`
	Error    *errorAnswer     `json:"error,omitempty"`
}

func (p *Process) answerBackup(w http.ResponseWriter, r *http.Request) {
	p.answerStream(w, r, actionBackup, func(path string, progress func(backup.Progress)) (any, error) {
		return p.Backup(r.Context(), path, progress)
	})
}

func (p *Process) answerRestore(w http.ResponseWriter, r *http.Request) {
	p.answerStream(w, r, actionRestore, func(path string, progress func(backup.Progress)) (any, error) {
		return p.Restore(r.Context(), path, progress)
	})
}

// answerStream does what a request for a file asks for and tells how far it is.
func (p *Process) answerStream(w http.ResponseWriter, r *http.Request, action string, do func(path string, progress func(backup.Progress)) (any, error)) {
	start := time.Now()
	var request fileRequest
	if err := decodeRequest(r, 64<<10, &request); err != nil || request.File == "" {
		p.refuse(w, action, start, secret.Invalid("body", `must be {"file": "PATH"}`))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	var mu sync.Mutex
	var last time.Time
	var step backup.Step
	encoder := json.NewEncoder(w)
	answer, err := do(request.File, func(progress backup.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) > progressEvery || progress.Step != step {
			last, step = now, progress.Step
			_ = encoder.Encode(streamed{Progress: &progress})
			_ = http.NewResponseController(w).Flush()
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		_ = encoder.Encode(streamed{Error: newErrorAnswer(err)})
		return
	}
	_ = encoder.Encode(streamed{Answer: answer})
}
