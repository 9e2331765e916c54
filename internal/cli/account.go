package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// onceFlag is --to-file of commands whose answer holds what is shown only once.
type onceFlag struct{ file string }

func (o *onceFlag) add(c *cobra.Command, what string) {
	c.Flags().StringVar(&o.file, "to-file", "", "write the "+what+" to this file, which must not exist, for its owner only")
}

// check refuses what would fail only after the credential was made.
func (o *onceFlag) check() error {
	if o.file == "" {
		return nil
	}
	if _, err := os.Lstat(o.file); err == nil {
		return usagef("--to-file %s exists already", o.file)
	}
	f, err := os.OpenFile(o.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return usage(err)
	}
	return errors.Join(f.Close(), os.Remove(o.file))
}

// showOnce prints a credential, and nothing else, to standard output, or writes
// it to the file; what it belongs to goes to standard error.
func (a *app) showOnce(o onceFlag, credential, about string) error {
	if credential == "" {
		return withHint(errors.New("the answer holds no credential: the same request had been done before"), "make a new one")
	}
	if o.file != "" {
		if err := pki.WriteFile(o.file, []byte(credential+"\n")); err != nil {
			return fmt.Errorf("write the credential: %w", err)
		}
		a.note("%s; written to %s", about, o.file)
		return nil
	}
	a.note("%s; it is shown only now", about)
	_, err := fmt.Fprintln(a.Stdout, credential)
	return err
}

func (a *app) accountCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "account", Aliases: []string{"accounts"}, Short: "Manage accounts, which own vaults and principals",
		Example: "  lifeboat account create acme --to-file acme.token\n  lifeboat account list",
	}
	c.AddCommand(a.accountCreate(), a.accountGet(), a.accountList(), a.accountRotateKey())
	return c
}

func (a *app) accountCreate() *cobra.Command {
	var once onceFlag
	var requestToken string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make an account and its first user, and print that user's token", Args: args("NAME"),
		Long: `Make an account and in it a user called admin, who may do everything in the
account. Only operators may. The token is printed once, alone on standard output.`,
		Example: `  lifeboat account create acme --to-file acme.token
  LIFEBOAT_TOKEN=$(lifeboat account create acme) lifeboat vault create payments`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if err := once.check(); err != nil {
				return err
			}
			answer, err := cl.CreateAccount(c.Context(), &lifeboatv1.CreateAccountRequest{Name: args[0], RequestToken: requestToken})
			if err != nil {
				return err
			}
			if a.flags.output == outputJSON && once.file == "" {
				return a.show(answer, nil)
			}
			about := fmt.Sprintf("made account %s (%s); token of its user %s", answer.GetAccount().GetName(), answer.GetAccount().GetId(), answer.GetAdmin().GetName())
			return a.showOnce(once, answer.GetToken(), about)
		},
	}
	c.Flags().StringVar(&requestToken, "request-token", "", "makes a repetition of the command answer the first account, without its token")
	once.add(c, "token")
	return c
}

func (a *app) accountGet() *cobra.Command {
	return &cobra.Command{
		Use: "get [NAME]", Short: "Show an account, by default yours", Args: atMostOne, Example: "  lifeboat account get -o json",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.GetAccount(c.Context(), &lifeboatv1.GetAccountRequest{Account: strings.Join(args, "")})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "name", answer.GetAccount().GetName())
				row(w, "id", answer.GetAccount().GetId())
				row(w, "home region", answer.GetAccount().GetOwnership().GetHomeRegion())
				row(w, "created", at(answer.GetAccount().GetCreatedAt()))
			})
		},
	}
}

func (a *app) accountList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List all accounts", Args: args(), Example: "  lifeboat account list",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListAccountsResponse{}
			for account, err := range cl.ListAccounts(c.Context(), &lifeboatv1.ListAccountsRequest{}) {
				if err != nil {
					return err
				}
				answer.Accounts = append(answer.Accounts, account)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "NAME", "ID", "CREATED")
				for _, account := range answer.GetAccounts() {
					row(w, clip(account.GetName(), 40), account.GetId(), at(account.GetCreatedAt()))
				}
			})
		},
	}
}

func (a *app) whoAmICommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show who you are, and where", Args: args(), Example: "  lifeboat whoami",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.WhoAmI(c.Context(), &lifeboatv1.WhoAmIRequest{})
			if err != nil {
				return err
			}
			if want := a.client.settings.Region; want != "" && want != answer.GetRegion() {
				return secret.Errorf(secret.CodeWrongState, "the region is %s, not %s", answer.GetRegion(), want).
					WithHint("check --addr (LIFEBOAT_ADDR) and --region (LIFEBOAT_REGION)")
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "principal", answer.GetPrincipal().GetName())
				row(w, "kind", enum(answer.GetPrincipal().GetKind(), "PRINCIPAL_KIND_"))
				row(w, "id", answer.GetPrincipal().GetId())
				row(w, "roles", or(strings.Join(answer.GetPrincipal().GetRoles(), ","), "-"))
				row(w, "account", answer.GetAccount().GetName())
				row(w, "credential", answer.GetCredentialId())
				row(w, "method", answer.GetMethod())
				row(w, "until", at(answer.GetExpiresAt()))
				row(w, "region", answer.GetRegion())
			})
		},
	}
}
