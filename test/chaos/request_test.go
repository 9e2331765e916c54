package chaos_test

import (
	"context"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// put makes the secret or adds a version, through one process.
func (p *process) put(ctx context.Context, name, value string) (revisionToken string, cleared bool, err error) {
	c := p.client(p.cell.admin)
	added, _, err := invoke(ctx, c.secrets.PutSecretVersion, c, &lifeboatv1.PutSecretVersionRequest{
		Vault: vaultName, Secret: name, Value: []byte(value), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	if codeOf(err) != secret.CodeNotFound {
		return added.GetRevisionToken(), added.GetCleared(), err
	}
	made, _, err := invoke(ctx, c.secrets.CreateSecret, c, &lifeboatv1.CreateSecretRequest{
		Vault: vaultName, Name: name, Value: []byte(value), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	})
	return made.GetRevisionToken(), made.GetCleared(), err
}

// get reads the current value at one process.
func (p *process) get(ctx context.Context, name, revisionToken string) (*lifeboatv1.GetSecretValueResponse, error) {
	c := p.client(p.cell.admin)
	answer, _, err := invoke(ctx, c.secrets.GetSecretValue, c, &lifeboatv1.GetSecretValueRequest{
		Vault: vaultName, Secret: name, RevisionToken: revisionToken,
	})
	return answer, err
}

// shows checks that a process answers a value.
func (p *process) shows(name, value, revisionToken string) *lifeboatv1.GetSecretValueResponse {
	p.cell.t.Helper()
	answer, err := p.get(p.cell.t.Context(), name, revisionToken)
	if err != nil || string(answer.GetValue()) != value {
		p.cell.t.Errorf("%s answers %q, %v for %s; want %q", p.id, answer.GetValue(), err, name, value)
	}
	return answer
}

// refuses checks that a process answers with a code.
func (p *process) refuses(what string, err error, code secret.Code) {
	p.cell.t.Helper()
	if codeOf(err) != code {
		p.cell.t.Errorf("%s: %s answers %q, want %q: %v", p.id, what, codeOf(err), code, err)
	}
}
