package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/importsource"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/credential"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// sourceOptions say which secret manager to import from.
type sourceOptions struct {
	fromVault                                 string
	fromAWS                                   bool
	tokenFile, caFile, namespace, mount, path string
	region, profile, endpoint                 string
	prefixes, tags                            []string
	kv, versions                              int
	rate                                      float64
}

func (o *sourceOptions) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.fromVault, "from-vault", "", "URL of a Vault or OpenBao to import from")
	f.BoolVar(&o.fromAWS, "from-aws", false, "import from AWS Secrets Manager")
	f.StringVar(&o.tokenFile, "source-token-file", "", "Vault: file with the token (default $VAULT_TOKEN)")
	f.StringVar(&o.caFile, "source-ca-file", "", "Vault: PEM file with the authorities to trust")
	f.StringVar(&o.namespace, "source-namespace", "", "Vault: namespace")
	f.StringVar(&o.mount, "source-mount", "secret", "Vault: mount of the KV secrets engine")
	f.StringVar(&o.path, "source-path", "", "Vault: only this folder")
	f.IntVar(&o.kv, "source-kv", 0, "Vault: version of the engine, 1 or 2 (default: ask)")
	f.StringVar(&o.region, "source-region", "", "AWS: region")
	f.StringVar(&o.profile, "source-profile", "", "AWS: profile of the shared configuration")
	f.StringVar(&o.endpoint, "source-endpoint", "", "AWS: URL of the endpoint")
	f.StringArrayVar(&o.prefixes, "source-prefix", nil, "AWS: only names that begin so; repeatable")
	f.StringArrayVar(&o.tags, "source-tag", nil, "AWS: only secrets with this tag; repeatable")
	f.IntVar(&o.versions, "versions", 1, "versions of each secret: Vault up to 100, AWS 2 for CURRENT and PREVIOUS")
	f.Float64Var(&o.rate, "rate", importsource.DefaultRate, "requests a second to the source")
	c.MarkFlagsMutuallyExclusive("from-vault", "from-aws")
}

func (o *sourceOptions) remote() bool { return o.fromVault != "" || o.fromAWS }

func (o *sourceOptions) open(ctx context.Context, a *app) (importsource.Source, error) {
	if o.fromAWS {
		if o.versions < 1 || o.versions > 2 {
			return nil, usagef("--versions is %d; AWS Secrets Manager keeps 2", o.versions)
		}
		return importsource.OpenAWS(ctx, importsource.AWSOptions{
			Region: o.region, Profile: o.profile, Endpoint: o.endpoint, NamePrefixes: o.prefixes, TagKeys: o.tags, Previous: o.versions == 2, Rate: o.rate,
		})
	}
	token, err := o.token(a)
	if err != nil {
		return nil, err
	}
	tls, err := pki.ClientTLS(o.caFile)
	if err != nil {
		return nil, withHint(err, "check --source-ca-file")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert,errcheck // it is one
	transport.TLSClientConfig, transport.MaxIdleConnsPerHost = tls, importWorkers
	return importsource.OpenVault(ctx, importsource.VaultOptions{
		Address: o.fromVault, Token: token, Namespace: o.namespace, Mount: o.mount, Path: o.path, KV: o.kv, Versions: o.versions, Rate: o.rate,
		Client: &http.Client{Transport: transport},
	})
}

func (o *sourceOptions) token(a *app) (secret.Plaintext, error) {
	if o.tokenFile != "" {
		token, err := credential.Read(o.tokenFile)
		return secret.NewPlaintext(token), err
	}
	token, _ := a.LookupEnv("VAULT_TOKEN")
	if token == "" {
		return secret.Plaintext{}, &usageError{err: errors.New("there is no token of the source"), hint: "set VAULT_TOKEN, or name a file with --source-token-file"}
	}
	return secret.NewPlaintext([]byte(strings.TrimSpace(token))), nil
}

func (a *app) runImportRemote(ctx context.Context, files []string, o importOptions) error {
	if len(files) > 0 {
		return usagef("files and another secret manager are imported one after the other")
	}
	source, err := o.open(ctx, a)
	if err != nil {
		return err
	}
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	i := &remoteImport{importing: importing{client: cl, vault: vault, report: newImportReport(o.dryRun)}, options: o, source: source}
	total, err := i.run(ctx, a.progress("importing"))
	if showErr := a.showImport(i.report, total); err == nil {
		err = showErr
	}
	switch {
	case err != nil:
		return withHint(err, "repeat the import: it goes on where it was")
	case len(i.report.Failed) > 0:
		return withHint(fmt.Errorf("%d of %d secrets could not be put", len(i.report.Failed), total), "repeat the import: what was put is left as it is")
	case len(i.report.Refused) > 0:
		return withHint(fmt.Errorf("%d of %d secrets were refused; the others are as in the source", len(i.report.Refused), total),
			"add a version to those that have another value with --overwrite")
	}
	return nil
}

// remoteImport is one import from another secret manager.
type remoteImport struct {
	importing
	options importOptions
	source  importsource.Source
	// latest are the requests that were done last, as many as are under way at once.
	latest []func(context.Context) error
}

// run imports everything, whatever becomes of single secrets, and returns how many
// there are. It ends early if the source or the region fails.
func (i *remoteImport) run(ctx context.Context, progress func(int) (func(), func())) (total int, err error) {
	var names []string
	if err := i.source.Names(ctx, func(name string) error {
		names = append(names, name)
		return nil
	}); err != nil {
		return 0, fmt.Errorf("list the secrets of the source: %w", err)
	}
	slices.Sort(names)
	step, done := progress(len(names))
	defer done()
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(importWorkers)
	for _, name := range names {
		if working.Err() != nil {
			break
		}
		group.Go(func() error {
			defer step()
			return i.one(working, name)
		})
	}
	err = group.Wait()
	i.sort()
	if err != nil {
		return len(names), err
	}
	// Until here nothing waited for the hosts. They apply changes in order, and each
	// of the others was done before one of these began.
	for _, again := range i.latest {
		if err := again(ctx); err != nil {
			return len(names), fmt.Errorf("wait until every live host has what was put: %w", err)
		}
	}
	return len(names), nil
}

func (i *remoteImport) sort() {
	r := &i.report
	for _, list := range [][]string{r.Created, r.Updated, r.Unchanged, r.Refused} {
		slices.Sort(list)
	}
	slices.SortFunc(r.Failed, func(a, b importFailure) int { return strings.Compare(a.Name, b.Name) })
}

// one imports one secret. An error ends the import.
func (i *remoteImport) one(ctx context.Context, name string) error {
	target := i.options.prefix + name
	if err := secret.CheckName("name", target); err != nil {
		i.refuse(target, "cannot be a name here: "+err.Error())
		return nil //nolint:nilerr // it is in the report
	}
	item, err := i.source.Get(ctx, name)
	if refusal, ok := errors.AsType[*importsource.Refusal](err); ok {
		i.refuse(target, refusal.Reason)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := checkItem(&item); err != nil {
		i.refuse(target, "cannot be taken as it is: "+err.Error())
		return nil //nolint:nilerr // it is in the report
	}
	return i.take(ctx, target, item)
}

func checkItem(item *importsource.Item) error {
	for _, v := range item.Versions {
		if err := secret.CheckValue("value", v.Value); err != nil {
			return err
		}
	}
	if err := secret.CheckText("description", string(item.Description.Reveal()), secret.MaxDescriptionBytes); err != nil {
		return err
	}
	if b, err := json.Marshal(item.Metadata); err != nil || len(b) > secret.MaxMetadataBytes {
		return secret.Invalid("metadata", "is larger than %d bytes", secret.MaxMetadataBytes)
	}
	return secret.CheckTags("tags", item.Tags)
}

// take puts what the region lacks of a secret.
func (i *remoteImport) take(ctx context.Context, name string, item importsource.Item) error {
	has, err := i.client.GetSecretValue(ctx, &lifeboatv1.GetSecretValueRequest{Vault: i.vault, Secret: name})
	last := len(item.Versions) - 1
	switch {
	case client.CodeOf(err) == client.CodeNotFound:
		i.note(name, &i.report.Created, i.putVersions(ctx, name, item, 0, true))
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("read %s here: %w", name, err)
	}
	// An earlier import may have come as far as an older version.
	at := slices.IndexFunc(item.Versions, func(v importsource.Version) bool { return v.Value.Equal(secret.NewPlaintext(has.GetValue())) })
	switch {
	case item.Versions[last].Value.Equal(secret.NewPlaintext(has.GetValue())):
		i.note(name, &i.report.Unchanged, nil)
	case at >= 0:
		i.note(name, &i.report.Updated, i.putVersions(ctx, name, item, at+1, false))
	case i.options.overwrite:
		i.note(name, &i.report.Updated, i.putVersions(ctx, name, item, 0, false))
	default:
		i.refuse(name, "")
	}
	return ctx.Err()
}

// token makes a repeated request one and the same: it depends on the version in the
// source only.
func token(name string, item *importsource.Item, version string) string {
	digest := sha256.Sum256([]byte(strings.Join([]string{name, item.Metadata[importsource.MetadataSource], version}, "\x00")))
	return "import-" + hex.EncodeToString(digest[:16])
}

// errReplaced says that what is to be put was put before, and something else since.
var errReplaced = errors.New("was imported before, and was changed here since")

// putVersions puts the versions from one on, the first of which makes the secret if
// create says so.
func (i *remoteImport) putVersions(ctx context.Context, name string, item importsource.Item, from int, create bool) error {
	if i.options.dryRun {
		return nil
	}
	for n, v := range item.Versions[from:] {
		put := func(ctx context.Context, wait lifeboatv1.Wait) (replayed bool, err error) {
			if create && n == 0 {
				made, err := i.client.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{
					Vault: i.vault, Name: name, Value: v.Value.Reveal(), Description: string(item.Description.Reveal()), ContentType: item.ContentType,
					Tags: item.Tags, Metadata: item.Metadata, RequestToken: token(name, &item, v.ID), Wait: wait,
				})
				return made.GetReplayed(), err
			}
			made, err := i.client.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{
				Vault: i.vault, Secret: name, Value: v.Value.Reveal(), RequestToken: token(name, &item, v.ID), Wait: wait,
			})
			return made.GetReplayed(), err
		}
		replayed, err := put(ctx, lifeboatv1.Wait_WAIT_COMMITTED)
		if err != nil {
			return err
		}
		if replayed && !create {
			return errReplaced
		}
		i.mu.Lock()
		i.latest = append(i.latest, func(ctx context.Context) error {
			_, err := put(ctx, lifeboatv1.Wait_WAIT_CLEARED)
			return err
		})
		i.latest = i.latest[max(0, len(i.latest)-importWorkers):]
		i.mu.Unlock()
	}
	return nil
}

func (i *remoteImport) note(name string, list *[]string, err error) {
	if errors.Is(err, errReplaced) {
		i.refuse(name, err.Error())
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil {
		i.report.Failed = append(i.report.Failed, importFailure{Name: name, Code: string(client.CodeOf(err)), Message: err.Error()})
		return
	}
	*list = append(*list, name)
}

func (i *remoteImport) refuse(name, why string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.report.Refused = append(i.report.Refused, name)
	if why != "" {
		i.report.RefusedBecause[name] = why
	}
}
