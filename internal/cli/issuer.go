package cli

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// What --kubernetes stands for.
const (
	kubernetesSubject  = "system:serviceaccount:"
	kubernetesTemplate = "k8s.{/kubernetes.io/namespace}.{/kubernetes.io/serviceaccount/name}"
)

func (a *app) issuerCommand() *cobra.Command {
	var account string
	c := &cobra.Command{
		Use: "issuer", Aliases: []string{"issuers"}, Short: "Manage issuers of JSON Web Tokens (OpenID Connect, Kubernetes)",
		Example: `  lifeboat issuer create ci --url https://ci.example --audience lifeboat --map principal=deployer,sub=acme
  lifeboat issuer show ci`,
	}
	accountFlag(c, &account)
	c.AddCommand(a.issuerCreate(&account), a.issuerShow(&account), a.issuerList(&account), a.issuerUpdate(&account),
		a.issuerDelete(&account), a.issuerRefresh(&account))
	return c
}

type issuerOptions struct {
	url, description, jwksURL, jwksFile, caFile string
	audiences, algorithms, rules                []string
	serviceAccounts                             []string
	kubernetes                                  bool
	leeway, lifetime, refresh, age              time.Duration
}

// addMapping adds the flags that creation and changes have in common.
func (o *issuerOptions) addMapping(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.description, "description", "", "what it is for")
	f.StringSliceVar(&o.audiences, "audience", nil, "accepted values of the claim aud")
	f.StringSliceVar(&o.algorithms, "algorithm", nil, "accepted signature algorithms (default RS256,ES256)")
	f.StringArrayVar(&o.rules, "map", nil, "rule: principal=NAME,CLAIM=VALUE,... or template=TEMPLATE,CLAIM=VALUE,...")
	f.StringArrayVar(&o.serviceAccounts, "service-account", nil, "rule for Kubernetes: NAMESPACE/NAME=PRINCIPAL")
	f.StringVar(&o.jwksFile, "jwks-file", "", "file with the keys, which are then never fetched")
	f.StringVar(&o.caFile, "ca-pem", "", "PEM file with the authorities to trust when keys are fetched")
}

// mapping returns the rules that the flags say.
func (o *issuerOptions) mapping() (rules []*lifeboatv1.MappingRule, err error) {
	for _, text := range o.rules {
		rule := &lifeboatv1.MappingRule{}
		parsed, err := parsePairs("map", strings.Split(text, ","))
		if err != nil {
			return nil, err
		}
		rule.Principal, rule.Template = parsed["principal"], parsed["template"]
		delete(parsed, "principal")
		delete(parsed, "template")
		rule.Claims = parsed
		rules = append(rules, rule)
	}
	for _, text := range o.serviceAccounts {
		account, principal, ok := strings.Cut(text, "=")
		namespace, name, slash := strings.Cut(account, "/")
		if !ok || !slash || namespace == "" || name == "" || principal == "" {
			return nil, usagef("--service-account must be NAMESPACE/NAME=PRINCIPAL")
		}
		rules = append(rules, &lifeboatv1.MappingRule{
			Principal: principal, Claims: map[string]string{"sub": kubernetesSubject + namespace + ":" + name},
		})
	}
	if o.kubernetes && len(rules) == 0 {
		rules = append(rules, &lifeboatv1.MappingRule{Template: kubernetesTemplate, Claims: map[string]string{"sub": kubernetesSubject + "*"}})
	}
	return rules, nil
}

func (a *app) issuerCreate(account *string) *cobra.Command {
	var o issuerOptions
	c := &cobra.Command{
		Use: "create NAME", Short: "Trust an issuer of JSON Web Tokens", Args: args("NAME"),
		Long: `Trust an issuer of JSON Web Tokens. Its keys are found by OpenID discovery at its
URL, or at --jwks-url, and fetched by the region in the background; or given with
--jwks-file and never fetched, for issuers that the region does not reach.

Rules say which principal a token stands for. A rule asks for claims; a claim is
named by its name or by a path like /kubernetes.io/namespace, and a value may end
in *. It names the principal, or makes its name with a template out of claims. A
token that stands for no principal, or for several, is refused.

--kubernetes is for the service account tokens of a cluster: without rules, the
service account NAME in NAMESPACE is the principal k8s.NAMESPACE.NAME.`,
		Example: `  lifeboat issuer create ci --url https://ci.example --audience lifeboat --map principal=deployer,sub=acme
  lifeboat issuer create id --url https://id.example --audience lifeboat --map 'template=id.{name},groups=ops'
  kubectl get --raw /openid/v1/jwks > jwks.json
  lifeboat issuer create k8s --kubernetes --url https://kube.svc --audience lifeboat --jwks-file jwks.json`,
		RunE: func(c *cobra.Command, args []string) error { return a.createIssuer(c, *account, args[0], &o) },
	}
	o.addMapping(c)
	f := c.Flags()
	f.StringVar(&o.url, "url", "", "what the claim iss is: an https URL")
	f.StringVar(&o.jwksURL, "jwks-url", "", "where the keys are, if not found by discovery")
	f.BoolVar(&o.kubernetes, "kubernetes", false, "for service account tokens of a Kubernetes cluster")
	f.DurationVar(&o.leeway, "leeway", 0, "by how much clocks may differ (default 30s)")
	f.DurationVar(&o.lifetime, "max-lifetime", 0, "for how long a token may be valid (default 24h)")
	f.DurationVar(&o.refresh, "refresh-every", 0, "how often keys are fetched (default 15m)")
	f.DurationVar(&o.age, "max-key-age", 0, "how long keys count that cannot be fetched again (default 24h)")
	c.MarkFlagsMutuallyExclusive("jwks-url", "jwks-file")
	return c
}

func (a *app) createIssuer(c *cobra.Command, account, name string, o *issuerOptions) error {
	rules, err := o.mapping()
	if err != nil {
		return err
	}
	request := &lifeboatv1.CreateIssuerRequest{
		Account: account, Name: name, Description: o.description, Url: o.url, Audiences: o.audiences, Algorithms: o.algorithms, Rules: rules,
		KeySource: lifeboatv1.KeySource_KEY_SOURCE_DISCOVERY, JwksUrl: o.jwksURL,
		Leeway: lasting(o.leeway), MaxLifetime: lasting(o.lifetime), RefreshEvery: lasting(o.refresh), MaxKeyAge: lasting(o.age),
	}
	if o.jwksURL != "" {
		request.KeySource = lifeboatv1.KeySource_KEY_SOURCE_JWKS_URL
	}
	if o.jwksFile != "" {
		request.KeySource = lifeboatv1.KeySource_KEY_SOURCE_STATIC
		if request.Jwks, err = a.readFileOrInput(o.jwksFile); err != nil {
			return err
		}
	}
	if o.caFile != "" {
		pem, err := a.readFileOrInput(o.caFile)
		if err != nil {
			return err
		}
		request.CaPem = string(pem)
	}
	cl, err := a.connect()
	if err != nil {
		return err
	}
	answer, err := cl.CreateIssuer(c.Context(), request)
	if err != nil {
		return err
	}
	made := answer.GetIssuer()
	if request.GetKeySource() != lifeboatv1.KeySource_KEY_SOURCE_STATIC {
		refreshed, err := cl.RefreshIssuer(c.Context(), &lifeboatv1.RefreshIssuerRequest{Account: account, Name: name})
		if err != nil {
			a.note("warning: the issuer was made, but its keys cannot be fetched yet: %v", err)
		} else {
			made = refreshed.GetIssuer()
		}
	}
	return a.show(&lifeboatv1.CreateIssuerResponse{Issuer: made}, issuerDetails(made))
}

func issuerDetails(i *lifeboatv1.Issuer) func(io.Writer) {
	return func(w io.Writer) {
		row(w, "name", i.GetName())
		row(w, "id", i.GetId())
		row(w, "url", i.GetUrl())
		row(w, "audiences", strings.Join(i.GetAudiences(), ","))
		row(w, "algorithms", strings.Join(i.GetAlgorithms(), ","))
		for _, r := range i.GetRules() {
			row(w, "rule", or(r.GetPrincipal(), r.GetTemplate()))
			row(w, "  if", clip(or(pairs(r.GetClaims()), "it can be made"), 70))
		}
		row(w, "keys from", or(i.GetJwksUrl(), enum(i.GetKeySource(), "KEY_SOURCE_")))
		row(w, "keys", or(strings.Join(i.GetKeys().GetKeyIds(), ","), "none yet"))
		row(w, "fetched", at(i.GetKeys().GetFetchedAt()))
		if i.GetKeys().GetLastError() != "" {
			row(w, "failing since", at(i.GetKeys().GetFailedAt()))
			row(w, "because", i.GetKeys().GetLastError())
		}
		row(w, "valid for at most", i.GetMaxLifetime().AsDuration().String())
	}
}

func (a *app) issuerShow(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Aliases: []string{"get"}, Short: "Show an issuer and what is known of its keys", Args: args("NAME"), Example: "  lifeboat issuer show ci",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.GetIssuer(c.Context(), &lifeboatv1.GetIssuerRequest{Account: *account, Name: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, issuerDetails(answer.GetIssuer()))
		},
	}
}

func (a *app) issuerList(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List issuers", Args: args(), Example: "  lifeboat issuer list",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListIssuersResponse{}
			for i, err := range cl.ListIssuers(c.Context(), &lifeboatv1.ListIssuersRequest{Account: *account}) {
				if err != nil {
					return err
				}
				answer.Issuers = append(answer.Issuers, i)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "NAME", "URL", "KEYS FETCHED", "STATE")
				for _, i := range answer.GetIssuers() {
					state := "good"
					if i.GetKeys().GetLastError() != "" {
						state = "failing"
					}
					row(w, clip(i.GetName(), 24), clip(i.GetUrl(), 40), at(i.GetKeys().GetFetchedAt()), state)
				}
			})
		},
	}
}

func (a *app) issuerUpdate(account *string) *cobra.Command {
	var o issuerOptions
	c := &cobra.Command{
		Use: "update NAME", Short: "Replace rules, audiences, algorithms or given keys of an issuer", Args: args("NAME"),
		Long:    "Replace what the flags give: all rules, all audiences, and so on. What is not given stays.",
		Example: "  lifeboat issuer update prod --jwks-file jwks.json\n  lifeboat issuer update ci --map principal=deployer,sub=repo:acme/other",
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().NFlag() == 0 {
				return usagef("nothing to change is given")
			}
			rules, err := o.mapping()
			if err != nil {
				return err
			}
			request := &lifeboatv1.UpdateIssuerRequest{Account: *account, Name: args[0], Audiences: o.audiences, Algorithms: o.algorithms, Rules: rules}
			if c.Flags().Changed("description") {
				request.Description = &o.description
			}
			if o.jwksFile != "" {
				if request.Jwks, err = a.readFileOrInput(o.jwksFile); err != nil {
					return err
				}
			}
			if o.caFile != "" {
				pem, err := a.readFileOrInput(o.caFile)
				if err != nil {
					return err
				}
				text := string(pem)
				request.CaPem = &text
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.UpdateIssuer(c.Context(), request)
			if err != nil {
				return err
			}
			return a.show(answer, issuerDetails(answer.GetIssuer()))
		},
	}
	o.addMapping(c)
	return c
}

func (a *app) issuerDelete(account *string) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Stop trusting an issuer", Args: args("NAME"), Example: "  lifeboat issuer delete ci --yes",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "deleting the issuer "+args[0], args[0]); err != nil {
				return err
			}
			answer, err := cl.DeleteIssuer(c.Context(), &lifeboatv1.DeleteIssuerRequest{Account: *account, Name: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "deleted "+args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) issuerRefresh(account *string) *cobra.Command {
	return &cobra.Command{
		Use: "refresh NAME", Short: "Fetch the keys of an issuer now", Args: args("NAME"), Example: "  lifeboat issuer refresh ci",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.RefreshIssuer(c.Context(), &lifeboatv1.RefreshIssuerRequest{Account: *account, Name: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, issuerDetails(answer.GetIssuer()))
		},
	}
}
