package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

func (a *app) tokenCommand() *cobra.Command {
	var account string
	c := &cobra.Command{
		Use: "token", Aliases: []string{"tokens"}, Short: "Manage credentials: bearer tokens, and the list of all kinds",
		Example: "  lifeboat token create deployer --expires 720h --to-file deployer.token\n  lifeboat token list",
	}
	accountFlag(c, &account)
	c.AddCommand(a.tokenCreate(&account), a.tokenList(&account), a.tokenRevoke())
	return c
}

type credentialOptions struct {
	onceFlag
	description, expires string
}

func (o *credentialOptions) add(c *cobra.Command, what string) {
	c.Flags().StringVar(&o.description, "description", "", "what it is for")
	c.Flags().StringVar(&o.expires, "expires", "", "when it stops working: a duration from now, or a time (default never)")
	o.onceFlag.add(c, what)
}

// beforeCredential checks all that can be checked before a credential is made.
func (a *app) beforeCredential(o *credentialOptions) (*client.Client, *timestamppb.Timestamp, error) {
	cl, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	expires, err := expiry("expires", o.expires)
	if err != nil {
		return nil, nil, err
	}
	return cl, expires, o.check()
}

func (a *app) tokenCreate(account *string) *cobra.Command {
	var o credentialOptions
	c := &cobra.Command{
		Use: "create PRINCIPAL", Short: "Make a bearer token and print it", Args: args("PRINCIPAL"),
		Long:    "Make a bearer token. It is printed once, alone on standard output; the region keeps only a hash.",
		Example: "  lifeboat token create deployer --expires 720h --to-file deployer.token",
		RunE: func(c *cobra.Command, args []string) error {
			cl, expires, err := a.beforeCredential(&o)
			if err != nil {
				return err
			}
			answer, err := cl.CreateToken(c.Context(), &lifeboatv1.CreateTokenRequest{
				Account: *account, Principal: args[0], Description: o.description, ExpiresAt: expires,
			})
			if err != nil {
				return err
			}
			if a.flags.output == outputJSON && o.file == "" {
				return a.show(answer, nil)
			}
			return a.showOnce(o.onceFlag, answer.GetToken(), fmt.Sprintf("made token %s of %s", answer.GetCredential().GetId(), args[0]))
		},
	}
	o.add(c, "token")
	return c
}

func (a *app) tokenList(account *string) *cobra.Command {
	var principal string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List credentials, without what proves them", Args: args(),
		Example: "  lifeboat token list --principal deployer",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListCredentialsResponse{}
			for credential, err := range cl.ListCredentials(c.Context(), &lifeboatv1.ListCredentialsRequest{Account: *account, Principal: principal}) {
				if err != nil {
					return err
				}
				answer.Credentials = append(answer.Credentials, credential)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "ID", "KIND", "PRINCIPAL", "STATE", "DESCRIPTION")
				for _, credential := range answer.GetCredentials() {
					row(w, credential.GetId(), enum(credential.GetKind(), "CREDENTIAL_KIND_"), credential.GetPrincipalId(),
						credentialState(credential), clip(credential.GetDescription(), 20))
				}
			})
		},
	}
	c.Flags().StringVar(&principal, "principal", "", "only those of this principal")
	return c
}

func credentialState(c *lifeboatv1.Credential) string {
	switch {
	case at(c.GetRevokedAt()) != "-":
		return "revoked"
	case at(c.GetExpiresAt()) != "-":
		return "to " + c.GetExpiresAt().AsTime().Format("2006-01-02")
	}
	return "valid"
}

func (a *app) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Stop a credential of any kind for good", Args: args("ID"),
		Example: "  lifeboat token list\n  lifeboat token revoke 01J9Z3N0AAAAAAAAAAAAAAAAAA",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.RevokeCredential(c.Context(), &lifeboatv1.RevokeCredentialRequest{CredentialId: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "revoked "+answer.GetCredential().GetId()) })
		},
	}
}

func (a *app) accessKeyCommand() *cobra.Command {
	var account string
	var o credentialOptions
	create := &cobra.Command{
		Use: "create PRINCIPAL", Short: "Make an access key pair and print its secret half", Args: args("PRINCIPAL"),
		Long:    "Make an access key pair, with which requests are signed. Its ID goes to standard error, its\nsecret half, once, alone to standard output. List and revoke it with \"lifeboat token\".",
		Example: "  lifeboat access-key create deployer -o json",
		RunE: func(c *cobra.Command, args []string) error {
			cl, expires, err := a.beforeCredential(&o)
			if err != nil {
				return err
			}
			answer, err := cl.CreateAccessKey(c.Context(), &lifeboatv1.CreateAccessKeyRequest{
				Account: account, Principal: args[0], Description: o.description, ExpiresAt: expires,
			})
			if err != nil {
				return err
			}
			if a.flags.output == outputJSON && o.file == "" {
				return a.show(answer, nil)
			}
			return a.showOnce(o.onceFlag, answer.GetSecretAccessKey(), fmt.Sprintf("made access key %s of %s", answer.GetCredential().GetId(), args[0]))
		},
	}
	o.add(create, "secret half")
	c := &cobra.Command{Use: "access-key", Short: "Make access keys, which sign requests", Example: "  lifeboat access-key create deployer -o json"}
	accountFlag(c, &account)
	c.AddCommand(create)
	return c
}
