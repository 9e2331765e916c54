package region

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// SocketName is the name of a process's control socket in its data directory.
// Who may open it, that is who may run as the process's user, may initialise the
// region, act as an operator of it, and override its rules in an emergency.
const SocketName = "control.sock"

// startControlSocket serves what needs no credential because it comes before the
// first one, or when none can be checked.
func (p *Process) startControlSocket(ctx context.Context) error {
	path := p.path(SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	mux := http.NewServeMux()
	p.addHealth(mux)
	mux.HandleFunc("POST /v1/initialize", p.answerInitialize)
	mux.HandleFunc("POST /v1/recover", p.answerRecover)
	mux.HandleFunc("POST /v1/audit/reopen", func(w http.ResponseWriter, _ *http.Request) {
		start := time.Now()
		answerJSON(w, struct{}{}, p.auditDone(actionReopenAudit, start, p.Reopen()))
	})
	mux.HandleFunc("POST /v1/break-glass", p.answerBreakGlass)
	mux.HandleFunc("POST /v1/backup", p.answerBackup)
	mux.HandleFunc("POST /v1/restore", p.answerRestore)
	mux.HandleFunc("POST /v1/support-bundle", p.answerSupportBundle)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.refuse(w, r.URL.Path, time.Now(), secret.Errorf(secret.CodeNotFound, "the control socket has no %s %s", r.Method, r.URL.Path))
	})
	p.serveOn(ctx, "control socket", listener, nil, mux)
	return nil
}

type initializeAnswer struct {
	Region      string `json:"region"`
	Incarnation string `json:"incarnation"`
	Operator    string `json:"operator"`
	Token       string `json:"token"`
}

func (p *Process) answerInitialize(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	err := p.hasControl()
	if err == nil {
		err = p.audit.Ready()
	}
	if err != nil {
		p.refuse(w, actionInitialize, start, err)
		return
	}
	made, err := p.Initialize(r.Context())
	if auditErr := p.auditOperator(actionInitialize, start, string(made.Incarnation), err); err == nil && auditErr != nil {
		err = secret.Wrap(secret.CodeOutcomeUnknown, auditErr, "the region was made, but that cannot be audited now").
			WithHint("mend the audit log; then lifeboat operator recover makes a token")
	}
	if err == nil {
		p.log.Warn("region initialized", "incarnation", made.Incarnation)
		p.waitInitialized(r.Context())
	}
	answerJSON(w, initializeAnswer{
		Region: string(made.Region), Incarnation: string(made.Incarnation), Operator: string(made.Operator), Token: string(made.Token.Reveal()),
	}, err)
}

type recoverRequest struct {
	ExpiresInSeconds int64    `json:"expires_in_seconds"`
	DeletePolicies   []string `json:"delete_policies"`
}

type recoverAnswer struct {
	Operator    string    `json:"operator"`
	Token       string    `json:"token"`
	ExpiresAt   time.Time `json:"expires_at"`
	Cleared     bool      `json:"cleared"`
	ForbiddenBy []string  `json:"forbidden_by"`
}

// answerRecover makes an operator's token for who has lost all of them.
func (p *Process) answerRecover(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	var request recoverRequest
	err := decodeRequest(r, 4<<10, &request)
	if err != nil {
		err = secret.Invalid("body", `must be like {"expires_in_seconds": 3600, "delete_policies": []}`)
	} else {
		err = p.hasControl()
	}
	if err != nil {
		p.refuse(w, string(service.OperatorRecover), start, err)
		return
	}
	seconds := min(max(request.ExpiresInSeconds, 0), int64(service.MaxRecovery/time.Second)+1) // no overflow
	made, err := p.service.RecoverOperator(r.Context(), service.Recovery{
		By: socketPrincipal, Lasts: time.Duration(seconds) * time.Second, DeletePolicies: request.DeletePolicies,
	})
	if err != nil {
		answerJSON(w, nil, err)
		return
	}
	p.log.Warn("an operator's token was made over the control socket", "credential", made.Credential.ID, "expires_at", made.Credential.ExpiresAt)
	answerJSON(w, recoverAnswer{
		Operator: string(made.Credential.Principal), Token: string(made.Token.Reveal()), ExpiresAt: made.Credential.ExpiresAt,
		Cleared: made.Cleared, ForbiddenBy: append([]string{}, made.ForbiddenBy...), // not null
	}, nil)
}

// decodeRequest reads the body of a request, of at most limit bytes.
func decodeRequest(r *http.Request, limit int64, into any) error {
	decoder := json.NewDecoder(io.LimitReader(r.Body, limit))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the request")
	}
	return nil
}

func (p *Process) refuse(w http.ResponseWriter, action string, start time.Time, err error) {
	answerJSON(w, nil, p.auditUndone(action, start, err))
}

// waitInitialized waits, within bounds, until this process itself has what
// initialisation made, so that the operator's token works at once.
func (p *Process) waitInitialized(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.config.Reads.WaitClearedTimeout)
	defer cancel()
	for ctx.Err() == nil {
		applied := p.local.Position().Applied
		err := p.synced(func(view record.View) error {
			_, err := service.RegionRecord(view)
			return err
		})
		if err == nil {
			return
		}
		_ = p.local.WaitApplied(ctx, applied+1)
	}
}

type breakGlassRequest struct {
	On *bool `json:"on"`
}

// answerBreakGlass makes a host that has been cut off for longer than it may
// honour what it knows of credentials all the same; each request is marked so in
// the audit log. It ends when the process does.
func (p *Process) answerBreakGlass(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	var request breakGlassRequest
	if err := decodeRequest(r, 1<<10, &request); err != nil || request.On == nil {
		p.refuse(w, actionBreakGlass, start, secret.Invalid("body", `must be {"on": true} or {"on": false}`))
		return
	}
	on := *request.On
	if on { // not before it is audited
		if err := p.auditUndone(actionBreakGlassOn, start, nil); err != nil {
			answerJSON(w, nil, err)
			return
		}
	}
	p.breakGlass.Store(on)
	p.log.Warn("break-glass", "on", on)
	var err error
	if !on {
		err = p.auditDone(actionBreakGlassOff, start, nil)
	}
	answerJSON(w, request, err)
}

type errorAnswer struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func answerJSON(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		answer = newErrorAnswer(err)
		w.WriteHeader(frontdoor.StatusOf(err).HTTP)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func newErrorAnswer(err error) *errorAnswer {
	failure := &errorAnswer{Code: string(secret.CodeOf(err)), Message: err.Error()}
	if e, ok := errors.AsType[*secret.Error](err); ok {
		failure.Hint = e.Hint
	}
	return failure
}
