package behaviour_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestTimesThatRecordsCannotKeepAreRefused(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Control())
	create(t, c, a.Vault, "s", "x")
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	} {
		stamp := timestamppb.New(at)
		fails(t, c.PutSecretVersion, &lifeboatv1.PutSecretVersionRequest{Vault: a.Vault, Secret: "s", Value: []byte("y"), ExpiresAt: stamp}, secret.CodeInvalid)
		fails(t, c.CreateToken, &lifeboatv1.CreateTokenRequest{ExpiresAt: stamp}, secret.CodeInvalid)
		fails(t, c.UpdateSecret, &lifeboatv1.UpdateSecretRequest{Vault: a.Vault, Secret: "s", Rules: &lifeboatv1.Rules{ExpiresAt: stamp}}, secret.CodeInvalid)
	}
	ttl := durationpb.New(101 * 365 * 24 * time.Hour)
	fails(t, c.UpdateSecret, &lifeboatv1.UpdateSecretRequest{Vault: a.Vault, Secret: "s", Rules: &lifeboatv1.Rules{VersionTtl: ttl}}, secret.CodeInvalid)
	if got := get(t, c, a.Vault, "s"); string(got.GetValue()) != "x" {
		t.Error("something changed")
	}
}

func TestCredentialsOfAPrincipalAreBoundedUnderConcurrency(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Control())
	do(t, c.CreatePrincipal, &lifeboatv1.CreatePrincipalRequest{Name: "p", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD})
	const asked, limit = 60, 50
	var made, refused atomic.Int32
	var running sync.WaitGroup
	for range asked {
		running.Go(func() {
			switch _, err := c.CreateToken(t.Context(), ask(&lifeboatv1.CreateTokenRequest{Principal: "p"})); {
			case err == nil:
				made.Add(1)
			case codeOf(err) == secret.CodeLimit:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	running.Wait()
	if made.Load() != limit || refused.Load() != asked-limit {
		t.Errorf("%d made, %d refused; want %d and %d", made.Load(), refused.Load(), limit, asked-limit)
	}
	do(t, c.DeletePrincipal, &lifeboatv1.DeletePrincipalRequest{Principal: "p"})
}

func TestTokenOfAPurgedSecretSaysThatItIsGone(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Control())
	create(t, c, a.Vault, "s", "x")
	gone := do(t, c.DeleteSecret, &lifeboatv1.DeleteSecretRequest{Vault: a.Vault, Secret: "s", Immediate: true, Wait: lifeboatv1.Wait_WAIT_CLEARED})
	read := &lifeboatv1.GetSecretValueRequest{Vault: a.Vault, Secret: "s", RevisionToken: gone.GetRevisionToken()}
	for _, p := range shared.Processes() {
		fails(t, a.Client(p).GetSecretValue, read, secret.CodeNotFound)
	}
}

func TestAuditNamesWhatWasMade(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Control())
	vault, err := c.CreateVault(t.Context(), ask(&lifeboatv1.CreateVaultRequest{Name: a.Name + "-made"}))
	must(t, err)
	line := audited(t, shared, vault.Header().Get("Lifeboat-Request-Id"), "ok")
	if line.Kind != "vault" || line.ID != vault.Msg.GetVault().GetId() || line.Name != a.Name+"-made" {
		t.Errorf("the vault's line is %+v", line)
	}
	p, err := c.CreatePrincipal(t.Context(), ask(&lifeboatv1.CreatePrincipalRequest{Name: "made", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_USER}))
	must(t, err)
	line = audited(t, shared, p.Header().Get("Lifeboat-Request-Id"), "ok")
	if line.Kind != "principal" || line.ID != p.Msg.GetPrincipal().GetId() || line.Name != "made" {
		t.Errorf("the principal's line is %+v", line)
	}
	token, err := c.CreateToken(t.Context(), ask(&lifeboatv1.CreateTokenRequest{Principal: "made"}))
	must(t, err)
	line = audited(t, shared, token.Header().Get("Lifeboat-Request-Id"), "ok")
	if line.Kind != "credential" || line.ID != token.Msg.GetCredential().GetId() || line.Name != "made" {
		t.Errorf("the credential's line is %+v", line)
	}
}

func TestStrangersCannotGuessNames(t *testing.T) {
	mine, theirs := account(t, shared), account(t, shared)
	c := mine.Client(shared.Host(0))
	for _, vault := range []string{theirs.Name + "/" + theirs.Vault, theirs.Name + "/nothing", "nobody/nothing"} {
		fails(t, c.GetVault, &lifeboatv1.GetVaultRequest{Vault: vault}, secret.CodeDenied)
		fails(t, c.GetSecretValue, &lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: "s"}, secret.CodeDenied)
	}
	for _, name := range []string{"admin", "nobody"} {
		fails(t, c.GetPrincipal, &lifeboatv1.GetPrincipalRequest{Account: theirs.Name, Principal: name}, secret.CodeDenied)
	}
	fails(t, c.GetVault, &lifeboatv1.GetVaultRequest{Vault: "nothing"}, secret.CodeNotFound)
}
