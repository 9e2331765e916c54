// Package failover_test shows what programs with a client of several regions get while
// regions and the network to them fail.
package failover_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is two regions, and the networks over which clients reach their hosts.
type world struct {
	*lifeboattest.Regions
	networks map[string]*faultproxy.Proxy
	// vault is the ID of the vault shop, whose home is east and which is in west too;
	// local that of the vault local, which is in east alone.
	token, vault, local string
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{Regions: lifeboattest.StartRegions(t, lifeboattest.Options{Hosts: 1}, "east", "west"), networks: map[string]*faultproxy.Proxy{}}
	for _, r := range w.All() {
		proxy, err := faultproxy.Start(faultproxy.Options{Target: strings.TrimPrefix(r.Host(0).URL(), "https://")})
		must(t, err)
		t.Cleanup(func() { must(t, proxy.Close()) })
		w.networks[r.Name()] = proxy
	}
	east := w.Region("east")
	account, err := east.NewAccount(t.Context(), "shop")
	must(t, err)
	w.token, w.vault = account.Token, account.VaultID
	admin := account.Client(east.Control())
	made, err := admin.CreateVault(t.Context(), connect.NewRequest(&lifeboatv1.CreateVaultRequest{Name: "local"}))
	must(t, err)
	w.local = made.Msg.GetVault().GetId()
	_, err = admin.ReplicateVault(t.Context(), connect.NewRequest(&lifeboatv1.ReplicateVaultRequest{
		Vault: "shop", Targets: &lifeboatv1.ReplicateVaultRequest_Targets{Targets: []*lifeboatv1.Target{{Region: "west"}}},
	}))
	must(t, err)
	return w
}

// client returns a client of the regions, in this order of preference.
func (w *world) client(t *testing.T, timeout time.Duration, names ...string) *client.Client {
	t.Helper()
	// A machine that is busy is no reason to ask another region too.
	config := client.Config{Token: client.NewValue(w.token), Timeout: timeout, HedgeAfter: time.Minute}
	regions := map[string]client.Region{}
	for _, region := range w.ForClients() {
		region.Addresses = []string{"https://" + w.networks[region.Name].Address()}
		regions[region.Name] = region
	}
	for _, name := range names {
		config.Regions = append(config.Regions, regions[name])
	}
	c, err := client.New(config)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

func put(ctx context.Context, c *client.Client, vault, name, value string) (string, error) {
	made, err := c.PutSecret(ctx, &client.PutSecretVersionRequest{Vault: vault, Secret: name, Value: []byte(value)})
	if err != nil {
		return "", err
	}
	return made.RevisionToken, nil
}

// read returns a value and the region that answered.
func read(ctx context.Context, c *client.Client, vault, name, token string) (value, region string, err error) {
	got, err := c.GetSecretValue(ctx, &client.GetSecretValueRequest{Vault: vault, Secret: name, RevisionToken: token})
	return string(got.GetValue()), got.GetFreshness().GetRegion(), err
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func wantCode(t *testing.T, err error, code client.Code) *client.Error {
	t.Helper()
	if client.CodeOf(err) != code {
		t.Fatalf("error is %v, wanted %s", err, code)
	}
	e, _ := errors.AsType[*client.Error](err)
	return e
}

// TestARegionIsLostAndReturns follows one client, which is never made anew.
func TestARegionIsLostAndReturns(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := t.Context()
	c, early := w.client(t, 10*time.Second, "west", "east"), w.client(t, 10*time.Second, "west", "east")
	// West may not even have heard of the account yet; what is in east is found.
	token, err := put(ctx, early, "shop", "db/password", "first")
	must(t, err)
	value, _, err := read(ctx, early, "shop", "db/password", token)
	if err != nil || value != "first" {
		t.Errorf("read %q, %v", value, err)
	}
	alone, err := c.At("west")
	must(t, err)
	until(t, "west answers", func() bool {
		value, _, err := read(ctx, alone, "shop", "db/password", "")
		return err == nil && value == "first"
	})
	// What west does not hold comes from east.
	_, err = put(ctx, c, "local", "only", "here")
	must(t, err)
	if value, region, err := read(ctx, c, "local", "only", ""); err != nil || value != "here" || region != "east" {
		t.Errorf("read %q of %s, %v", value, region, err)
	}
	_, _, err = read(ctx, c, "shop", "nothing", "")
	wantCode(t, err, client.CodeNotFound)

	// The age of a replica is bounded while the regions are linked.
	age := func() float64 {
		got, err := alone.GetSecretValue(ctx, &client.GetSecretValueRequest{Vault: "shop", Secret: "db/password"})
		must(t, err)
		if fresh := got.GetFreshness(); fresh.GetHomeRegion() != "east" || fresh.GetRegion() != "west" {
			t.Errorf("freshness is %v", fresh)
		} else if fresh.GetAgeUnknown() {
			return -1
		}
		return got.GetFreshness().GetAgeSeconds()
	}
	until(t, "the age is known", func() bool { return age() >= 0 })
	before := age()
	until(t, "it goes down again", func() bool { now := age(); defer func() { before = now }(); return now < before })

	// Cut off from each other, it grows, and the replica does not satisfy a newer token; the home does.
	w.Isolate("west")
	token, err = put(ctx, c, "shop", "db/password", "second")
	must(t, err)
	if value, region, err := read(ctx, c, "shop", "db/password", token); err != nil || value != "second" || region != "east" {
		t.Errorf("read %q of %s, %v", value, region, err)
	}
	if value, region, err := read(ctx, c, "shop", "db/password", ""); err != nil || value != "first" || region != "west" {
		t.Errorf("read %q of %s, %v", value, region, err)
	}
	until(t, "the age grows", func() bool { return age() > 3.5 })
	w.loseEast(t, c, token)
}

// loseEast cuts east off from everybody, and starts it anew. token is of a write that it
// alone has.
func (w *world) loseEast(t *testing.T, c *client.Client, token string) {
	t.Helper()
	ctx := t.Context()
	// A token that it alone satisfies is refused, other reads go on.
	w.networks["east"].Cut()
	short := w.client(t, 4*time.Second, "east", "west")
	_, _, err := read(ctx, short, "shop", "db/password", token)
	wantCode(t, err, client.CodeNotReached)
	if value, region, err := read(ctx, short, "shop", "db/password", ""); err != nil || value != "first" || region != "west" {
		t.Errorf("read %q of %s, %v", value, region, err)
	}
	_, err = put(ctx, short, "shop", "db/password", "third")
	if e := wantCode(t, err, client.CodeUnreachable); !strings.Contains(e.Message, "east") {
		t.Errorf("message is %q", e.Message)
	}
	// It returns, and is found without a restart.
	must(t, w.Region("east").Kill())
	w.networks["east"].Heal()
	must(t, w.Region("east").Start(ctx))
	w.Rejoin("west")
	until(t, "a write arrives", func() bool {
		_, err := put(ctx, short, "shop", "db/password", "fourth")
		return err == nil
	})
	until(t, "reads come from east again", func() bool {
		value, region, err := read(ctx, short, "shop", "db/password", "")
		return err == nil && value == "fourth" && region == "east"
	})
	until(t, "west has it", func() bool {
		value, region, err := read(ctx, c, "shop", "db/password", "")
		return err == nil && value == "fourth" && region == "west"
	})
}

// TestLoadBalancersLearnWhereToReadAndWrite asks as one does, without credentials.
func TestLoadBalancersLearnWhereToReadAndWrite(t *testing.T) {
	t.Parallel()
	w := start(t)
	ask := func(region, path string) (int, string) {
		r := w.Region(region)
		answer, err := r.Client(r.Host(0), "").HTTP.Get(r.Host(0).URL() + path)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		must(t, err)
		return answer.StatusCode, strings.TrimSpace(string(body))
	}
	want := func(region, path string, status int, body string) {
		t.Helper()
		var got int
		var said string
		until(t, region+path+" answers as wanted", func() bool {
			got, said = ask(region, path)
			return got == status && said == body
		})
	}
	east, west, neither := `{"region":"east","reads":true,"writes":true}`, `{"region":"west","reads":true,"writes":true}`, `{"region":"west","reads":false,"writes":false}`
	want("east", "/health/reads", http.StatusOK, east)
	want("west", "/health/writes", http.StatusOK, west)
	shop := "/health/vaults/" + w.vault
	want("east", shop+"/reads", http.StatusOK, east)
	want("east", shop+"/writes", http.StatusOK, east)
	replica := `{"region":"west","reads":true,"writes":false}`
	want("west", shop+"/reads", http.StatusOK, replica)
	want("west", shop+"/writes", http.StatusServiceUnavailable, replica)
	// One that is elsewhere, one that never was, and no ID at all look the same.
	for _, vault := range []string{w.local, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "shop"} {
		want("west", "/health/vaults/"+vault+"/reads", http.StatusServiceUnavailable, neither)
	}
	// Without its control process a region goes on answering reads.
	must(t, w.Region("east").Control().Kill())
	reading := `{"region":"east","reads":true,"writes":false}`
	want("east", "/health/reads", http.StatusOK, reading)
	want("east", "/health/writes", http.StatusServiceUnavailable, reading)
	want("east", shop+"/reads", http.StatusOK, reading)
	want("east", shop+"/writes", http.StatusServiceUnavailable, reading)
	must(t, w.Region("east").Control().Start(t.Context()))
	want("east", shop+"/writes", http.StatusOK, east)
}
