package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
)

type loginOptions struct {
	jwtFile, account, toFile string
	expires                  time.Duration
}

func (a *app) loginCommand() *cobra.Command {
	var o loginOptions
	c := &cobra.Command{
		Use: "login", Short: "Get a short-lived token for a JWT, a client certificate or another token", Args: args(),
		Long: `Exchange a JSON Web Token, a client certificate or a longer-lived token for a token
of Lifeboat that works for a short time: 15 minutes unless the region says
otherwise. It stops working when what it was exchanged for does. It is printed
alone on standard output, or replaces a file.`,
		Example: `  lifeboat login --jwt-file /var/run/secrets/tokens/lifeboat --to-file ~/.lifeboat-token
  lifeboat login --client-cert web.pem --client-key web-key.pem --expires 1h --to-file web.token`,
		RunE: func(c *cobra.Command, _ []string) error { return a.login(c, o) },
	}
	c.Flags().StringVar(&o.jwtFile, "jwt-file", "", "file with the JWT; - is standard input (default: what the command presents)")
	c.Flags().StringVar(&o.account, "account", "", "your account, if several trust your authority or issuer")
	c.Flags().DurationVar(&o.expires, "expires", 0, "for how long it is to work (default: what the region says)")
	c.Flags().StringVar(&o.toFile, "to-file", "", "replace this file with the token, for its owner only")
	return c
}

func (a *app) login(c *cobra.Command, o loginOptions) error {
	if o.expires < 0 || o.expires > 0 && o.expires < time.Second {
		return usagef("--expires is %s; it must be at least 1s", o.expires)
	}
	request := &lifeboatv1.ExchangeTokenRequest{ExpiresIn: uint32(min(o.expires/time.Second, 1<<31)), Account: o.account} //nolint:gosec // bounded
	if o.jwtFile != "" {
		jwt, err := a.readFileOrInput(o.jwtFile)
		if err != nil {
			return err
		}
		request.SubjectToken, request.SubjectTokenType = strings.TrimSpace(string(jwt)), "urn:ietf:params:oauth:token-type:jwt"
	}
	cl, err := a.connect()
	if err != nil {
		return err
	}
	answer, err := cl.ExchangeToken(c.Context(), request)
	if err != nil {
		return err
	}
	if o.toFile != "" {
		if err := pki.WriteFile(o.toFile, []byte(answer.GetAccessToken()+"\n")); err != nil {
			return err
		}
		a.note("you are %s until %s; the token is in %s", answer.GetPrincipal().GetName(), at(answer.GetExpiresAt()), o.toFile)
		return nil
	}
	if a.flags.output == outputJSON {
		return a.show(answer, nil)
	}
	a.note("you are %s until %s", answer.GetPrincipal().GetName(), at(answer.GetExpiresAt()))
	_, err = fmt.Fprintln(a.Stdout, answer.GetAccessToken())
	return err
}

// readFileOrInput reads a file that holds no secret value but may be large, or
// standard input for -.
func (a *app) readFileOrInput(path string) ([]byte, error) {
	const limit = 256 << 10
	in := a.Stdin
	if path != "-" {
		f, err := os.Open(path) //nolint:gosec // the caller's own file
		if err != nil {
			return nil, usage(err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && len(data) > limit {
		err = usagef("%s is larger than %d bytes", path, limit)
	}
	return data, err
}

func (a *app) trustCommand() *cobra.Command {
	var account string
	c := &cobra.Command{
		Use: "trust", Aliases: []string{"trusts"}, Short: "Manage trust bundles: authorities that sign client certificates",
		Example: "  lifeboat trust create mesh --ca-pem mesh-ca.pem\n  lifeboat principal bind web --uri spiffe://prod/ns/shop/sa/web --trust mesh",
	}
	accountFlag(c, &account)
	c.AddCommand(a.trustCreate(&account), a.trustUpdate(&account), a.trustList(&account), a.trustDelete(&account))
	return c
}

func trustDetails(t *lifeboatv1.TrustBundle) func(io.Writer) {
	return func(w io.Writer) {
		row(w, "name", t.GetName())
		row(w, "description", or(t.GetDescription(), "-"))
		for _, authority := range t.GetAuthorities() {
			row(w, "authority", clip(authority.GetSubject(), 60))
			row(w, "  sha256", authority.GetFingerprint())
			row(w, "  valid until", at(authority.GetNotAfter()))
		}
	}
}

// authoritiesFlag names the authorities of a bundle.
type authoritiesFlag struct{ file string }

func (f *authoritiesFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "ca-pem", "", "PEM file with the certificates of the authorities")
}

func (f *authoritiesFlag) read(a *app) (string, error) {
	pem, err := a.requiredFile("ca-pem", f.file)
	return string(pem), err
}

func (a *app) trustCreate(account *string) *cobra.Command {
	var authorities authoritiesFlag
	var description string
	c := &cobra.Command{
		Use: "create NAME", Short: "Trust authorities to sign client certificates", Args: args("NAME"),
		Long:    "Make a trust bundle. By itself it lets nobody in: \"lifeboat principal bind\" says which\ncertificates act as whom.",
		Example: "  lifeboat trust create mesh --ca-pem mesh-ca.pem",
		RunE: func(c *cobra.Command, args []string) error {
			pem, err := authorities.read(a)
			if err != nil {
				return err
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.CreateTrust(c.Context(), &lifeboatv1.CreateTrustRequest{Account: *account, Name: args[0], Description: description, CaPem: pem})
			if err != nil {
				return err
			}
			return a.show(answer, trustDetails(answer.GetTrust()))
		},
	}
	authorities.add(c)
	c.Flags().StringVar(&description, "description", "", "what it is for")
	return c
}

// requiredFile reads a file that a flag must name.
func (a *app) requiredFile(flag, file string) ([]byte, error) {
	if file == "" {
		return nil, usagef("--%s is missing", flag)
	}
	return a.readFileOrInput(file)
}

func (a *app) trustUpdate(account *string) *cobra.Command {
	var authorities authoritiesFlag
	c := &cobra.Command{
		Use: "update NAME", Short: "Replace the authorities of a bundle", Args: args("NAME"),
		Long:    "Replace the authorities of a bundle. To change an authority without a gap: first the old and the\nnew one in one file, then certificates of the new one, then the new one alone.",
		Example: "  lifeboat trust update mesh --ca-pem old-and-new.pem",
		RunE: func(c *cobra.Command, args []string) error {
			pem, err := authorities.read(a)
			if err != nil {
				return err
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.UpdateTrust(c.Context(), &lifeboatv1.UpdateTrustRequest{Account: *account, Name: args[0], CaPem: pem})
			if err != nil {
				return err
			}
			return a.show(answer, trustDetails(answer.GetTrust()))
		},
	}
	authorities.add(c)
	return c
}

func (a *app) trustList(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List trust bundles", Args: args(), Example: "  lifeboat trust list",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListTrustsResponse{}
			for t, err := range cl.ListTrusts(c.Context(), &lifeboatv1.ListTrustsRequest{Account: *account}) {
				if err != nil {
					return err
				}
				answer.Trusts = append(answer.Trusts, t)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "NAME", "AUTHORITIES", "FIRST ENDS", "DESCRIPTION")
				for _, t := range answer.GetTrusts() {
					row(w, clip(t.GetName(), 30), strconv.Itoa(len(t.GetAuthorities())), firstEnd(t.GetAuthorities()), clip(t.GetDescription(), 25))
				}
			})
		},
	}
}

func firstEnd(authorities []*lifeboatv1.TrustedAuthority) string {
	first := "-"
	for _, authority := range authorities {
		if ends := at(authority.GetNotAfter()); first == "-" || ends < first {
			first = ends
		}
	}
	return first
}

func (a *app) trustDelete(account *string) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Stop accepting certificates that a bundle has signed", Args: args("NAME"),
		Example: "  lifeboat trust delete mesh --yes",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "deleting the trust bundle "+args[0], args[0]); err != nil {
				return err
			}
			answer, err := cl.DeleteTrust(c.Context(), &lifeboatv1.DeleteTrustRequest{Account: *account, Name: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "deleted "+args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func bindingDetails(b *lifeboatv1.Binding) func(io.Writer) {
	return func(w io.Writer) {
		row(w, "id", b.GetId())
		row(w, "principal", b.GetPrincipalId())
		row(w, "uri", b.GetUri())
		row(w, "trust", b.GetTrust())
	}
}

func (a *app) principalBind(account *string) *cobra.Command {
	var uri, trust string
	c := &cobra.Command{
		Use: "bind NAME", Short: "Let the holders of client certificates act as a principal", Args: args("NAME"),
		Long: `Let the holders of client certificates act as a principal: those with this URI, or
with one that begins so up to a /*, that the trust bundle has signed. A certificate
that is bound to several principals is refused.`,
		Example: "  lifeboat principal bind web --uri spiffe://prod/ns/shop/sa/web --trust mesh\n  lifeboat principal bind web --uri 'spiffe://prod/ns/shop/*' --trust mesh",
		RunE: func(c *cobra.Command, args []string) error {
			if uri == "" || trust == "" {
				return usagef("--uri or --trust is missing")
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.BindPrincipal(c.Context(), &lifeboatv1.BindPrincipalRequest{Account: *account, Principal: args[0], Uri: uri, Trust: trust})
			if err != nil {
				return err
			}
			return a.show(answer, bindingDetails(answer.GetBinding()))
		},
	}
	c.Flags().StringVar(&uri, "uri", "", "spiffe://DOMAIN/PATH of the certificates, or its beginning and /*")
	c.Flags().StringVar(&trust, "trust", "", "trust bundle that has signed them")
	return c
}

func (a *app) principalUnbind(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "unbind NAME URI", Short: "End that certificates act as a principal", Args: args("NAME", "URI"),
		Example: "  lifeboat principal unbind web spiffe://prod/ns/shop/sa/web",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.UnbindPrincipal(c.Context(), &lifeboatv1.UnbindPrincipalRequest{Account: *account, Principal: args[0], Binding: args[1]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "unbound "+args[1]+" from "+args[0]) })
		},
	}
}

func (a *app) principalBindings(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "bindings [NAME]", Short: "List which certificates act as whom", Args: atMostOne, Example: "  lifeboat principal bindings",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListBindingsResponse{}
			request := &lifeboatv1.ListBindingsRequest{Account: *account, Principal: strings.Join(args, "")}
			for b, err := range cl.ListBindings(c.Context(), request) {
				if err != nil {
					return err
				}
				answer.Bindings = append(answer.Bindings, b)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "URI", "TRUST", "PRINCIPAL")
				for _, b := range answer.GetBindings() {
					row(w, clip(b.GetUri(), 50), clip(b.GetTrust(), 18), b.GetPrincipalId())
				}
			})
		},
	}
}

func lasting(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
