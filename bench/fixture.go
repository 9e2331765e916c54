package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

const (
	vaultName  = "app"
	valueBytes = 1 << 10
	million    = 1_000_000
)

// secretName is that of the i-th secret that populate makes.
func secretName(i int) string { return fmt.Sprintf("service-%02d/password-%07d", i%20, i) }

// furnish makes an account with a vault, five policies, and a workload that
// three of them are about.
func (c *cluster) furnish(ctx context.Context) error {
	var account *lifeboatv1.CreateAccountResponse
	err := until(ctx, func() error {
		made, err := c.api.accounts.CreateAccount(ctx, auth(c.admin, &lifeboatv1.CreateAccountRequest{Name: "acme"}))
		if err == nil {
			account = made.Msg
		}
		return err
	})
	if err != nil {
		return err
	}
	c.admin = account.GetToken()
	vault, err := c.api.vaults.CreateVault(ctx, auth(c.admin, &lifeboatv1.CreateVaultRequest{Name: vaultName}))
	if err != nil {
		return err
	}
	if _, err = c.api.accounts.CreatePrincipal(ctx, auth(c.admin, &lifeboatv1.CreatePrincipalRequest{
		Name: "app", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD, Roles: []string{"readers", "writers"},
	})); err != nil {
		return err
	}
	token, err := c.api.accounts.CreateToken(ctx, auth(c.admin, &lifeboatv1.CreateTokenRequest{Principal: "app"}))
	if err != nil {
		return err
	}
	c.token = token.Msg.GetToken()
	in := fmt.Sprintf("resource in Vault::%q", vault.Msg.GetVault().GetId())
	// With the policy for the account's administrator there are five: grants, and
	// one with a condition that looks at the secret.
	for name, text := range map[string]string{
		"readers": `permit (principal in Role::"readers", action in Action::"read", ` + in + `);`,
		"writers": `permit (principal in Role::"writers", action in Action::"write", ` + in + `);`,
		"robots":  `permit (principal in Role::"robots", action in Action::"read", resource);`,
		"locked":  `forbid (principal, action in Action::"read", resource is Secret) when { resource.tags has locked };`,
	} {
		if _, err := c.api.accounts.PutPolicy(ctx, auth(c.admin, &lifeboatv1.PutPolicyRequest{Name: name, Text: text})); err != nil {
			return err
		}
	}
	return nil
}

// populate writes n secrets straight into the store, a hundred to a
// transaction: the same records as the front door writes, but for the work item
// and the event, which would be gone by the time the region is measured.
func (c *cluster) populate(ctx context.Context, n int) error {
	client, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	wrapper, err := file.Open(c.path("kms-keys"))
	if err != nil {
		return err
	}
	keys := keyring.New(keyring.Options{Wrapper: wrapper})
	defer func() { _ = errors.Join(keys.Close(), wrapper.Close()) }()
	if err := fill(ctx, shardOf(client), keys, nil, n); err != nil || n < small {
		return err
	}
	return turnOver(ctx, client)
}

// logEntries is how many entries etcd's log may keep in memory after a restart.
const logEntries = 10_000

// turnOver writes so many small entries that those of the bulk load, of 300 KB
// each, leave etcd's log, which otherwise would stay in memory: a region that got
// its secrets one by one has none of that size.
func turnOver(ctx context.Context, client *clientv3.Client) error {
	var g errgroup.Group
	g.SetLimit(64)
	for range logEntries + logEntries/10 {
		g.Go(func() error {
			_, err := client.Put(ctx, "/bench", "")
			return err
		})
	}
	return g.Wait()
}

// dial returns a client of the region's etcd, as a data-plane host has one.
func (c *cluster) dial(ctx context.Context) (*clientv3.Client, error) {
	certs, err := pki.NewReloader(pki.ReloaderOptions{CertFile: c.path("control.pem"), KeyFile: c.path("control-key.pem")})
	if err != nil {
		return nil, err
	}
	tlsConfig, err := pki.ClientTLS(c.path("ca.pem"))
	if err != nil {
		return nil, err
	}
	tlsConfig.GetClientCertificate = certs.GetClientCertificate
	return store.Dial(ctx, store.DialOptions{Endpoints: []string{c.client}, TLS: tlsConfig})
}

func shardOf(client *clientv3.Client) *store.Shard {
	return store.Open(store.Options{Client: client, Prefix: config.Default().Store.Prefix + "base/"})
}

// fill makes secrets 0 to n-1, as the region whose shard it is, or as replicas of
// another one.
func fill(ctx context.Context, shard *store.Shard, keys *keyring.Keyring, identity *recordpb.Region, n int) error {
	view := shard.View(ctx)
	var err error
	if identity == nil {
		if identity, _, err = record.Load(view, record.Regions, record.RegionKey); err != nil {
			return err
		}
	}
	var vault *secret.Vault
	if err := view.Scan(record.VaultPrefix, record.PrefixEnd(record.VaultPrefix), func(s record.Stored) bool {
		vault, err = record.Vaults.Decode(s.Value)
		return err == nil && string(vault.Ownership.Home) != identity.GetName()
	}); err != nil || vault == nil {
		return errors.Join(errors.New("the region has no vault"), err)
	}
	sealer, err := keys.Sealer(ctx, view, string(vault.ID))
	if err != nil {
		return err
	}
	const batch = 120
	var next atomic.Int64
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			for {
				first := int(next.Add(batch)) - batch
				if first >= n {
					return nil
				}
				var txns []record.Txn
				for i := first; i < min(first+batch, n); i++ {
					txn, err := newSecret(identity, vault, sealer, secretName(i))
					if err != nil {
						return err
					}
					txns = append(txns, txn)
				}
				if _, _, err := shard.CommitEach(ctx, txns); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// newSecret returns the transaction that makes a secret with a first version of
// random bytes.
func newSecret(identity *recordpb.Region, vault *secret.Vault, sealer *keyring.Sealer, name string) (txn record.Txn, err error) {
	id := secret.NewID(vault.ID, ulid.Make().String())
	m := secret.Mutation{By: "01J00000000000000000000000", At: time.Now(), Incarnation: secret.Incarnation(identity.GetIncarnation())}
	s := &secret.Secret{
		ID: id, Account: vault.Account, Name: name, State: secret.Active, CreatedAt: m.At, UpdatedAt: m.At,
		Ownership: secret.NewOwnership(secret.RegionName(identity.GetName()), m.Incarnation),
	}
	value := make([]byte, valueBytes)
	_, _ = rand.Read(value) // never fails
	plain := secret.NewPlaintext(value)
	v := secret.NewVersion{ID: secret.VersionID(ulid.Make().String()), MAC: sealer.MAC("value", []byte(id), value), Size: valueBytes}
	if _, err = s.PutVersion(m, v); err != nil {
		return txn, err
	}
	sealed, err := sealer.Seal(plain, keyring.AssociatedData{Account: s.Account, Vault: vault.ID, Secret: id, Version: v.ID, Field: keyring.Value})
	if err != nil {
		return txn, err
	}
	nameKey := record.SecretNameKey(vault.ID, name)
	txn.Require(nameKey, 0)
	txn.Put(nameKey, record.EncodeReference(string(id)))
	txn.Put(record.SecretKey(id), record.Secrets.Encode(s))
	txn.Put(record.VersionKey(id, v.ID), record.Versions.Encode(&secret.Version{Secret: id, ID: v.ID, Value: sealed, MAC: v.MAC}))
	return txn, nil
}

// settle waits until every host serves the last secret.
func (c *cluster) settle(ctx context.Context, n int, doors ...string) error {
	for _, door := range doors {
		host, err := newAPI(c.path("ca.pem"), door)
		if err != nil {
			return err
		}
		err = until(ctx, func() error {
			got, err := host.secrets.GetSecretValue(ctx, auth(c.token, &lifeboatv1.GetSecretValueRequest{Vault: vaultName, Secret: secretName(n - 1)}))
			if err == nil && got.Msg.GetFreshness().GetFromStore() {
				err = errors.New("not there yet")
			}
			return err
		})
		host.http.CloseIdleConnections()
		if err != nil {
			return err
		}
	}
	return nil
}

// sizeMB is the size of the files below dir that match the pattern.
func sizeMB(pattern string) float64 {
	paths, _ := filepath.Glob(pattern)
	total := int64(0)
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			total += info.Size()
		}
	}
	return float64(total) / 1e6
}

// kind says of which processes a region consists.
type kind int

const (
	// alone is one process with all roles.
	alone kind = iota
	// spread is a control process and data-plane hosts.
	spread
)

func (k kind) String() string { return [...]string{"alone", "spread"}[k] }

// newRegion makes a region of n secrets, all of its hosts up to date.
func newRegion(ctx context.Context, dir string, k kind, n int) (*cluster, error) {
	return newRegionWith(ctx, dir, k, n, nil)
}

// newRegionWith is newRegion with changes to the processes' configurations.
func newRegionWith(ctx context.Context, dir string, k kind, n int, configure func(*config.Config) error) (*cluster, error) {
	c, err := newCluster(ctx, dir, k, configure)
	if err != nil {
		return nil, err
	}
	doors := []string{c.door}
	if k == spread {
		doors = append(doors, c.hostDoors...)
	}
	for _, step := range []func() error{
		func() error { return c.furnish(ctx) },
		func() error { return c.populate(ctx, n) },
		func() error { return c.settle(ctx, n, doors...) },
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, c.stop())
		}
	}
	return c, nil
}
