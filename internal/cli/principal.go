package cli

import (
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// accountFlag adds --account to a command and those below it.
func accountFlag(c *cobra.Command, account *string) {
	c.PersistentFlags().StringVar(account, "account", "", "account: its name or ID (default yours)")
}

func (a *app) principalCommand() *cobra.Command {
	var account string
	c := &cobra.Command{
		Use: "principal", Aliases: []string{"principals"}, Short: "Manage who may act: users and workloads",
		Example: "  lifeboat principal create deployer --kind workload --role writers\n  lifeboat principal list",
	}
	accountFlag(c, &account)
	c.AddCommand(a.principalCreate(&account), a.principalGet(&account), a.principalList(&account), a.principalUpdate(&account), a.principalDelete(&account),
		a.principalBind(&account), a.principalUnbind(&account), a.principalBindings(&account))
	return c
}

func principalDetails(p *lifeboatv1.Principal) func(io.Writer) {
	return func(w io.Writer) {
		row(w, "name", p.GetName())
		row(w, "kind", enum(p.GetKind(), "PRINCIPAL_KIND_"))
		row(w, "id", p.GetId())
		row(w, "account", p.GetAccountId())
		row(w, "roles", or(strings.Join(p.GetRoles(), ","), "-"))
		row(w, "disabled", strconv.FormatBool(p.GetDisabled()))
		row(w, "created", at(p.GetCreatedAt()))
	}
}

func (a *app) principalCreate(account *string) *cobra.Command {
	var kind string
	var roles []string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a principal", Args: args("NAME"),
		Long:    "Make a principal. It may do nothing until a policy permits it, see \"lifeboat policy grant\".",
		Example: "  lifeboat principal create deployer --kind workload --role writers\n  lifeboat principal create alice",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			number, ok := lifeboatv1.PrincipalKind_value["PRINCIPAL_KIND_"+strings.ToUpper(kind)]
			if !ok || number == 0 {
				return usagef("--kind is %q; allowed are user, workload and operator", kind)
			}
			answer, err := cl.CreatePrincipal(c.Context(), &lifeboatv1.CreatePrincipalRequest{
				Account: *account, Name: args[0], Kind: lifeboatv1.PrincipalKind(number), Roles: roles,
			})
			if err != nil {
				return err
			}
			return a.show(answer, principalDetails(answer.GetPrincipal()))
		},
	}
	c.Flags().StringVar(&kind, "kind", "user", "user, workload or operator")
	c.Flags().StringSliceVar(&roles, "role", nil, "roles that policies can name")
	_ = c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"user", "workload", "operator"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) principalGet(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show a principal", Args: args("NAME"), Example: "  lifeboat principal get alice",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.GetPrincipal(c.Context(), &lifeboatv1.GetPrincipalRequest{Account: *account, Principal: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, principalDetails(answer.GetPrincipal()))
		},
	}
}

func (a *app) principalList(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List principals", Args: args(), Example: "  lifeboat principal list",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListPrincipalsResponse{}
			for p, err := range cl.ListPrincipals(c.Context(), &lifeboatv1.ListPrincipalsRequest{Account: *account}) {
				if err != nil {
					return err
				}
				answer.Principals = append(answer.Principals, p)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "NAME", "KIND", "DISABLED", "ROLES", "ID")
				for _, p := range answer.GetPrincipals() {
					row(w, clip(p.GetName(), 28), enum(p.GetKind(), "PRINCIPAL_KIND_"), strconv.FormatBool(p.GetDisabled()),
						clip(or(strings.Join(p.GetRoles(), ","), "-"), 20), p.GetId())
				}
			})
		},
	}
}

func (a *app) principalUpdate(account *string) *cobra.Command {
	var roles []string
	var disable, enable bool
	c := &cobra.Command{
		Use: "update NAME", Short: "Change roles, disable or enable", Args: args("NAME"),
		Example: "  lifeboat principal update alice --disable\n  lifeboat principal update alice --role readers,writers",
		RunE: func(c *cobra.Command, args []string) error {
			setRoles := c.Flags().Changed("role")
			if !setRoles && !disable && !enable {
				return usagef("nothing to change is given")
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			request := &lifeboatv1.UpdatePrincipalRequest{Account: *account, Principal: args[0], Roles: roles, SetRoles: setRoles}
			if disable || enable {
				request.Disabled = &disable
			}
			answer, err := cl.UpdatePrincipal(c.Context(), request)
			if err != nil {
				return err
			}
			return a.show(answer, principalDetails(answer.GetPrincipal()))
		},
	}
	c.Flags().StringSliceVar(&roles, "role", nil, "all roles that it has from now on; \"\" for none")
	c.Flags().BoolVar(&disable, "disable", false, "make all its credentials stop working")
	c.Flags().BoolVar(&enable, "enable", false, "make its credentials work again")
	c.MarkFlagsMutuallyExclusive("disable", "enable")
	return c
}

func (a *app) principalDelete(account *string) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a principal and its credentials", Args: args("NAME"),
		Example: "  lifeboat principal delete alice --yes",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "deleting the principal "+args[0], args[0]); err != nil {
				return err
			}
			answer, err := cl.DeletePrincipal(c.Context(), &lifeboatv1.DeletePrincipalRequest{Account: *account, Principal: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "deleted "+args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
