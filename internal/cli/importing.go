package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sync/errgroup"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/importfile"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// importWorkers put values at once.
	importWorkers = 8
	// batchSize is the API's limit on values in one answer.
	batchSize = 100
)

type importOptions struct {
	prefix, format    string
	dryRun, overwrite bool
	sourceOptions
}

// importReport is what an import did, or with dryRun would do: names by what
// became of them.
type importReport struct {
	DryRun    bool     `json:"dryRun"`
	Created   []string `json:"created"`
	Updated   []string `json:"updated"`
	Unchanged []string `json:"unchanged"`
	Refused   []string `json:"refused"`
	// RefusedBecause says why by name, where it is not that the secret has another
	// value.
	RefusedBecause map[string]string `json:"refusedBecause,omitempty"`
	Failed         []importFailure   `json:"failed"`
}

func newImportReport(dryRun bool) importReport {
	return importReport{
		DryRun: dryRun, Created: []string{}, Updated: []string{}, Unchanged: []string{}, Refused: []string{}, Failed: []importFailure{},
		RefusedBecause: map[string]string{},
	}
}

type importFailure struct {
	Name    string `json:"name"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (a *app) importCommand() *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use: "import [FILE...]", Short: "Put secrets of files, or of another secret manager",
		Long: `Put the secrets of dotenv files (NAME=VALUE lines), JSON files (one object) and
manifests of Kubernetes Secrets (YAML or JSON; each key becomes SECRET/KEY). Files are
taken whole or refused whole, before anything is put. A secret that has the same value
already is left as it is. If one has another value nothing is put, unless --overwrite
says to add a version to it.

--from-vault reads the KV secrets engine of a Vault or OpenBao, --from-aws AWS Secrets
Manager, with the token in VAULT_TOKEN or a file, or the credentials that the AWS SDK
finds. There what cannot be put is listed, and the rest is put. A secret of a KV engine
becomes one JSON object. An import that was interrupted is repeated: it goes on where it
was, and puts nothing twice.`,
		Example: `  lifeboat import examples/payments.env
  lifeboat import settings.json --prefix payments/ --dry-run
  lifeboat import .env --overwrite -o json
  kubectl get secrets -o json | lifeboat import - --format kubernetes --prefix shop/
  lifeboat import --from-vault https://vault:8200 --source-mount kv --versions 5 --dry-run
  lifeboat import --from-aws --source-region eu-west-1 --source-prefix prod/ --prefix aws/`,
		RunE: func(c *cobra.Command, args []string) error {
			if o.remote() {
				return a.runImportRemote(c.Context(), args, o)
			}
			if len(args) == 0 {
				return usagef("FILE is missing")
			}
			return a.runImport(c.Context(), args, o)
		},
	}
	a.vaultFlag(c)
	f := c.Flags()
	f.StringVar(&o.prefix, "prefix", "", "put before each name")
	f.StringVar(&o.format, "format", "auto", "auto (by the file's name: .json, .yaml and .yml), dotenv, json or kubernetes")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be done and change nothing")
	f.BoolVar(&o.overwrite, "overwrite", false, "add a version to secrets that have another value")
	o.sourceOptions.add(c)
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"auto", "dotenv", "json", "kubernetes"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) runImport(ctx context.Context, files []string, o importOptions) error {
	entries, err := a.parseFiles(files, o)
	if err != nil {
		return err
	}
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	report, err := importEntries(ctx, cl, vault, entries, o, a.progress("importing"))
	if err != nil {
		return err
	}
	if err := a.showImport(report, len(entries)); err != nil {
		return err
	}
	switch {
	case len(report.Refused) > 0:
		return withHint(fmt.Errorf("%d secrets have another value; nothing was put", len(report.Refused)), "add a version to them with --overwrite")
	case len(report.Failed) > 0:
		return withHint(fmt.Errorf("%d of %d secrets could not be put", len(report.Failed), len(entries)), "repeat the import: what was put is left as it is")
	}
	return nil
}

// parseFiles reads all files before anything is put. A name may be in several of
// them with the same value.
func (a *app) parseFiles(files []string, o importOptions) ([]importfile.Entry, error) {
	var all []importfile.Entry
	from := map[string]int{}
	for _, file := range files {
		entries, err := a.parseImport(file, o.format)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, e := range entries {
			e.Name = o.prefix + e.Name
			if err := secret.CheckName("name", e.Name); err != nil {
				return nil, fmt.Errorf("%s, line %d: %w", file, e.Line, err)
			}
			if i, ok := from[e.Name]; !ok {
				from[e.Name] = len(all)
				all = append(all, e)
			} else if !all[i].Value.Equal(e.Value) {
				return nil, withHint(fmt.Errorf("%s, line %d: %s has another value in an earlier file", file, e.Line, e.Name), "import the files one by one")
			}
		}
	}
	return all, nil
}

func (a *app) parseImport(file, format string) ([]importfile.Entry, error) {
	var parse func(io.Reader) ([]importfile.Entry, error)
	extension := strings.ToLower(filepath.Ext(file))
	switch {
	case format == "json", format == "auto" && extension == ".json":
		parse = importfile.ParseJSON
	case format == "kubernetes", format == "auto" && (extension == ".yaml" || extension == ".yml"):
		parse = importfile.ParseKubernetes
	case format == "dotenv", format == "auto":
		parse = importfile.ParseDotenv
	default:
		return nil, usagef("--format is %q; allowed are auto, dotenv, json and kubernetes", format)
	}
	if file == "-" {
		return parse(a.Stdin)
	}
	data, err := os.ReadFile(file) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, err
	}
	return parse(bytes.NewReader(data))
}

// progress shows how far long work is, on a terminal only.
func (a *app) progress(what string) func(total int) (step func(), done func()) {
	if !isTerminal(a.Stderr) || a.flags.output == outputJSON {
		return func(int) (func(), func()) { return func() {}, func() {} }
	}
	return func(total int) (func(), func()) {
		p := mpb.New(mpb.WithOutput(a.Stderr), mpb.WithWidth(60))
		bar := p.AddBar(int64(total), mpb.PrependDecorators(decor.Name(what+" ")),
			mpb.AppendDecorators(decor.CountersNoUnit("%d / %d")), mpb.BarRemoveOnComplete())
		return func() { bar.Increment() }, func() {
			bar.Abort(true) // does nothing to a full one
			p.Wait()
		}
	}
}

// importing is one import.
type importing struct {
	client *client.Client
	vault  string

	mu     sync.Mutex
	report importReport
}

// planned is what is to be done with an entry.
type planned struct {
	importfile.Entry
	// replaces is the version that must still be CURRENT; empty for a new secret.
	replaces string
}

// importEntries compares, and puts what is new or, with overwrite, different.
func importEntries(ctx context.Context, cl *client.Client, vault string, entries []importfile.Entry, o importOptions,
	progress func(int) (func(), func()),
) (importReport, error) {
	i := &importing{client: cl, vault: vault}
	r := &i.report
	*r = newImportReport(o.dryRun)
	plan, err := i.compare(ctx, entries, o.overwrite)
	if err != nil {
		return *r, err
	}
	if len(r.Refused) > 0 || len(plan) == 0 {
		return *r, nil
	}
	if o.dryRun {
		for _, p := range plan {
			i.did(p, nil)
		}
		return *r, nil
	}
	step, done := progress(len(plan))
	defer done()
	i.putAll(ctx, plan, step)
	slices.Sort(r.Created)
	slices.Sort(r.Updated)
	return *r, ctx.Err()
}

// compare reads what is there and plans what to put.
func (i *importing) compare(ctx context.Context, entries []importfile.Entry, overwrite bool) (plan []planned, err error) {
	for batch := range slices.Chunk(entries, batchSize) {
		names := make([]string, len(batch))
		for n, e := range batch {
			names[n] = e.Name
		}
		answer, err := i.client.BatchGetSecretValues(ctx, &lifeboatv1.BatchGetSecretValuesRequest{Vault: i.vault, Secrets: names})
		if err != nil {
			return nil, err
		}
		there := map[string]*lifeboatv1.GetSecretValueResponse{}
		for _, v := range answer.GetValues() {
			there[v.GetName()] = v
		}
		for _, e := range answer.GetErrors() {
			if e.GetCode() != string(client.CodeNotFound) {
				return nil, &client.Error{Code: client.Code(e.GetCode()), Message: e.GetSecret() + ": " + e.GetMessage()}
			}
		}
		for _, e := range batch {
			has, ok := there[e.Name]
			switch {
			case !ok:
				plan = append(plan, planned{Entry: e})
			case secret.NewPlaintext(has.GetValue()).Equal(e.Value):
				i.report.Unchanged = append(i.report.Unchanged, e.Name)
			case overwrite:
				plan = append(plan, planned{Entry: e, replaces: has.GetVersionId()})
			default:
				i.report.Refused = append(i.report.Refused, e.Name)
			}
		}
	}
	return plan, nil
}

// putAll puts all but the last at once, and the last when the others are
// durable: hosts apply changes in order, so when it is cleared all are.
func (i *importing) putAll(ctx context.Context, plan []planned, step func()) {
	last := len(plan) - 1
	var group errgroup.Group
	group.SetLimit(importWorkers)
	for _, p := range plan[:last] {
		group.Go(func() error {
			i.did(p, i.put(ctx, p, lifeboatv1.Wait_WAIT_COMMITTED))
			step()
			return nil
		})
	}
	_ = group.Wait() // failures are in the report
	i.did(plan[last], i.put(ctx, plan[last], lifeboatv1.Wait_WAIT_CLEARED))
	step()
}

func (i *importing) put(ctx context.Context, p planned, wait lifeboatv1.Wait) error {
	if p.replaces == "" {
		_, err := i.client.CreateSecret(ctx, &lifeboatv1.CreateSecretRequest{
			Vault: i.vault, Name: p.Name, Value: p.Value.Reveal(), ContentType: p.ContentType, Tags: p.Tags, Wait: wait,
		})
		return err
	}
	_, err := i.client.PutSecretVersion(ctx, &lifeboatv1.PutSecretVersionRequest{
		Vault: i.vault, Secret: p.Name, Value: p.Value.Reveal(), ExpectedCurrentVersionId: p.replaces, Wait: wait,
	})
	return err
}

func (i *importing) did(p planned, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r := &i.report
	switch {
	case err != nil:
		r.Failed = append(r.Failed, importFailure{Name: p.Name, Code: string(client.CodeOf(err)), Message: err.Error()})
	case p.replaces == "":
		r.Created = append(r.Created, p.Name)
	default:
		r.Updated = append(r.Updated, p.Name)
	}
}

func (a *app) showImport(r importReport, total int) error {
	if a.flags.output == outputJSON {
		return writeJSON(a.Stdout, r)
	}
	for _, name := range r.Refused {
		a.note("refused: %s %s", oneLine(clip(name, 60)), oneLine(or(r.RefusedBecause[name], "has another value")))
	}
	for _, f := range r.Failed {
		a.note("failed: %s: %s", oneLine(clip(f.Name, 60)), f.Message)
	}
	would := ""
	if r.DryRun {
		would = "would be "
	}
	return a.line("%s%d created, %d updated, %d unchanged, %d refused, %d failed of %d",
		would, len(r.Created), len(r.Updated), len(r.Unchanged), len(r.Refused), len(r.Failed), total)
}

func (a *app) line(format string, args ...any) error {
	_, err := io.WriteString(a.Stdout, fmt.Sprintf(format+"\n", args...))
	return err
}
