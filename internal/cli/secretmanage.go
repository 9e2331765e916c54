package cli

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

func (a *app) secretDescribe() *cobra.Command {
	var revisionToken string
	c := &cobra.Command{
		Use: "describe NAME", Short: "Show all but the value", Args: args("NAME"), ValidArgsFunction: a.completeSecrets,
		Example: "  lifeboat secret describe api-key\n  lifeboat secret describe api-key -o json",
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := a.describeSecret(c.Context(), args[0], revisionToken)
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { secretDetails(w, answer.GetSecret()) })
		},
	}
	c.Flags().StringVar(&revisionToken, "revision-token", "", "refuse an answer older than this token's")
	return c
}

func (a *app) describeSecret(ctx context.Context, name, revisionToken string) (*lifeboatv1.DescribeSecretResponse, error) {
	cl, vault, err := a.inVault()
	if err != nil {
		return nil, err
	}
	answer, err := cl.DescribeSecret(ctx, &lifeboatv1.DescribeSecretRequest{Vault: vault, Secret: name, RevisionToken: revisionToken})
	if err == nil && a.flags.output == outputTable {
		a.noteFreshness(answer.GetFreshness())
	}
	return answer, err
}

func secretDetails(w io.Writer, s *lifeboatv1.Secret) {
	row(w, "name", s.GetName())
	row(w, "id", s.GetId())
	row(w, "vault", s.GetVaultId())
	state := enum(s.GetState(), "STATE_")
	if reason := s.GetStateReason(); reason != "" {
		state += ": " + reason
	}
	row(w, "state", state)
	row(w, "home region", s.GetOwnership().GetHomeRegion())
	if s.GetDetached() {
		row(w, "detached", "a secret of its own since it was promoted")
	}
	optional := func(name, value string) {
		if value != "" && value != "-" {
			row(w, name, value)
		}
	}
	optional("description", s.GetDescription())
	optional("content type", s.GetContentType())
	optional("promoted in", strings.Join(s.GetPromotedRegions(), ", "))
	optional("tags", pairs(s.GetTags()))
	optional("metadata", pairs(s.GetMetadata()))
	optional("expires", at(s.GetRules().GetExpiresAt()))
	if ttl := s.GetRules().GetVersionTtl(); ttl != nil {
		row(w, "version ttl", ttl.AsDuration().String())
	}
	if s.GetRules().GetForbidReuse() {
		row(w, "reuse", "forbidden")
	}
	row(w, "created", at(s.GetCreatedAt()))
	row(w, "updated", at(s.GetUpdatedAt()))
	if read := s.GetLastAccessedAt(); read != nil {
		row(w, "last read", read.AsTime().Format(time.DateOnly)+" in this region")
	}
	optional("deleted at", at(s.GetDeleteAt()))
	row(w, "versions", "")
	versionRows(w, s.GetVersions(), "  ")
}

func versionRows(w io.Writer, versions []*lifeboatv1.SecretVersion, indent string) {
	row(w, indent+"NUMBER", "STAGES", "SIZE", "CREATED", "ID")
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		row(w, indent+strconv.FormatUint(v.GetNumber(), 10), clip(strings.Join(v.GetStages(), ","), 24),
			strconv.Itoa(int(v.GetSize())), at(v.GetCreatedAt()), v.GetId())
	}
}

func (a *app) secretVersions() *cobra.Command {
	return &cobra.Command{
		Use: "versions NAME", Short: "List the versions of a secret, newest first", Args: args("NAME"), ValidArgsFunction: a.completeSecrets,
		Example: "  lifeboat secret versions api-key",
		RunE: func(c *cobra.Command, args []string) error {
			answer, err := a.describeSecret(c.Context(), args[0], "")
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { versionRows(w, answer.GetSecret().GetVersions(), "") })
		},
	}
}

type listOptions struct {
	prefix string
	tags   []string
	states []string
}

func (a *app) secretList() *cobra.Command {
	var o listOptions
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List secrets, in the order of their names", Args: args(),
		Example: `  lifeboat secret list
  lifeboat secret list --prefix payments/ --tag env=test
  lifeboat secret list --state pending_deletion -o json`,
		RunE: func(c *cobra.Command, _ []string) error { return a.listSecrets(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.prefix, "prefix", "", "only names that begin so")
	f.StringArrayVar(&o.tags, "tag", nil, "only with this tag, NAME=VALUE; NAME= for any value; repeatable")
	f.StringSliceVar(&o.states, "state", nil, "only in these states (default all but pending_deletion)")
	return c
}

func (a *app) listSecrets(ctx context.Context, o listOptions) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	request := &lifeboatv1.ListSecretsRequest{Vault: vault, NamePrefix: o.prefix, PageSize: 1000}
	if request.Tags, err = parsePairs("tag", o.tags); err != nil {
		return err
	}
	for _, s := range o.states {
		state, ok := lifeboatv1.State_value["STATE_"+strings.ToUpper(s)]
		if !ok || state == 0 {
			return usagef("--state %q is unknown; allowed are creating, active, updating, pending_deletion and failed", s)
		}
		request.States = append(request.States, lifeboatv1.State(state))
	}
	answer := &lifeboatv1.ListSecretsResponse{}
	for s, err := range cl.ListSecrets(ctx, request) {
		if err != nil {
			return err
		}
		answer.Secrets = append(answer.Secrets, s)
	}
	return a.show(answer, func(w io.Writer) {
		row(w, "NAME", "STATE", "UPDATED", "TAGS")
		for _, s := range answer.GetSecrets() {
			row(w, clip(s.GetName(), 44), enum(s.GetState(), "STATE_"), at(s.GetUpdatedAt()), clip(pairs(s.GetTags()), 16))
		}
	})
}

type updateOptions struct {
	waitFlag
	tokenFlag
	creationFlags
	removeTags []string
}

func (a *app) secretUpdate() *cobra.Command {
	var o updateOptions
	c := &cobra.Command{
		Use: "update NAME", Short: "Change all but values", Args: args("NAME"), ValidArgsFunction: a.completeSecrets,
		Long: `Change what describes a secret. What no flag names stays, except that rules
(--expires, --version-ttl, --forbid-reuse) are replaced together, and so are those
of retention (--max-versions, --max-age).`,
		Example: `  lifeboat secret update api-key --tag env=test --remove-tag team
  lifeboat secret update api-key --description "card processor" --max-versions 5`,
		RunE: func(c *cobra.Command, args []string) error { return a.updateSecret(c, args[0], o) },
	}
	c.Flags().StringSliceVar(&o.removeTags, "remove-tag", nil, "names of tags to take off")
	o.tokenFlag.add(c)
	o.creationFlags.add(c)
	o.waitFlag.add(c)
	return c
}

func (a *app) updateSecret(c *cobra.Command, name string, o updateOptions) error {
	if !o.given(c) && len(o.removeTags) == 0 {
		return usagef("nothing to change is given")
	}
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	var filled lifeboatv1.CreateSecretRequest
	if err := o.fill(&filled); err != nil {
		return err
	}
	changed := c.Flags().Changed
	request := &lifeboatv1.UpdateSecretRequest{
		Vault: vault, Secret: name, SetTags: filled.GetTags(), RemoveTags: o.removeTags, Metadata: filled.GetMetadata(),
		SetMetadata: changed("metadata-file"), RequestToken: o.requestToken, Wait: o.wait(),
	}
	if changed("description") {
		request.Description = &filled.Description
	}
	if changed("content-type") {
		request.ContentType = &filled.ContentType
	}
	if changed("expires") || changed("version-ttl") || changed("forbid-reuse") {
		if request.Rules = filled.GetRules(); request.Rules == nil {
			request.Rules = &lifeboatv1.Rules{}
		}
	}
	if changed("max-versions") || changed("max-age") {
		if request.Retention = filled.GetRetention(); request.Retention == nil {
			request.Retention = &lifeboatv1.Retention{}
		}
	}
	answer, err := cl.UpdateSecret(c.Context(), request)
	if err != nil {
		return err
	}
	o.warn(a, answer.GetCleared())
	return a.show(answer, func(w io.Writer) { row(w, "updated "+clip(answer.GetSecret().GetName(), 60)) })
}

type stageOptions struct {
	waitFlag
	tokenFlag
	from   string
	remove bool
}

func (a *app) secretStage() *cobra.Command {
	var o stageOptions
	c := &cobra.Command{
		Use: "stage NAME STAGE [VERSION]", Short: "Move a stage or label to a version, or take it off",
		Long: `Move a stage (CURRENT, PENDING, PREVIOUS) or a label to a version, which is named
by its number or ID; or take it off with --remove. When CURRENT moves, PREVIOUS
goes to the version that it leaves.`,
		Example: `  lifeboat secret stage api-key CURRENT 2
  lifeboat secret stage api-key canary 3
  lifeboat secret stage api-key PENDING --remove`,
		Args: func(c *cobra.Command, given []string) error {
			if o.remove {
				return args("NAME", "STAGE")(c, given)
			}
			return args("NAME", "STAGE", "VERSION")(c, given)
		},
		ValidArgsFunction: a.completeSecrets,
		RunE:              func(c *cobra.Command, args []string) error { return a.moveStage(c.Context(), args, o) },
	}
	c.Flags().StringVar(&o.from, "from", "", "number or ID of the version on which it must be now")
	c.Flags().BoolVar(&o.remove, "remove", false, "take the stage or label off")
	o.tokenFlag.add(c)
	o.waitFlag.add(c)
	return c
}

func (a *app) moveStage(ctx context.Context, args []string, o stageOptions) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	to := ""
	if !o.remove {
		to = args[2]
	}
	described, err := a.describeSecret(ctx, args[0], "")
	if err != nil {
		return err
	}
	request := &lifeboatv1.MoveStageRequest{
		Vault: vault, Secret: described.GetSecret().GetId(), Stage: args[1], RequestToken: o.requestToken, Wait: o.wait(),
	}
	if request.ToVersionId, err = versionID(described.GetSecret(), to); err != nil {
		return err
	}
	if request.FromVersionId, err = versionID(described.GetSecret(), o.from); err != nil {
		return err
	}
	answer, err := cl.MoveStage(ctx, request)
	if err != nil {
		return err
	}
	o.warn(a, answer.GetCleared())
	return a.show(answer, func(w io.Writer) {
		if o.remove {
			row(w, "took "+args[1]+" off "+clip(answer.GetSecret().GetName(), 60))
		} else {
			row(w, "moved "+args[1]+" of "+clip(answer.GetSecret().GetName(), 60)+" to version "+to)
		}
	})
}

// versionID returns the ID of the version of that number; IDs stay.
func versionID(s *lifeboatv1.Secret, version string) (string, error) {
	number, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return version, nil //nolint:nilerr // then it is an ID
	}
	for _, v := range s.GetVersions() {
		if v.GetNumber() == number {
			return v.GetId(), nil
		}
	}
	return "", &client.Error{Code: client.CodeNotFound, Message: "there is no version " + version, Hint: "list them with: lifeboat secret versions NAME"}
}

type deleteOptions struct {
	waitFlag
	tokenFlag
	window         time.Duration
	immediate, yes bool
}

func (a *app) secretDelete() *cobra.Command {
	var o deleteOptions
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Schedule a deletion, or purge at once", Args: args("NAME"), ValidArgsFunction: a.completeSecrets,
		Long: `Schedule the deletion of a secret. It cannot be read from now on; until it is
purged it can be restored. With --immediate it is purged at once, which cannot be
undone and needs a permission of its own.`,
		Example: `  lifeboat secret delete api-key
  lifeboat secret delete api-key --window 168h
  lifeboat secret delete api-key --immediate --yes`,
		RunE: func(c *cobra.Command, args []string) error { return a.deleteSecret(c.Context(), args[0], o) },
	}
	f := c.Flags()
	f.DurationVar(&o.window, "window", 0, "how long it can be restored, 168h to 720h (default 720h, 30 days)")
	f.BoolVar(&o.immediate, "immediate", false, "purge at once")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	c.MarkFlagsMutuallyExclusive("window", "immediate")
	o.tokenFlag.add(c)
	o.waitFlag.add(c)
	return c
}

func (a *app) deleteSecret(ctx context.Context, name string, o deleteOptions) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	if o.immediate {
		if err := a.confirm(o.yes, "purging "+name, name); err != nil {
			return err
		}
	}
	answer, err := cl.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{
		Vault: vault, Secret: name, RecoveryWindow: duration(o.window), Immediate: o.immediate,
		RequestToken: o.requestToken, Wait: o.wait(),
	})
	if err != nil {
		return err
	}
	o.warn(a, answer.GetCleared())
	return a.show(answer, func(w io.Writer) {
		if o.immediate {
			row(w, "purged "+clip(name, 60))
		} else {
			row(w, "deleted "+clip(name, 60)+"; it can be restored until "+at(answer.GetSecret().GetDeleteAt()))
		}
	})
}

func (a *app) secretRestore() *cobra.Command {
	var o waitFlag
	var token tokenFlag
	c := &cobra.Command{
		Use: "restore NAME", Short: "Take a scheduled deletion back", Args: args("NAME"),
		Example: "  lifeboat secret list --state pending_deletion\n  lifeboat secret restore api-key",
		RunE: func(c *cobra.Command, args []string) error {
			cl, vault, err := a.inVault()
			if err != nil {
				return err
			}
			answer, err := cl.RestoreSecret(c.Context(), &lifeboatv1.RestoreSecretRequest{
				Vault: vault, Secret: args[0], RequestToken: token.requestToken, Wait: o.wait(),
			})
			if err != nil {
				return err
			}
			o.warn(a, answer.GetCleared())
			return a.show(answer, func(w io.Writer) { row(w, "restored "+clip(args[0], 60)) })
		},
	}
	token.add(c)
	o.add(c)
	return c
}

type watchOptions struct {
	resume string
	count  int
}

func (a *app) secretWatch() *cobra.Command {
	var o watchOptions
	c := &cobra.Command{
		Use: "watch", Short: "Print the events of a vault as they come", Args: args(),
		Long: `Print the events of a vault as they come, one a line, without values. With -o
json each line is an object with the resume token after which to go on.`,
		Example: `  lifeboat secret watch
  lifeboat secret watch -o json --resume TOKEN
  lifeboat secret watch --count 1      # wait for one event`,
		RunE: func(c *cobra.Command, _ []string) error { return a.watchSecrets(c.Context(), o) },
	}
	c.Flags().StringVar(&o.resume, "resume", "", "go on after the event with this resume token")
	c.Flags().IntVar(&o.count, "count", 0, "end after so many events")
	return c
}

func (a *app) watchSecrets(ctx context.Context, o watchOptions) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	seen := 0
	for answer, err := range cl.WatchSecrets(ctx, &lifeboatv1.WatchSecretsRequest{Vault: vault, ResumeToken: o.resume}) {
		if ctx.Err() != nil {
			return nil // told to stop
		}
		if err != nil {
			return err
		}
		if answer.GetEvent() == nil {
			continue
		}
		if err := a.printEvent(answer); err != nil {
			return err
		}
		if seen++; seen == o.count {
			return nil
		}
	}
	return errors.New("the watch ended")
}

func (a *app) printEvent(answer *lifeboatv1.WatchSecretsResponse) error {
	if a.flags.output == outputJSON {
		data, err := protoJSON(answer)
		if err != nil {
			return err
		}
		_, err = a.Stdout.Write(append(data, '\n'))
		return err
	}
	e := answer.GetEvent()
	row(a.Stdout, at(e.GetAt()), e.GetType(), e.GetName())
	return nil
}
