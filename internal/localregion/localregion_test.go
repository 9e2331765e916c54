package localregion_test

import (
	"context"
	"testing"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
)

func plan(t *testing.T, o localregion.Options) *localregion.Region {
	t.Helper()
	r, err := localregion.Plan(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestDataAndAddressesAreKept(t *testing.T) {
	ctx := deadline(t)
	o := localregion.Options{Dir: t.TempDir(), Hosts: 2}
	var addresses []string
	for round := range 2 {
		r := plan(t, o)
		if err := r.StartInProcess(ctx); err != nil {
			t.Fatal(err)
		}
		tenant, err := r.Tenant(ctx, "demo")
		if err != nil {
			t.Fatal(err)
		}
		c, err := r.Client(r.Hosts()[1], tenant.Token)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			addresses = []string{r.Control().Address(), r.Hosts()[0].Address(), r.Hosts()[1].Address()}
			_, err = c.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{
				Vault: "demo", Name: "kept", Value: []byte("v"), Wait: lifeboatv1.Wait_WAIT_CLEARED,
			})
		} else {
			var got *lifeboatv1.GetSecretValueResponse
			if got, err = c.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: "demo", Secret: "kept"}); string(got.GetValue()) != "v" {
				t.Errorf("value is %q", got.GetValue())
			}
			for i, p := range r.Processes() {
				if p.Address() != addresses[i] {
					t.Errorf("%s moved from %s to %s", p.ID, addresses[i], p.Address())
				}
			}
		}
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
