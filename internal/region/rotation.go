package region

import (
	"context"
	"crypto/tls"
	"net/http"

	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor/aws"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/credential"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/rotation"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const minRotatorKey = 32

// newRotation makes what rotates secrets, in a control process with rotators.
func (p *Process) newRotation() error {
	rotators := map[string]*rotation.Endpoint{}
	for i := range p.config.Rotators {
		r := &p.config.Rotators[i]
		key, err := credential.Read(r.KeyFile)
		if err != nil {
			return err
		}
		if len(key) < minRotatorKey {
			return secret.Invalid("rotators.key_file", "%s holds %d bytes; allowed are %d to 4096", r.KeyFile, len(key), minRotatorKey)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.Proxy = nil
		if r.CAFile != "" {
			if transport.TLSClientConfig, err = pki.ClientTLS(r.CAFile); err != nil {
				return err
			}
		} else {
			transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		p.onClose(func() error {
			transport.CloseIdleConnections()
			return nil
		})
		endpoint := &rotation.Endpoint{
			URL: r.URL, Key: secret.NewPlaintext(key), Timeout: r.Timeout,
			Client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		}
		if endpoint.Timeout == 0 {
			endpoint.Timeout = rotation.DefaultTimeout
		}
		rotators[r.Name] = endpoint
	}
	names := aws.New(p.awsOptions())
	p.rotation = rotation.New(rotation.Options{
		Region: p.config.Region.Name, Service: p.service, Local: completeCopy{p}, Rotators: rotators,
		SecretID: names.ARN, Logger: p.log.With("part", "rotation"), Now: p.clock,
		Observe: func(step secret.RotationStep, ok bool) {
			outcome := "ok"
			if !ok {
				outcome = "failed"
			}
			p.rotationSteps.WithLabelValues(string(step), outcome).Inc()
		},
	})
	return nil
}

// runRotation rotates secrets while this process holds the lease.
func (p *Process) runRotation(ctx context.Context) {
	if p.rotation == nil {
		return
	}
	p.run(ctx, "rotation", func(ctx context.Context) error { return p.store.Hold(ctx, "rotation", p.rotation.Run) })
}
