package behaviour_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// What is asked for over a control socket is audited also if it is refused before
// anything begins.
func TestRefusalsOverTheControlSocketAreAudited(t *testing.T) {
	t.Parallel()
	r := lifeboattest.Start(t, lifeboattest.Options{Hosts: 1})
	for _, c := range []struct {
		process            *lifeboattest.Process
		method, path, body string
		action             string
		code               secret.Code
	}{
		{r.Control(), "POST", "/v1/recover", `{`, "OperatorRecover", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/recover", `{"unknown": 1}`, "OperatorRecover", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/recover", `{"expires_in_seconds": 3600} {}`, "OperatorRecover", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/recover", `{"expires_in_seconds": 1}`, "OperatorRecover", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/break-glass", `{"on": 1}`, "OperatorBreakGlass", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/break-glass", `{}`, "OperatorBreakGlass", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/backup", `{}`, "OperatorBackup", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/backup", `{"file": "here"}`, "OperatorBackup", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/restore", ``, "OperatorRestore", secret.CodeInvalid},
		{r.Control(), "POST", "/v1/restore", `{"file": "/missing"}`, "OperatorRestore", secret.CodeInvalid},
		{r.Control(), "GET", "/v1/initialize", ``, "/v1/initialize", secret.CodeNotFound},
		{r.Control(), "POST", "/v2/anything", ``, "/v2/anything", secret.CodeNotFound},
		{r.Host(0), "POST", "/v1/initialize", ``, "OperatorInitialize", secret.CodeWrongState},
		{r.Host(0), "POST", "/v1/recover", `{"expires_in_seconds": 3600}`, "OperatorRecover", secret.CodeWrongState},
		{r.Host(0), "POST", "/v1/backup", `{"file": "/b"}`, "OperatorBackup", secret.CodeWrongState},
		{r.Host(0), "POST", "/v1/restore", `{"file": "/b"}`, "OperatorRestore", secret.CodeWrongState},
	} {
		before, err := c.process.AuditLines()
		must(t, err)
		answer := askSocket(t, c.process, c.method, c.path, c.body)
		if !strings.Contains(answer, `"code":"`+string(c.code)+`"`) {
			t.Errorf("%s %s %s answers %s", c.method, c.path, c.body, answer)
		}
		lines, err := c.process.AuditLines()
		must(t, err)
		of := slices.DeleteFunc(lines[len(before):], func(l lifeboattest.AuditLine) bool { return l.Principal != "control-socket" })
		if len(of) != 1 || of[0].Action != c.action || of[0].Outcome != string(c.code) {
			t.Errorf("%s %s %s is audited as %+v", c.method, c.path, c.body, of)
		}
	}
}

func askSocket(t *testing.T, p *lifeboattest.Process, method, path, body string) string {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", p.SocketPath())
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://control"+path, strings.NewReader(body))
	must(t, err)
	answer, err := transport.RoundTrip(request)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	return string(text)
}
