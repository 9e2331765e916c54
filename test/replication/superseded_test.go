package replication_test

import (
	"context"
	"strings"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

// read reads with a revision token at a host of a region.
func (s *shop) read(ctx context.Context, region, name, token string) (*lifeboatv1.GetSecretValueResponse, error) {
	r := s.regions.Region(region)
	return readAt(ctx, r.Client(r.Host(0), s.token), name, token)
}

func readAt(ctx context.Context, c *lifeboattest.Client, name, token string) (*lifeboatv1.GetSecretValueResponse, error) {
	got, err := c.GetSecretValue(ctx, connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: "shop", Secret: name, RevisionToken: token}))
	if err != nil {
		return nil, err
	}
	return got.Msg, nil
}

// wantSuperseded checks that all processes of a region refuse a token, and say why.
// None may answer an older value while it does not know yet.
func (s *shop) wantSuperseded(region, name, token, says string) {
	s.t.Helper()
	r := s.regions.Region(region)
	for _, p := range []*lifeboattest.Process{r.Control(), r.Host(0)} {
		until(s.t, p.ID+" of "+region+" says what became of the write", func(ctx context.Context) (bool, any) {
			got, err := readAt(ctx, r.Client(p, s.token), name, token)
			if err == nil && string(got.GetValue()) != "lost in east" {
				s.t.Fatalf("%s of %s answers %s for the token of a write that was lost", p.ID, region, got.GetValue())
			}
			return codeOf(err) == secret.CodeSuperseded && strings.Contains(err.Error(), says), err
		})
	}
}
