// Package controlsocket is the client of a process's control socket, over which
// the user that the process runs as initialises the region and overrides its
// rules in an emergency.
package controlsocket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxAnswerBytes bounds an answer.
const maxAnswerBytes = 1 << 20

// Client talks to one process. It is safe for concurrent use.
type Client struct {
	path string
	http *http.Client
}

// New returns a client of the socket at path. It does not connect yet. Close it
// after use.
func New(path string) *Client {
	var dialer net.Dialer
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) },
	}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Initialized is what Initialize made.
type Initialized struct {
	Region      string
	Incarnation string
	// Operator is the ID of the first operator, Token its token.
	Operator string
	Token    secret.Plaintext
}

// Initialize makes a region out of an empty store. A region that was initialised
// before is secret.CodeExists; a store that cannot be reached yet is
// secret.CodeUnavailable.
func (c *Client) Initialize(ctx context.Context) (Initialized, error) {
	var answer struct {
		Region, Incarnation, Operator, Token string
	}
	if err := c.call(ctx, http.MethodPost, "/v1/initialize", nil, &answer); err != nil {
		return Initialized{}, err
	}
	return Initialized{
		Region: answer.Region, Incarnation: answer.Incarnation, Operator: answer.Operator, Token: secret.NewPlaintext([]byte(answer.Token)),
	}, nil
}

// Recovered is what Recover made.
type Recovered struct {
	// Operator is the ID of the principal that the token is of.
	Operator  string
	Token     secret.Plaintext
	ExpiresAt time.Time
	// Cleared says that every live host knows of it, ForbiddenBy which policies forbid it
	// to delete a policy, or may by the address that it is used from.
	Cleared     bool
	ForbiddenBy []string
}

// Recover makes a token that may do what operators may, for who has none any more. It
// works for expiresIn, 1 min to 24 h, and no longer than until the next one is made. The
// policies of the system account that are named are deleted. After any error it can be
// asked again; secret.CodeOutcomeUnknown says that a token may have been made.
func (c *Client) Recover(ctx context.Context, expiresIn time.Duration, deletePolicies ...string) (Recovered, error) {
	var answer struct {
		Operator, Token string
		ExpiresAt       time.Time `json:"expires_at"`
		Cleared         bool
		ForbiddenBy     []string `json:"forbidden_by"`
	}
	body := map[string]any{"expires_in_seconds": int64(expiresIn / time.Second), "delete_policies": deletePolicies}
	if err := c.call(ctx, http.MethodPost, "/v1/recover", body, &answer); err != nil {
		return Recovered{}, err
	}
	return Recovered{
		Operator: answer.Operator, Token: secret.NewPlaintext([]byte(answer.Token)), ExpiresAt: answer.ExpiresAt,
		Cleared: answer.Cleared, ForbiddenBy: answer.ForbiddenBy,
	}, nil
}

// ReopenAudit makes the process open its audit files again.
func (c *Client) ReopenAudit(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/audit/reopen", nil, nil)
}

// BreakGlass makes a process that is cut off from the store honour credentials
// for longer than it may, or ends that.
func (c *Client) BreakGlass(ctx context.Context, on bool) error {
	return c.call(ctx, http.MethodPost, "/v1/break-glass", map[string]bool{"on": on}, nil)
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://control"+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.notReached(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return secret.Wrap(secret.CodeOutcomeUnknown, err, "the process did not answer in full")
	}
	if response.StatusCode == http.StatusOK {
		if into == nil {
			return nil
		}
		return json.Unmarshal(answer, into)
	}
	return failureOf(response.Status, answer)
}

// failure is why the process did not do what it was asked.
type failure struct{ Code, Message, Hint string }

func (f *failure) typed() error {
	return &secret.Error{Code: secret.Code(f.Code), Message: f.Message, Hint: f.Hint}
}

func failureOf(status string, answer []byte) error {
	var f failure
	if err := json.Unmarshal(answer, &f); err != nil || f.Code == "" {
		return secret.Errorf(secret.CodeInternal, "the control socket answers %s", status)
	}
	return f.typed()
}

func (c *Client) notReached(err error) error {
	e := secret.Wrap(secret.CodeUnavailable, err, "the control socket "+c.path+" does not answer")
	switch {
	case errors.Is(err, os.ErrPermission):
		e.Code = secret.CodeDenied
		e.Hint = "run this as the user that the process runs as"
	default:
		e.Hint = "is the process running, and is this its data directory?"
	}
	return e
}
