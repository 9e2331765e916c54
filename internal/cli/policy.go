package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func (a *app) policyCommand() *cobra.Command {
	var account string
	c := &cobra.Command{
		Use: "policy", Aliases: []string{"policies"}, Short: "Manage what principals may do",
		Long: `Manage policies, which are Cedar text. Nothing is permitted unless a policy
permits it. "lifeboat policy grant" writes the usual ones for you.`,
		Example: "  lifeboat policy grant deployer-writes --principal deployer --allow read,write --on-vault payments\n  lifeboat policy list",
	}
	accountFlag(c, &account)
	c.AddCommand(a.policyPut(&account), a.policyGet(&account), a.policyList(&account), a.policyDelete(&account), a.policyGrant(&account))
	return c
}

func (a *app) policyPut(account *string) *cobra.Command {
	var file, description string
	var create bool
	c := &cobra.Command{
		Use: "put NAME", Short: "Make or replace a policy", Args: args("NAME"),
		Long:    "Make or replace a policy with the Cedar text on standard input, or in a file.",
		Example: "  lifeboat policy put readers --from-file readers.cedar\n  lifeboat policy put readers --create < readers.cedar",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			text, err := a.readText(file)
			if err != nil {
				return err
			}
			return a.putPolicy(c.Context(), cl, *account, args[0], text, description, create)
		},
	}
	c.Flags().StringVar(&file, "from-file", "", "file with the text; - is standard input")
	c.Flags().StringVar(&description, "description", "", "what the policy is for")
	c.Flags().BoolVar(&create, "create", false, "refuse to replace one")
	return c
}

func (a *app) readText(file string) (string, error) {
	var data []byte
	var err error
	if file == "" || file == "-" {
		data, err = io.ReadAll(io.LimitReader(a.Stdin, 1<<20))
	} else {
		data, err = os.ReadFile(file) //nolint:gosec // the caller's own file
	}
	if err != nil {
		return "", withHint(fmt.Errorf("read the policy: %w", err), "check --from-file")
	}
	return string(data), nil
}

func (a *app) putPolicy(ctx context.Context, cl *client.Client, account, name, text, description string, create bool) error {
	request := &lifeboatv1.PutPolicyRequest{Account: account, Name: name, Text: text, Description: description}
	if create {
		request.ExpectedOrder = &lifeboatv1.Order{}
	}
	answer, err := cl.PutPolicy(ctx, request)
	if create && client.CodeOf(err) == client.CodeStale {
		return withHint(err, "there is a policy of that name; choose another, or replace it")
	}
	if err != nil {
		return err
	}
	return a.show(answer, func(w io.Writer) { row(w, "put policy "+answer.GetPolicy().GetName()) })
}

func (a *app) policyGet(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Print the text of a policy", Args: args("NAME"), Example: "  lifeboat policy get readers > readers.cedar",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.GetPolicy(c.Context(), &lifeboatv1.GetPolicyRequest{Account: *account, Name: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { _, _ = io.WriteString(w, answer.GetPolicy().GetText()) })
		},
	}
}

func (a *app) policyList(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List policies", Args: args(), Example: "  lifeboat policy list",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListPoliciesResponse{}
			for p, err := range cl.ListPolicies(c.Context(), &lifeboatv1.ListPoliciesRequest{Account: *account}) {
				if err != nil {
					return err
				}
				answer.Policies = append(answer.Policies, p)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "NAME", "UPDATED", "DESCRIPTION")
				for _, p := range answer.GetPolicies() {
					row(w, clip(p.GetName(), 32), at(p.GetUpdatedAt()), clip(p.GetDescription(), 42))
				}
			})
		},
	}
}

func (a *app) policyDelete(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a policy", Args: args("NAME"), Example: "  lifeboat policy delete readers",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.DeletePolicy(c.Context(), &lifeboatv1.DeletePolicyRequest{Account: *account, Name: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "deleted policy "+args[0]) })
		},
	}
}

type grantOptions struct {
	principal, role, vault string
	allow                  []string
	replace, dryRun        bool
}

func (a *app) policyGrant(account *string) *cobra.Command {
	var o grantOptions
	var groups []string
	for _, g := range authz.Groups() {
		groups = append(groups, string(g))
	}
	c := &cobra.Command{
		Use: "grant NAME", Short: "Make a policy from words that need no Cedar", Args: args("NAME"),
		Long: `Make a policy that permits a principal, or all who have a role, to do something.
--allow takes groups of actions, ` + strings.Join(groups, ", ") + `,
or actions such as GetSecretValue.`,
		Example: `  lifeboat policy grant ci-reads --principal ci --allow read --on-vault payments
  lifeboat policy grant writers --role writers --allow read,write
  lifeboat policy grant ci-reads --principal ci --allow GetSecretValue --dry-run`,
		RunE: func(c *cobra.Command, args []string) error { return a.grant(c.Context(), *account, args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.principal, "principal", "", "who is permitted: a name or ID")
	f.StringVar(&o.role, "role", "", "or everyone with this role")
	f.StringSliceVar(&o.allow, "allow", nil, "groups of actions, or actions")
	f.StringVar(&o.vault, "on-vault", "", "only on this vault and the secrets in it (default the whole account)")
	f.BoolVar(&o.replace, "replace", false, "replace a policy of that name")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the text and put nothing")
	_ = c.RegisterFlagCompletionFunc("allow", cobra.FixedCompletions(groups, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("on-vault", a.completeVaults)
	return c
}

func (a *app) grant(ctx context.Context, account, name string, o grantOptions) error {
	if (o.principal == "") == (o.role == "") {
		return usagef("give either --principal or --role")
	}
	if len(o.allow) == 0 {
		return usagef("--allow is missing")
	}
	cl, err := a.connect()
	if err != nil {
		return err
	}
	grant := authz.Grant{Role: o.role}
	for _, allowed := range o.allow {
		if slices.Contains(authz.Groups(), authz.Group(allowed)) {
			grant.Groups = append(grant.Groups, authz.Group(allowed))
		} else {
			grant.Actions = append(grant.Actions, authz.Action(allowed))
		}
	}
	if o.principal != "" {
		if grant.Principal, err = findPrincipal(ctx, cl, account, o.principal); err != nil {
			return err
		}
	}
	if o.vault != "" {
		found, err := cl.GetVault(ctx, &lifeboatv1.GetVaultRequest{Vault: o.vault})
		if err != nil {
			return err
		}
		grant.Vault = secret.VaultID(found.GetVault().GetId())
	}
	text, err := authz.GrantPolicy(grant)
	if err != nil {
		return usage(err)
	}
	if o.dryRun {
		_, err := io.WriteString(a.Stdout, text)
		return err
	}
	return a.putPolicy(ctx, cl, account, name, text, describeGrant(o), !o.replace)
}

func describeGrant(o grantOptions) string {
	who := o.principal
	if who == "" {
		who = "role " + o.role
	}
	where := "the account"
	if o.vault != "" {
		where = "vault " + o.vault
	}
	return fmt.Sprintf("%s may %s in %s", who, strings.Join(o.allow, ", "), where)
}

func findPrincipal(ctx context.Context, cl *client.Client, account, name string) (*secret.Principal, error) {
	found, err := cl.GetPrincipal(ctx, &lifeboatv1.GetPrincipalRequest{Account: account, Principal: name})
	if err != nil {
		return nil, err
	}
	p := found.GetPrincipal()
	kind := secret.PrincipalKind(strings.TrimPrefix(p.GetKind().String(), "PRINCIPAL_KIND_"))
	return &secret.Principal{ID: secret.PrincipalID(p.GetId()), Account: secret.AccountID(p.GetAccountId()), Name: p.GetName(), Kind: kind}, nil
}
