package authz

import (
	"fmt"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func BenchmarkDecide5(b *testing.B) {
	m := newMemory()
	m.put(acme, "readers", `permit (principal in Role::"readers", action in Action::"read", resource in Vault::"VAULT1");`)
	m.put(acme, "admin", `permit (principal == User::"ADMIN", action, resource);`)
	m.put(acme, "robots", `permit (principal is Workload, action in Action::"read", resource in Vault::"VAULT2");`)
	m.put(acme, "writers", `permit (principal in Role::"writers", action in Action::"write", resource);`)
	m.put(acme, "nopurge", `forbid (principal, action == Action::"PurgeSecret", resource);`)
	benchmark(b, m)
}

func BenchmarkDecide5Conditional(b *testing.B) {
	m := newMemory()
	m.put(acme, "readers", `permit (principal in Role::"readers", action in Action::"read", resource in Vault::"VAULT1")
		when { context.source_ip.isInRange(ip("10.0.0.0/8")) };`)
	m.put(acme, "admin", `permit (principal == User::"ADMIN", action, resource);`)
	m.put(acme, "robots", `permit (principal is Workload, action in Action::"read", resource in Vault::"VAULT2");`)
	m.put(acme, "writers", `permit (principal in Role::"writers", action in Action::"write", resource);`)
	m.put(acme, "nopurge", `forbid (principal, action, resource) when { resource.tags has locked };`)
	benchmark(b, m)
}

func BenchmarkDecide10000(b *testing.B) {
	benchmark(b, manyPolicies())
}

// BenchmarkCompile10000 is the first decision after one policy of 10,000 changed.
func BenchmarkCompile10000(b *testing.B) {
	m := manyPolicies()
	a := New(Options{})
	decide(b, a, m, get(alice))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		c := m.put(acme, "readers", `permit (principal in Role::"readers", action in Action::"read", resource in Vault::"VAULT1");`)
		b.StartTimer()
		a.Changed([]record.Change{c})
		decide(b, a, m, get(alice))
	}
}

func manyPolicies() *memory {
	m := newMemory()
	m.put(acme, "readers", `permit (principal in Role::"readers", action in Action::"read", resource in Vault::"VAULT1");`)
	for i := range 9_999 {
		p := &secret.Principal{ID: secret.PrincipalID(fmt.Sprintf("USER%d", i)), Kind: secret.User}
		text, _ := GrantPolicy(Grant{Principal: p, Groups: []Group{GroupRead, GroupWrite}, Vault: secret.VaultID(fmt.Sprintf("VAULT%d", i%100))})
		m.put(acme, fmt.Sprintf("grant-%d", i), text)
	}
	return m
}

func benchmark(b *testing.B, m *memory) {
	a := New(Options{})
	r := get(alice)
	if d := decide(b, a, m, r); !d.Allowed {
		b.Fatal(d)
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := a.Decide(m, r); err != nil || !d.Allowed {
			b.Fatal(d, err)
		}
	}
}
