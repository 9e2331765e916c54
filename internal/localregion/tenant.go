package localregion

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Tenant is an account with a vault, and the token and the access key of its admin.
type Tenant struct {
	Account, Vault string
	Token          client.Value
	// AccessKey is the ID of the key, SecretKey its other half.
	AccessKey string
	SecretKey client.Value
}

// awsVault is the vault that is an account's namespace in the API of AWS.
const awsVault = "demo"

// Tenant returns the account of that name with a vault of the same name. It
// makes them if they are missing, and keeps the token in the region's directory.
func (r *Region) Tenant(ctx context.Context, name string) (Tenant, error) {
	t := Tenant{Account: name, Vault: name}
	path := filepath.Join(r.options.Dir, "account-"+name+".token")
	var err error
	if !exists(path) {
		if err = r.createAccount(ctx, name, path); err != nil {
			return t, err
		}
	}
	if t.Token, err = readToken(path); err != nil {
		return t, err
	}
	c, err := r.Client(r.Control(), t.Token)
	if err != nil {
		return t, err
	}
	defer c.Close()
	if _, err = c.GetVault(ctx, &lifeboatv1.GetVaultRequest{Vault: t.Vault}); client.CodeOf(err) == client.CodeNotFound {
		_, err = c.CreateVault(ctx, &lifeboatv1.CreateVaultRequest{Name: t.Vault, Wait: lifeboatv1.Wait_WAIT_CLEARED})
	}
	if err != nil {
		return t, fmt.Errorf("make the vault %s: %w", name, err)
	}
	if name == awsVault {
		err = t.readAccessKey(ctx, c, filepath.Join(r.options.Dir, "account-"+name+".access-key"))
	}
	return t, err
}

// readAccessKey reads the access key of the admin, which is made if it is missing.
func (t *Tenant) readAccessKey(ctx context.Context, c *client.Client, path string) error {
	if !exists(path) {
		made, err := c.CreateAccessKey(ctx, &lifeboatv1.CreateAccessKeyRequest{})
		if err != nil {
			return fmt.Errorf("make an access key of %s: %w", t.Account, err)
		}
		if err := pki.WriteFile(path, []byte(made.GetCredential().GetId()+" "+made.GetSecretAccessKey()+"\n")); err != nil {
			return err
		}
	}
	pair, err := readToken(path)
	if err != nil {
		return err
	}
	id, key, ok := strings.Cut(string(pair.Reveal()), " ")
	if !ok {
		return secret.Errorf(secret.CodeCorrupt, "%s does not hold the two halves of an access key", path).WithHint("remove it; another key is made")
	}
	t.AccessKey, t.SecretKey = id, client.NewValue(key)
	return nil
}

func (r *Region) createAccount(ctx context.Context, name, path string) error {
	c, err := r.operatorClient()
	if err != nil {
		return err
	}
	defer c.Close()
	made, err := c.CreateAccount(ctx, &lifeboatv1.CreateAccountRequest{Name: name})
	if client.CodeOf(err) == client.CodeExists {
		return secret.Errorf(secret.CodeWrongState, "the account %s exists but %s is missing", name, path).
			WithHint("choose another name, or remove " + r.options.Dir + " and start anew")
	}
	if err != nil {
		return fmt.Errorf("make the account %s: %w", name, err)
	}
	return pki.WriteFile(path, []byte(made.GetToken()+"\n"))
}

// Env returns what a shell must source to use the tenant through a process, with the
// SDKs and tools of AWS too.
func (r *Region) Env(p *Process, t Tenant) client.Value {
	variables := [][2]string{
		{"LIFEBOAT_ADDR", p.URL()},
		{"LIFEBOAT_TOKEN", string(t.Token.Reveal())},
		{"LIFEBOAT_CA_FILE", r.CAFile()},
		{"LIFEBOAT_REGION", string(r.Name())},
		{"LIFEBOAT_VAULT", t.Vault},
	}
	if t.AccessKey != "" {
		variables = append(variables,
			[2]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER", p.URL()},
			[2]string{"AWS_ACCESS_KEY_ID", t.AccessKey},
			[2]string{"AWS_SECRET_ACCESS_KEY", string(t.SecretKey.Reveal())},
			[2]string{"AWS_REGION", string(r.Name())},
			[2]string{"AWS_DEFAULT_REGION", string(r.Name())}, // for older tools
			[2]string{"AWS_CA_BUNDLE", r.CAFile()},
		)
	}
	return environment([]string{"LIFEBOAT_REGIONS_FILE", "AWS_SESSION_TOKEN"}, variables)
}

// Env returns what a shell must source to use the tenant through all regions, which the
// regions file names.
func (r *Regions) Env(regionsFile string, t Tenant) client.Value {
	return environment([]string{"LIFEBOAT_ADDR", "LIFEBOAT_CA_FILE", "LIFEBOAT_REGION"}, [][2]string{
		{"LIFEBOAT_REGIONS_FILE", regionsFile},
		{"LIFEBOAT_TOKEN", string(t.Token.Reveal())},
		{"LIFEBOAT_VAULT", t.Vault},
	})
}

// environment returns shell commands. What they unset would contradict what they set.
func environment(unset []string, set [][2]string) client.Value {
	var b strings.Builder
	fmt.Fprintf(&b, "unset %s\n", strings.Join(unset, " "))
	for _, v := range set {
		fmt.Fprintf(&b, "export %s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	return client.NewValue(b.String())
}

// ForClients returns the regions, in their order, as a client of several regions takes
// them.
func (r *Regions) ForClients() []client.Region {
	var regions []client.Region
	for _, region := range r.all {
		one := client.Region{Name: string(region.Name()), CAFile: region.CAFile()}
		for _, host := range region.Hosts() {
			one.Addresses = append(one.Addresses, host.URL())
		}
		regions = append(regions, one)
	}
	return regions
}
