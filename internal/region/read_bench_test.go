package region_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

// BenchmarkGetSecretValue reads a value of 1 KiB through the front door, without
// a network: what a read costs besides HTTP and TLS.
func BenchmarkGetSecretValue(b *testing.B) {
	p, token := furnished(b)
	m := &lifeboatv1.GetSecretValueRequest{Vault: "app", Secret: "db/password"}
	binary, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	for contentType, body := range map[string][]byte{"proto": binary, "json": text} {
		b.Run(contentType, func(b *testing.B) {
			header := http.Header{"Content-Type": {"application/" + contentType}, "Authorization": {"Bearer " + token}}
			b.ReportAllocs()
			for b.Loop() {
				if status := post(p.Handler(), lifeboatv1connect.SecretServiceGetSecretValueProcedure, header, body).Code; status != http.StatusOK {
					b.Fatal(status)
				}
			}
		})
	}
}

// BenchmarkCreateSecret makes secrets of 1 KiB through the front door, without a
// network, from 16 clients: what a write costs besides HTTP and TLS.
func BenchmarkCreateSecret(b *testing.B) {
	p, token := furnished(b)
	header := http.Header{"Content-Type": {"application/proto"}, "Authorization": {"Bearer " + token}}
	var made atomic.Int64
	b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body, err := proto.Marshal(&lifeboatv1.CreateSecretRequest{
				Vault: "app", Name: fmt.Sprintf("made/%07d", made.Add(1)), Value: make([]byte, 1<<10),
			})
			if err != nil {
				b.Error(err)
				return
			}
			if w := post(p.Handler(), lifeboatv1connect.SecretServiceCreateSecretProcedure, header, body); w.Code != http.StatusOK {
				b.Error(w.Body)
				return
			}
		}
	})
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// cpu returns the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func post(h http.Handler, path string, header http.Header, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// furnished starts a region of one process with a secret, five policies and a
// workload that may read it, and returns the workload's token.
func furnished(b testing.TB) (*region.Process, string) {
	b.Helper()
	dir := b.TempDir()
	c := config.Default()
	c.Region.Name, c.Process.ID, c.Process.DataDir = "east", "one", dir
	c.Listen.Address, c.Listen.AdminAddress = "127.0.0.1:0", ""
	c.Store.Embedded.ClientAddress, c.Store.Embedded.PeerAddress, c.Store.Embedded.Name = "", "", "one"
	c.TLS.CertFile, c.TLS.KeyFile, c.TLS.CAFile = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem"), filepath.Join(dir, "ca.pem")
	c.KMS.File.Path = filepath.Join(dir, "kms")
	c.AWS.Vault = "app"
	c.Audit.Paths = []string{filepath.Join(dir, "audit.log")}
	prepare(b, c)
	p, err := region.Start(b.Context(), region.Options{Config: c, Release: "bench", Logger: slog.New(slog.DiscardHandler)})
	must(b, err)
	b.Cleanup(func() { must(b, p.Close()) })
	var token string
	patiently(b, func() error {
		made, err := p.Initialize(b.Context())
		token = string(made.Token.Reveal())
		return err
	})
	call := func(procedure string, in, out proto.Message) error {
		body, err := proto.Marshal(in)
		must(b, err)
		w := post(p.Handler(), procedure, http.Header{"Content-Type": {"application/proto"}, "Authorization": {"Bearer " + token}}, body)
		if w.Code != http.StatusOK {
			return fmt.Errorf("%s: %s", procedure, w.Body)
		}
		return proto.Unmarshal(w.Body.Bytes(), out)
	}
	var account lifeboatv1.CreateAccountResponse
	patiently(b, func() error {
		return call(lifeboatv1connect.AccountServiceCreateAccountProcedure, &lifeboatv1.CreateAccountRequest{Name: "acme"}, &account)
	})
	token = account.GetToken()
	must(b, call(lifeboatv1connect.AccountServiceCreatePrincipalProcedure, &lifeboatv1.CreatePrincipalRequest{
		Name: "app", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD, Roles: []string{"readers", "writers"},
	}, &lifeboatv1.CreatePrincipalResponse{}))
	for name, text := range map[string]string{
		"readers": `permit (principal in Role::"readers", action in Action::"read", resource);`,
		"writers": `permit (principal in Role::"writers", action in Action::"write", resource);`,
		"own-key": `permit (principal in Role::"readers", action == Action::"CreateAccessKey", resource);`,
		"robots":  `permit (principal in Role::"robots", action in Action::"read", resource);`,
		"locked":  `forbid (principal, action in Action::"read", resource is Secret) when { resource.tags has locked };`,
	} {
		must(b, call(lifeboatv1connect.AccountServicePutPolicyProcedure, &lifeboatv1.PutPolicyRequest{Name: name, Text: text}, &lifeboatv1.PutPolicyResponse{}))
	}
	must(b, call(lifeboatv1connect.VaultServiceCreateVaultProcedure, &lifeboatv1.CreateVaultRequest{Name: "app"}, &lifeboatv1.CreateVaultResponse{}))
	must(b, call(lifeboatv1connect.SecretServiceCreateSecretProcedure, &lifeboatv1.CreateSecretRequest{
		Vault: "app", Name: "db/password", Value: bytes.Repeat([]byte("secret: "), 1<<7), Wait: lifeboatv1.Wait_WAIT_CLEARED,
	}, &lifeboatv1.CreateSecretResponse{}))
	var made lifeboatv1.CreateTokenResponse
	must(b, call(lifeboatv1connect.AccountServiceCreateTokenProcedure, &lifeboatv1.CreateTokenRequest{Principal: "app"}, &made))
	return p, made.GetToken()
}

// patiently repeats what needs a store that is still on its way up.
func patiently(b testing.TB, try func() error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			b.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
