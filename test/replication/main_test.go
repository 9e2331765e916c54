// Package replication_test shows what a user gets of replication between whole
// regions, each in one process, with links that can be cut and slowed down.
package replication_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition; what it says last is in the failure.
func until(t testing.TB, what string, holds func(context.Context) (bool, any)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		ok, last := holds(ctx)
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute; last: %v", what, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// shop is an account of the first region with a vault named shop that is replicated
// to the others.
type shop struct {
	t       testing.TB
	regions *lifeboattest.Regions
	token   string
	// shards are the regions' stores, as far as a test opens them.
	shards map[string]*store.Shard
}

func startShop(t testing.TB, o lifeboattest.Options, names ...string) *shop {
	t.Helper()
	s := &shop{t: t, regions: lifeboattest.StartRegions(t, o, names...), shards: map[string]*store.Shard{}}
	home := s.regions.Region(names[0])
	account, err := home.NewAccount(t.Context(), "shop")
	must(t, err)
	s.token = account.Token
	s.replicate(names[0], names[1:]...)
	return s
}

// at returns a client of the shop's admin in a region.
func (s *shop) at(region string) *lifeboattest.Client {
	r := s.regions.Region(region)
	return r.Client(r.Control(), s.token)
}

func (s *shop) replicate(home string, targets ...string) {
	s.t.Helper()
	request := &lifeboatv1.ReplicateVaultRequest{Vault: "shop", Targets: &lifeboatv1.ReplicateVaultRequest_Targets{}}
	for _, target := range targets {
		request.Targets.Targets = append(request.Targets.Targets, &lifeboatv1.Target{Region: target})
	}
	_, err := s.at(home).ReplicateVault(s.t.Context(), connect.NewRequest(request))
	must(s.t, err)
}

func (s *shop) create(region, name, value string) {
	s.t.Helper()
	_, err := s.at(region).CreateSecret(s.t.Context(), connect.NewRequest(&lifeboatv1.CreateSecretRequest{Vault: "shop", Name: name, Value: []byte(value)}))
	must(s.t, err)
}

func (s *shop) put(region, name, value string) *lifeboatv1.PutSecretVersionResponse {
	s.t.Helper()
	put, err := s.at(region).PutSecretVersion(s.t.Context(), connect.NewRequest(&lifeboatv1.PutSecretVersionRequest{Vault: "shop", Secret: name, Value: []byte(value)}))
	must(s.t, err)
	return put.Msg
}

func (s *shop) get(ctx context.Context, region, name string) (string, error) {
	got, err := s.at(region).GetSecretValue(ctx, connect.NewRequest(&lifeboatv1.GetSecretValueRequest{Vault: "shop", Secret: name}))
	if err != nil {
		return "", err
	}
	return string(got.Msg.GetValue()), nil
}

// wantValue waits until a region answers a value.
func (s *shop) wantValue(region, name, value string) {
	s.t.Helper()
	until(s.t, region+" answers "+name, func(ctx context.Context) (bool, any) {
		got, err := s.get(ctx, region, name)
		return err == nil && got == value, []any{got, err}
	})
}

func (s *shop) wantCode(region, name string, code secret.Code) {
	s.t.Helper()
	until(s.t, region+" refuses "+name+" with "+string(code), func(ctx context.Context) (bool, any) {
		got, err := s.get(ctx, region, name)
		return err != nil && codeOf(err) == code, []any{got, err}
	})
}

// status returns the status of a secret at a target, as its home sees it.
func (s *shop) status(ctx context.Context, home, name, target string) (*lifeboatv1.TargetStatus, error) {
	answer, err := s.at(home).GetSecretReplication(ctx, connect.NewRequest(&lifeboatv1.GetSecretReplicationRequest{Vault: "shop", Secret: name}))
	if err != nil {
		return nil, err
	}
	for _, status := range answer.Msg.GetTargets() {
		if status.GetRegion() == target {
			return status, nil
		}
	}
	return &lifeboatv1.TargetStatus{}, nil
}

func (s *shop) wantState(home, name, target string, state lifeboatv1.ReplicationState) *lifeboatv1.TargetStatus {
	s.t.Helper()
	var last *lifeboatv1.TargetStatus
	until(s.t, name+" is "+state.String()+" at "+target, func(ctx context.Context) (bool, any) {
		var err error
		last, err = s.status(ctx, home, name, target)
		return err == nil && last.GetState() == state, []any{last, err}
	})
	return last
}

// codeOf returns the code that an error of the API carries.
func codeOf(err error) secret.Code {
	wire, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return ""
	}
	for _, detail := range wire.Details() {
		if m, err := detail.Value(); err == nil {
			if info, ok := m.(*lifeboatv1.ErrorInfo); ok {
				return secret.Code(info.GetCode())
			}
		}
	}
	return ""
}
