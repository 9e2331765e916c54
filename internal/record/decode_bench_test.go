package record_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// benchSecret is a record as production has it, with n versions.
func benchSecret(n int) *secret.Secret {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &secret.Secret{
		ID: "01J00000000000000000000000.01J00000000000000000000001", Account: "01J00000000000000000000002", Name: "payments/db/password",
		Ownership: secret.NewOwnership("eu-west", "01J00000000000000000000003"), State: secret.Active, CreatedAt: at, UpdatedAt: at,
		Tags: map[string]string{"team": "payments", "tier": "gold"}, Description: make(secret.Sealed, 80),
		Retention: secret.Retention{MaxVersions: secret.MaxVersions}, RequestToken: "01J00000000000000000000004", RequestMAC: make(secret.MAC, 32),
	}
	for i := range n {
		mac := make(secret.MAC, 32)
		mac[0] = byte(i)
		v := secret.NewVersion{ID: secret.VersionID(fmt.Sprintf("01J0000000000000000000%04d", i)), RequestToken: fmt.Sprintf("01J1000000000000000000%04d", i), MAC: mac, Size: 24}
		if _, err := s.PutVersion(secret.Mutation{By: "01J00000000000000000000005", At: at, Incarnation: "01J00000000000000000000003"}, v); err != nil {
			panic(err)
		}
	}
	return s
}

func BenchmarkSecret(b *testing.B) {
	for _, n := range []int{1, 5, 20} {
		s := benchSecret(n)
		encoded := record.Secrets.Encode(s)
		b.Run(fmt.Sprintf("decode/versions=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(encoded)))
			for b.Loop() {
				if _, err := record.Secrets.Decode(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("encode/versions=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				record.Secrets.Encode(s)
			}
		})
		b.Run(fmt.Sprintf("check/versions=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := record.Secrets.Check(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
