package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

func (a *app) secretCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "secret", Aliases: []string{"secrets"}, Short: "Put, read and manage secrets",
		Long: "Put, read and manage the secrets of a vault. NAME may also be a secret's ID.",
		Example: `  printf s3cret | lifeboat secret put api-key
  lifeboat secret get api-key`,
	}
	a.vaultFlag(c)
	c.AddCommand(
		a.secretPut(), a.secretGet(), a.secretDescribe(), a.secretList(), a.secretVersions(), a.secretUpdate(), a.secretStage(),
		a.secretDelete(), a.secretRestore(), a.secretGenerate(), a.secretWatch(), a.secretReplicate(), a.secretPromote(),
	)
	return c
}

// vaultFlag adds --vault to a command and those below it.
func (a *app) vaultFlag(c *cobra.Command) {
	c.PersistentFlags().StringVar(&a.flags.vault, "vault", "", "vault: its name, ACCOUNT/NAME, or its ID")
	_ = c.RegisterFlagCompletionFunc("vault", a.completeVaults)
}

// waitFlag is --no-wait of mutations.
type waitFlag struct{ noWait bool }

func (w *waitFlag) add(c *cobra.Command) {
	c.Flags().BoolVar(&w.noWait, "no-wait", false, "do not wait until every live host has the change")
}

func (w *waitFlag) wait() lifeboatv1.Wait {
	if w.noWait {
		return lifeboatv1.Wait_WAIT_COMMITTED
	}
	return lifeboatv1.Wait_WAIT_CLEARED
}

// warn tells a person that hosts may still answer the state before.
func (w *waitFlag) warn(a *app, cleared bool) {
	if !cleared && !w.noWait {
		a.note("warning: the change is durable, but not every live host has it yet; reads elsewhere may be older for a moment")
	}
}

// tokenFlag makes a command repeatable.
type tokenFlag struct{ requestToken string }

func (t *tokenFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&t.requestToken, "request-token", "", "makes a repetition of the command answer the first result (default a new one)")
}

// expiry parses a time or a duration from now.
func expiry(flag, s string) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return timestamppb.New(time.Now().Add(d)), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, usagef("--%s must be a duration such as 720h, or a time such as 2030-01-31T12:00:00Z", flag)
	}
	return timestamppb.New(t), nil
}

func duration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

type putOptions struct {
	waitFlag
	tokenFlag
	creationFlags
	fromFile, expires, expectVersion string
	ackTargets                       uint32
	stages                           []string
}

func (a *app) secretPut() *cobra.Command {
	var o putOptions
	c := &cobra.Command{
		Use: "put NAME", Short: "Put a value: a new version, or a new secret", Args: args("NAME"), ValidArgsFunction: a.completeSecrets,
		Long: `Put a value. If the vault has a secret of that name it gets a new version, which
becomes CURRENT; if not, the secret is made.

The value is read from standard input, exactly as it comes, line ends included;
or from a file; or, on a terminal, from a prompt that does not show it.

The command waits until every live host has the value, so that a read through any
of them finds it, and warns if that takes too long.`,
		Example: `  printf s3cret | lifeboat secret put api-key
  lifeboat secret put tls-key --from-file key.pem --content-type application/x-pem-file
  lifeboat secret put api-key --stage PENDING < new-key
  lifeboat secret put api-key            # asks for the value`,
		RunE: func(c *cobra.Command, args []string) error { return a.runPut(c, args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.fromFile, "from-file", "", "file to take the value from; - is standard input")
	f.StringSliceVar(&o.stages, "stage", nil, "stages and labels that move to the new version (default CURRENT)")
	f.StringVar(&o.expires, "version-expires", "", "when the version can no longer be read: a duration from now, or a time")
	f.StringVar(&o.expectVersion, "expect-version", "", "ID of the version that must be CURRENT now")
	f.Uint32Var(&o.ackTargets, "ack-targets", 0, "wait, within bounds, until at least as many regions have received it (default what the vault says)")
	o.tokenFlag.add(c)
	o.creationFlags.add(c)
	o.waitFlag.add(c)
	return c
}

func (a *app) runPut(c *cobra.Command, name string, o putOptions) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	expires, err := expiry("version-expires", o.expires)
	if err != nil {
		return err
	}
	value, err := a.readValue(c.Context(), o.fromFile)
	if err != nil {
		return err
	}
	if o.given(c) {
		if len(o.stages) > 0 || expires != nil || o.expectVersion != "" {
			return &usageError{err: errors.New("a secret that is made takes no stages, expectations or expiry of its version"), hint: "put the value first, then use \"secret update\""}
		}
		return a.createSecret(c.Context(), cl, vault, name, value.Reveal(), o)
	}
	put, err := cl.PutSecret(c.Context(), &lifeboatv1.PutSecretVersionRequest{
		Vault: vault, Secret: name, Value: value.Reveal(), Stages: o.stages, ExpiresAt: expires,
		ExpectedCurrentVersionId: o.expectVersion, RequestToken: o.requestToken, Wait: o.wait(),
		AckTargets: o.ackTargets,
	})
	if err != nil {
		return err
	}
	a.warnReplicated(put.Replicated)
	o.warn(a, put.Cleared)
	return a.showPut(put)
}

func (a *app) createSecret(ctx context.Context, cl *client.Client, vault, name string, value []byte, o putOptions) error {
	request := &lifeboatv1.CreateSecretRequest{Vault: vault, Name: name, Value: value, RequestToken: o.requestToken, Wait: o.wait(), AckTargets: o.ackTargets}
	if err := o.fill(request); err != nil {
		return err
	}
	made, err := cl.CreateSecret(ctx, request)
	if client.CodeOf(err) == client.CodeExists {
		return withHint(err, "to add a version leave out what describes the secret; to change that use \"secret update\"")
	}
	if err != nil {
		return err
	}
	a.warnReplicated(made.GetReplicated())
	o.warn(a, made.GetCleared())
	return a.showPut(&client.Put{Secret: made.GetSecret(), Created: true, RevisionToken: made.GetRevisionToken(), Cleared: made.GetCleared()})
}

func (a *app) showPut(put *client.Put) error {
	answer := &lifeboatv1.PutSecretVersionResponse{
		Secret: put.Secret, Version: put.Version, RevisionToken: put.RevisionToken, Cleared: put.Cleared, PublicKey: put.PublicKey,
	}
	return a.show(answer, func(w io.Writer) {
		if put.Created {
			row(w, "created "+clip(put.Secret.GetName(), 60))
		} else {
			row(w, "added version "+strconv.FormatUint(put.Version.GetNumber(), 10)+" of "+clip(put.Secret.GetName(), 60))
		}
	})
}

type getOptions struct{ version, stage, revisionToken string }

func (a *app) secretGet() *cobra.Command {
	var o getOptions
	c := &cobra.Command{
		Use: "get NAME", Short: "Print a value, and nothing else", Args: args("NAME"), ValidArgsFunction: a.completeSecrets,
		Long: `Print a value exactly as it was put, and nothing else. Only on a terminal a line
end is added, so that the prompt comes on a line of its own. With -o json the
answer is printed, with the value in base64.

If another region than the first of several answered, or the copy may be old, a note
on standard error says so; with -o json see freshness.`,
		Example: `  lifeboat secret get api-key
  lifeboat secret get tls-key > key.pem
  lifeboat secret get api-key --version 3
  lifeboat secret get api-key --stage PREVIOUS -o json`,
		RunE: func(c *cobra.Command, args []string) error { return a.runGet(c.Context(), args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.version, "version", "", "number or ID of a version")
	f.StringVar(&o.stage, "stage", "", "stage or label (default CURRENT)")
	f.StringVar(&o.revisionToken, "revision-token", "", "refuse an answer older than this token's")
	_ = c.RegisterFlagCompletionFunc("stage", cobra.FixedCompletions([]string{"CURRENT", "PENDING", "PREVIOUS", "LATEST"}, cobra.ShellCompDirectiveNoFileComp))
	c.MarkFlagsMutuallyExclusive("version", "stage")
	return c
}

func (a *app) runGet(ctx context.Context, name string, o getOptions) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	request := &lifeboatv1.GetSecretValueRequest{Vault: vault, Secret: name, Stage: o.stage, RevisionToken: o.revisionToken}
	if number, err := strconv.ParseUint(o.version, 10, 64); err == nil {
		request.VersionNumber = number
	} else {
		request.VersionId = o.version
	}
	got, err := cl.GetSecretValue(ctx, request)
	if err != nil {
		return err
	}
	if a.flags.output == outputJSON {
		return a.show(got, nil)
	}
	if _, err := a.Stdout.Write(got.GetValue()); err != nil {
		return err
	}
	if isTerminal(a.Stdout) {
		_, err = io.WriteString(a.Stdout, "\n")
	}
	a.noteFreshness(got.GetFreshness())
	return err
}

// noteFreshness tells people if another region than the first one answered, or what it
// answered may be old.
func (a *app) noteFreshness(f *lifeboatv1.Freshness) {
	age := time.Duration(f.GetAgeSeconds() * float64(time.Second)).Round(time.Second)
	old := ""
	switch {
	case f.GetAgeUnknown():
		old = "how far its copy is behind is not known"
	case age >= worthNoting:
		old = fmt.Sprintf("its copy may be %s old", age)
	}
	regions := a.client.Regions()
	switch {
	case len(regions) > 1 && f.GetRegion() != regions[0] && old != "":
		a.note("note: %s answered, not %s; %s", f.GetRegion(), regions[0], old)
	case len(regions) > 1 && f.GetRegion() != regions[0]:
		a.note("note: %s answered, not %s", f.GetRegion(), regions[0])
	case old != "":
		a.note("note: %s answered; %s", f.GetRegion(), old)
	}
}

// worthNoting is more than a replica that is linked with its home is behind.
const worthNoting = 5 * time.Second
