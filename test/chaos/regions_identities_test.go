//go:build !faultpoints

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// guest is a principal with a token.
type guest struct {
	name  string
	token client.Value
	gone  bool
	// unknown is set if it may be gone.
	unknown bool
}

// steward lets guests into the account of a vault and has them leave, and changes
// policies, at the vault's home.
type steward struct {
	world  *regionsWorld
	vault  replicatedVault
	r      *rand.Rand
	guests []*guest
	made   int
}

// work changes identities until ctx ends.
func (s *steward) work(ctx context.Context) {
	for wait(ctx, s.r, 50*time.Millisecond, 300*time.Millisecond) {
		c := pick(s.r, s.world.clients(s.vault.home, s.vault))
		policy := fmt.Sprint("policy-", s.r.IntN(3))
		ctx := context.WithoutCancel(ctx)
		switch s.r.IntN(5) {
		case 0, 1:
			s.admit(ctx, c)
		case 2:
			s.dismiss(ctx, c)
		case 3:
			_, err := c.PutPolicy(ctx, &lifeboatv1.PutPolicyRequest{
				Name: policy, Text: fmt.Sprintf(`forbid(principal, action, resource) when { principal == Principal::"%d" };`, s.r.IntN(1000)),
			})
			s.world.answered("policy", policy, err)
		case 4:
			_, err := c.DeletePolicy(ctx, &lifeboatv1.DeletePolicyRequest{Name: policy})
			s.world.answered("no policy", policy, err)
		}
	}
}

func (s *steward) admit(ctx context.Context, c *client.Client) {
	s.made++
	name := fmt.Sprint("guest-", s.made)
	_, err := c.CreatePrincipal(ctx, &lifeboatv1.CreatePrincipalRequest{Name: name, Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD})
	if s.world.answered("admit", name, err); err != nil {
		return
	}
	made, err := c.CreateToken(ctx, &lifeboatv1.CreateTokenRequest{Principal: name})
	if s.world.answered("token", name, err); err == nil {
		s.guests = append(s.guests, &guest{name: name, token: client.NewValue(made.GetToken())})
	}
}

func (s *steward) dismiss(ctx context.Context, c *client.Client) {
	left := slices.DeleteFunc(slices.Clone(s.guests), func(g *guest) bool { return g.gone || g.unknown })
	if len(left) == 0 {
		return
	}
	g := pick(s.r, left)
	_, err := c.DeletePrincipal(ctx, &lifeboatv1.DeletePrincipalRequest{Principal: g.name})
	s.world.answered("dismiss", g.name, err)
	g.gone, g.unknown = err == nil, client.MayBeDone(err)
}

// check looks in every region whether those who were let in are there, and those who
// left are not.
func (s *steward) check() {
	w := s.world
	for _, region := range append([]string{s.vault.home}, s.vault.targets...) {
		doors := slices.DeleteFunc(slices.Clone(w.processes), func(p *regionProcess) bool { return p.region != region || len(p.clients) == 0 })
		for _, g := range s.guests {
			if g.unknown {
				continue
			}
			want := client.Code("")
			if g.gone {
				want = client.CodeUnauthenticated
			}
			p := pick(s.r, doors)
			c := w.newClient(w.regions.Region(secret.RegionName(region)), p.Process, g.token)
			w.eventually(fmt.Sprintf("%s answers the token of %s of %s with %q", p.name, g.name, s.vault.name, want), func(ctx context.Context) error {
				_, err := c.WhoAmI(ctx, &lifeboatv1.WhoAmIRequest{})
				if got := client.CodeOf(err); got != want {
					return fmt.Errorf("with %q: %w", got, err)
				}
				return nil
			})
		}
	}
}
