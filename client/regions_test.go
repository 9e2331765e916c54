package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
)

// fake is a region that holds one secret, or says why not.
type fake struct {
	lifeboatv1connect.UnimplementedSecretServiceHandler
	name string

	mu sync.Mutex
	// home is what it takes for the home region.
	home string
	// refuses, if set, answers reads; breaks has the connection of a mutation broken
	// off once it was carried out.
	refuses error
	breaks  bool
	// ruled, if set, is where the home is for all regions, and heir which one takes over
	// when one breaks off.
	ruled *atomic.Pointer[string]
	heir  string
	// waits is how long a read takes.
	waits time.Duration

	reads, writes, probes int
	done                  []string
	watches               []string
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) count(which *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *which
}

// did returns the mutations that were done. A connection that breaks orders nothing.
func (f *fake) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.done)
}

func (f *fake) GetSecretValue(ctx context.Context, _ *connect.Request[lifeboatv1.GetSecretValueRequest]) (*connect.Response[lifeboatv1.GetSecretValueResponse], error) {
	f.mu.Lock()
	f.reads++
	err, waits := f.refuses, f.waits
	f.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(waits):
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&lifeboatv1.GetSecretValueResponse{Value: []byte(f.name), Freshness: &lifeboatv1.Freshness{Region: f.name}}), nil
}

// mutate is the way of all mutations: only the home does them.
func (f *fake) mutate(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if f.refuses != nil {
		return f.refuses
	}
	if f.ruled != nil {
		f.home = *f.ruled.Load()
	}
	if f.home != f.name {
		return homeRefusal(connect.CodeFailedPrecondition, "not_home", "", f.home)
	}
	f.done = append(f.done, what)
	if f.breaks && f.ruled != nil { // and is lost: another one takes over
		f.ruled.Store(&f.heir)
	}
	if f.breaks {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (f *fake) PutSecretVersion(_ context.Context, r *connect.Request[lifeboatv1.PutSecretVersionRequest]) (*connect.Response[lifeboatv1.PutSecretVersionResponse], error) {
	if err := f.mutate("put " + r.Msg.GetRequestToken()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&lifeboatv1.PutSecretVersionResponse{}), nil
}

// fakeVaults is the part of a fake region whose mutations carry no request token.
type fakeVaults struct {
	lifeboatv1connect.UnimplementedVaultServiceHandler
	*fake
}

func (f fakeVaults) DeleteVault(_ context.Context, r *connect.Request[lifeboatv1.DeleteVaultRequest]) (*connect.Response[lifeboatv1.DeleteVaultResponse], error) {
	if err := f.mutate("delete vault " + r.Msg.GetVault()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&lifeboatv1.DeleteVaultResponse{}), nil
}

func (f *fake) DeleteSecret(context.Context, *connect.Request[lifeboatv1.DeleteSecretRequest]) (*connect.Response[lifeboatv1.DeleteSecretResponse], error) {
	if err := f.mutate("delete"); err != nil {
		return nil, err
	}
	return connect.NewResponse(&lifeboatv1.DeleteSecretResponse{}), nil
}

func (f *fake) WatchSecrets(ctx context.Context, r *connect.Request[lifeboatv1.WatchSecretsRequest], s *connect.ServerStream[lifeboatv1.WatchSecretsResponse]) error {
	token := r.Msg.GetResumeToken()
	f.mu.Lock()
	f.watches = append(f.watches, token)
	refuses := f.refuses
	f.mu.Unlock()
	if refuses != nil {
		return refuses
	}
	if token != "" && !strings.HasPrefix(token, f.name) {
		return refusal(connect.CodeOutOfRange, "resume_gone", "")
	}
	if err := s.Send(&lifeboatv1.WatchSecretsResponse{ResumeToken: f.name + " 1"}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func homeRefusal(code connect.Code, name, field, home string) error {
	err := connect.NewError(code, errors.New("refused"))
	detail, detailErr := connect.NewErrorDetail(&lifeboatv1.ErrorInfo{Code: name, Field: field, HomeRegion: home})
	if detailErr != nil {
		panic(detailErr)
	}
	err.AddDetail(detail)
	return err
}

// world is some fake regions, behind a network that can fail, and a client of them.
type world struct {
	*client.Client
	regions map[string]*fake
	network map[string]*faultproxy.Proxy
}

func newWorld(t *testing.T, change func(*client.Config), names ...string) *world {
	t.Helper()
	w := &world{regions: map[string]*fake{}, network: map[string]*faultproxy.Proxy{}}
	config := client.Config{Token: client.NewValue("lb_token"), HedgeAfter: time.Minute}
	for _, name := range names {
		f := &fake{name: name, home: names[0]}
		mux := http.NewServeMux()
		mux.Handle(lifeboatv1connect.NewSecretServiceHandler(f))
		mux.Handle(lifeboatv1connect.NewVaultServiceHandler(fakeVaults{fake: f}))
		mux.HandleFunc("/health/reads", func(http.ResponseWriter, *http.Request) { f.set(func() { f.probes++ }) })
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		proxy, err := faultproxy.Start(faultproxy.Options{Target: server.Listener.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = proxy.Close() })
		w.regions[name], w.network[name] = f, proxy
		config.Regions = append(config.Regions, client.Region{Name: name, Addresses: []string{"http://" + proxy.Address()}})
	}
	if change != nil {
		change(&config)
	}
	w.Client = connectTo(t, config)
	return w
}

// read returns which region answered, or the code of the error.
func (w *world) read(t *testing.T) string {
	t.Helper()
	got, err := w.GetSecretValue(t.Context(), &client.GetSecretValueRequest{Vault: "v", Secret: "s"})
	if err != nil {
		return string(client.CodeOf(err))
	}
	return got.GetFreshness().GetRegion()
}

func (w *world) wantRead(t *testing.T, want string) {
	t.Helper()
	if got := w.read(t); got != want {
		t.Errorf("read is answered by %q, wanted %q", got, want)
	}
}

func (w *world) put(t *testing.T) error {
	_, err := w.PutSecretVersion(t.Context(), &client.PutSecretVersionRequest{Vault: "v", Secret: "s", Value: []byte("x")})
	return err
}

func wantCode(t *testing.T, err error, code client.Code) *client.Error {
	t.Helper()
	if client.CodeOf(err) != code {
		t.Fatalf("error is %v, wanted %s", err, code)
	}
	e, _ := errors.AsType[*client.Error](err)
	return e
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestReadsGoToTheNextRegionWhileOneIsCutOff(t *testing.T) {
	w := newWorld(t, nil, "east", "west")
	w.wantRead(t, "east")
	w.network["east"].Cut()
	w.wantRead(t, "west")
	w.network["east"].Heal()
	eventually(t, "a probe finds east again", func() bool { return w.read(t) == "east" })
	if east := w.regions["east"]; east.count(&east.probes) == 0 {
		t.Error("it was found by a call")
	}
}

// TestADeadRegionCostsProbes counts the connections to a region that resets them.
func TestADeadRegionCostsProbes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	connections := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			connections++
			mu.Unlock()
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	w := newWorld(t, func(c *client.Config) {
		dead := client.Region{Name: "dead", Addresses: []string{"http://" + listener.Addr().String()}}
		c.Regions = append([]client.Region{dead}, c.Regions...)
	}, "west")
	begin := time.Now()
	for range 200 {
		w.wantRead(t, "west")
	}
	mu.Lock()
	defer mu.Unlock()
	// A probe may come after half of the first pause, and twice as late each time.
	if most := 2 + int(time.Since(begin)/(250*time.Millisecond)); connections == 0 || connections > most {
		t.Errorf("%d connections for 200 reads", connections)
	}
}

func TestASlowRegionIsHedgedThenPutAside(t *testing.T) {
	w := newWorld(t, func(c *client.Config) { c.HedgeAfter = 20 * time.Millisecond }, "east", "west")
	east := w.regions["east"]
	east.set(func() { east.waits = time.Minute })
	for range 30 {
		w.wantRead(t, "west")
	}
	if n := east.count(&east.reads); n < 3 || n > 15 {
		t.Errorf("the slow region was asked %d times", n)
	}
	east.set(func() { east.waits = 0 })
	eventually(t, "a probe finds east again", func() bool { return w.read(t) == "east" })
}

func TestABlackholeIsHedged(t *testing.T) {
	w := newWorld(t, func(c *client.Config) { c.HedgeAfter = 100 * time.Millisecond }, "east", "west")
	w.read(t) // so that there is a connection
	w.network["east"].Blackhole()
	defer w.network["east"].Heal()
	var reads sync.WaitGroup
	for range 50 { // more than the budget of hedges
		reads.Go(func() { w.wantRead(t, "west") })
	}
	reads.Wait()
}

func TestWhatOneRegionLacksIsReadInAnother(t *testing.T) {
	missing := func(home string) error { return homeRefusal(connect.CodeNotFound, "not_found", "secret", home) }
	noVault := homeRefusal(connect.CodeNotFound, "not_found", "vault", "")
	stranger := homeRefusal(connect.CodeUnauthenticated, "unauthenticated", "", "")
	behind := homeRefusal(connect.CodeUnavailable, "revision_not_reached", "", "")
	for name, c := range map[string]struct {
		west, east error
		want       string
		eastReads  int
	}{
		"secret, elsewhere":       {west: missing("east"), want: "east", eastReads: 1},
		"secret, at home":         {west: missing("west"), want: "not_found"},
		"vault":                   {west: noVault, want: "east", eastReads: 1},
		"account":                 {west: stranger, want: "east", eastReads: 1},
		"nowhere":                 {west: noVault, east: missing("east"), want: "not_found", eastReads: 1},
		"not permitted":           {west: homeRefusal(connect.CodePermissionDenied, "permission_denied", "", ""), want: "permission_denied"},
		"a state that is too old": {west: behind, want: "east", eastReads: 1},
		"throttled":               {west: homeRefusal(connect.CodeResourceExhausted, "throttled", "", ""), want: "throttled"},
		"damaged":                 {west: homeRefusal(connect.CodeDataLoss, "corrupt", "", ""), want: "east", eastReads: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *client.Config) { c.Timeout = 2 * time.Second }, "west", "east")
			w.regions["west"].refuses, w.regions["east"].refuses = c.west, c.east
			w.wantRead(t, c.want)
			if east := w.regions["east"]; east.count(&east.reads) != c.eastReads {
				t.Errorf("east was asked %d times", east.count(&east.reads))
			}
		})
	}
	t.Run("is remembered of a vault", func(t *testing.T) {
		w := newWorld(t, nil, "west", "east")
		w.regions["west"].refuses = noVault
		w.wantRead(t, "east")
		w.wantRead(t, "east")
		if west := w.regions["west"]; west.count(&west.reads) != 1 {
			t.Errorf("west was asked %d times", west.count(&west.reads))
		}
	})
}

func TestThatSomethingDoesNotExistIsNotSaidWhileARegionIsAway(t *testing.T) {
	w := newWorld(t, func(c *client.Config) { c.Timeout = 2 * time.Second }, "west", "east")
	w.regions["west"].refuses = homeRefusal(connect.CodeNotFound, "not_found", "secret", "east")
	w.network["east"].Cut()
	_, err := w.GetSecretValue(t.Context(), &client.GetSecretValueRequest{Vault: "v", Secret: "s"})
	if e := wantCode(t, err, client.CodeUnreachable); !strings.Contains(e.Message, "west does not have it") || !strings.Contains(e.Message, "east") {
		t.Errorf("message is %q", e.Message)
	}
}

func TestATokenThatNoRegionSatisfiesGetsItsError(t *testing.T) {
	w := newWorld(t, func(c *client.Config) { c.Timeout = 2 * time.Second }, "west", "east")
	w.regions["west"].refuses = homeRefusal(connect.CodeUnavailable, "revision_not_reached", "", "")
	w.network["east"].Cut()
	w.wantRead(t, "revision_not_reached")
}

func TestWritesGoToTheHome(t *testing.T) {
	w := newWorld(t, nil, "east", "west", "south")
	for _, f := range w.regions {
		f.home = "west"
	}
	for range 3 {
		if err := w.put(t); err != nil {
			t.Fatal(err)
		}
	}
	east, west, south := w.regions["east"], w.regions["west"], w.regions["south"]
	if east.count(&east.writes) != 1 || south.count(&south.writes) != 0 || len(west.did()) != 3 {
		t.Errorf("east was asked %d times, south %d times, west did %d", east.writes, south.writes, len(west.did()))
	}
	// The home moves: who is asked says so.
	for _, f := range w.regions {
		f.set(func() { f.home = "south" })
	}
	for range 2 {
		if err := w.put(t); err != nil {
			t.Fatal(err)
		}
	}
	if west.count(&west.writes) != 4 || len(south.did()) != 2 {
		t.Errorf("west was asked %d times, south did %d", west.writes, len(south.did()))
	}
}

func TestAnotherRegionTellsOfTheHomeThatTookOver(t *testing.T) {
	w := newWorld(t, func(c *client.Config) { c.Timeout = 10 * time.Second }, "east", "west")
	if err := w.put(t); err != nil {
		t.Fatal(err)
	}
	w.network["east"].Cut()
	west := w.regions["west"]
	written := make(chan error, 1)
	go func() { written <- w.put(t) }()
	eventually(t, "west is asked", func() bool { return west.count(&west.writes) > 0 })
	west.set(func() { west.home = "west" })
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	_, err := w.DeleteSecret(t.Context(), &lifeboatv1.DeleteSecretRequest{Vault: "v", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if len(west.did()) != 2 {
		t.Errorf("west did %q", west.did())
	}
}

func TestAHomeThatIsAwayIsNamed(t *testing.T) {
	w := newWorld(t, func(c *client.Config) { c.Timeout = 2 * time.Second }, "west", "east")
	for _, f := range w.regions {
		f.home = "east"
	}
	w.network["east"].Cut()
	if e := wantCode(t, w.put(t), client.CodeUnreachable); !strings.Contains(e.Message, "east") {
		t.Errorf("message is %q", e.Message)
	}
}

func TestWhileAHomeMovesAWriteWaits(t *testing.T) {
	w := newWorld(t, nil, "east", "west")
	east, west := w.regions["east"], w.regions["west"]
	east.home, west.home = "west", "east" // east has given it up, west has not heard of it
	written := make(chan error, 1)
	go func() {
		_, err := w.DeleteVault(t.Context(), &lifeboatv1.DeleteVaultRequest{Vault: "v"})
		written <- err
	}()
	eventually(t, "both are asked twice", func() bool { return east.count(&east.writes) > 1 && west.count(&west.writes) > 1 })
	west.set(func() { west.home = "west" })
	if err := <-written; err != nil || len(west.did()) != 1 || len(east.did()) != 0 {
		t.Errorf("west did %q, east %q: %v", west.did(), east.did(), err)
	}
}

func TestAMutationIsNotDoneTwice(t *testing.T) {
	t.Run("without a request token", func(t *testing.T) {
		w := newWorld(t, nil, "east", "west")
		east, west := w.regions["east"], w.regions["west"]
		east.breaks, west.home = true, "west"
		_, err := w.DeleteVault(t.Context(), &lifeboatv1.DeleteVaultRequest{Vault: "v"})
		wantCode(t, err, client.CodeUnreachable)
		if east.count(&east.writes) != 1 || west.count(&west.writes) != 0 {
			t.Errorf("east was asked %d times, west %d times", east.writes, west.writes)
		}
	})
	t.Run("with one", func(t *testing.T) {
		w := newWorld(t, nil, "east", "west")
		east, west := w.regions["east"], w.regions["west"]
		east.breaks, west.home = true, "west"
		if err := w.put(t); err != nil {
			t.Fatal(err)
		}
		if len(east.did()) == 0 || len(west.did()) != 1 || slices.ContainsFunc(east.did(), func(d string) bool { return d != west.did()[0] }) {
			t.Errorf("east did %q, west %q", east.did(), west.did())
		}
	})
	t.Run("that has not left", func(t *testing.T) {
		w := newWorld(t, nil, "east", "west")
		w.network["east"].Cut() // as soon as it is made, which may be after the request was written
		w.regions["west"].home = "west"
		eventually(t, "west does it", func() bool {
			_, err := w.DeleteVault(t.Context(), &lifeboatv1.DeleteVaultRequest{Vault: "v"})
			return err == nil
		})
		if west := w.regions["west"]; len(west.did()) != 1 {
			t.Errorf("west did %q", west.did())
		}
	})
}

func TestAHomeThatTheClientDoesNotKnow(t *testing.T) {
	w := newWorld(t, nil, "east", "west")
	w.regions["east"].home = "north"
	if e := wantCode(t, w.put(t), client.CodeNotHome); e.Home != "north" || !strings.Contains(e.Hint, "north") || e.Region != "east" {
		t.Errorf("error is %+v", e)
	}
}

func TestAtOneRegion(t *testing.T) {
	w := newWorld(t, func(c *client.Config) { c.Timeout = 2 * time.Second }, "east", "west")
	west, err := w.At("west")
	if err != nil {
		t.Fatal(err)
	}
	got, err := west.GetSecretValue(t.Context(), &client.GetSecretValueRequest{Vault: "v", Secret: "s"})
	if err != nil || string(got.GetValue()) != "west" {
		t.Errorf("answer is %v, %v", got, err)
	}
	_, err = west.PutSecretVersion(t.Context(), &client.PutSecretVersionRequest{Vault: "v", Secret: "s"})
	if e := wantCode(t, err, client.CodeNotHome); e.Home != "east" {
		t.Errorf("error is %+v", e)
	}
	if _, err := w.At("north"); err == nil {
		t.Error("there is no north")
	}
	if got := w.Regions(); !slices.Equal(got, []string{"east", "west"}) {
		t.Errorf("regions are %q", got)
	}
}

func TestAWatchGoesOnInAnotherRegion(t *testing.T) {
	w := newWorld(t, nil, "north", "east", "west")
	w.SetPatience(50 * time.Millisecond)
	w.regions["north"].refuses = homeRefusal(connect.CodeNotFound, "not_found", "vault", "")
	for answer, err := range w.WatchSecrets(t.Context(), &lifeboatv1.WatchSecretsRequest{Vault: "v"}) {
		if err != nil {
			wantCode(t, err, client.CodeResumeGone)
			break
		}
		if got := answer.GetResumeToken(); got != "east 1" {
			t.Errorf("token is %q", got)
		}
		w.network["east"].Cut()
	}
	for answer, err := range w.WatchSecrets(t.Context(), &lifeboatv1.WatchSecretsRequest{Vault: "v"}) {
		if err != nil || answer.GetResumeToken() != "west 1" {
			t.Errorf("answer is %v, %v", answer, err)
		}
		break
	}
	// A token of a region that is not the first one finds it.
	w.network["east"].Heal()
	for answer, err := range w.WatchSecrets(t.Context(), &lifeboatv1.WatchSecretsRequest{Vault: "v", ResumeToken: "west 1"}) {
		if err != nil || answer.GetResumeToken() != "west 1" {
			t.Errorf("answer is %v, %v", answer, err)
		}
		break
	}
}

func TestRegionsFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "regions.yaml")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("regions:\n  - {name: east, addresses: [\"https://a:1\", \"https://b:1\"], ca_file: east.pem}\n  - {name: west, addresses: [\"https://c:1\"], ca_file: /x/west.pem}\n")
	got, err := client.ReadRegions(path)
	if err != nil || len(got) != 2 || got[0].CAFile != filepath.Join(dir, "east.pem") || got[1].CAFile != "/x/west.pem" || got[0].Addresses[1] != "https://b:1" {
		t.Errorf("regions are %+v, %v", got, err)
	}
	for _, bad := range []string{"", "regions: []", "regions: [{name: a, colour: red}]", "regions: {}", "other: 1"} {
		write(bad)
		if _, err := client.ReadRegions(path); err == nil || !strings.Contains(err.Error(), "regions.yaml") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := client.ReadRegions(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestBadRegions(t *testing.T) {
	one := client.Region{Name: "east", Addresses: []string{"https://a:1"}}
	for name, c := range map[string]client.Config{
		"both":       {Address: "https://a:1", Regions: []client.Region{one}},
		"twice":      {Regions: []client.Region{one, one}},
		"nameless":   {Regions: []client.Region{one, {Addresses: one.Addresses}}},
		"no address": {Regions: []client.Region{{Name: "east"}}},
		"bad":        {Regions: []client.Region{{Name: "east", Addresses: []string{"a:1"}}}},
		"no CA":      {Regions: []client.Region{{Name: "east", Addresses: one.Addresses, CAFile: "nowhere.pem"}}},
		"too many":   {Regions: slices.Repeat([]client.Region{one}, 17)},
	} {
		if _, err := client.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
