package cli

import (
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/pkcs11"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func (a *app) kmsCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "kms", Short: "Make master keys for the key service drivers \"file\" and \"pkcs11\"",
		Long: `Make master keys for the key service drivers "file" and "pkcs11". The driver
"file" is not for production: whoever reads the file can read every secret. Keys of
the other drivers are made with the tools of their services.`,
		Example: "  lifeboat kms create-key-file /var/lib/lifeboat/kms-keys\n  lifeboat kms add-key /var/lib/lifeboat/kms-keys",
	}
	c.AddCommand(&cobra.Command{
		Use: "create-key-file FILE", Short: "Make a key file with one master key", Args: args("FILE"),
		Example: "  lifeboat kms create-key-file /var/lib/lifeboat/kms-keys",
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := file.Create(args[0])
			if err != nil {
				return err
			}
			return a.done("made "+args[0]+" with master key "+id+"; keep a copy of the file: without it all secrets are lost",
				map[string]any{"file": args[0], "masterKey": id})
		},
	})
	addKey := &cobra.Command{
		Use: "add-key FILE", Short: "Add a master key, which wraps from now on", Args: args("FILE"),
		Long: `Add a master key and make it the one that wraps, or the one that wraps the data
keys of vaults which name it. The others stay, to unwrap what they wrapped; see
"lifeboat operator key rotate" to have that wrapped again.`,
		Example: "  lifeboat kms add-key /var/lib/lifeboat/kms-keys\n  lifeboat kms add-key /var/lib/lifeboat/kms-keys --name payments",
		RunE: func(_ *cobra.Command, args []string) error {
			id, err := file.AddKey(args[0], name)
			if err != nil {
				return err
			}
			return a.done("added master key "+id, map[string]any{"file": args[0], "masterKey": id})
		},
	}
	addKey.Flags().StringVar(&name, "name", "", "name by which vaults name it")
	c.AddCommand(addKey, a.kmsCreateHSMKey())
	return c
}

func (a *app) kmsCreateHSMKey() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "create-hsm-key --config FILE", Short: "Make the master key kms.pkcs11.key in a hardware security module", Args: args(),
		Long: `Make the key that kms.pkcs11.key names in the hardware security module of a
process's configuration: AES-256, sensitive and not extractable. It never replaces
a key. To rotate, move the old label to kms.pkcs11.older_keys, name a new one, run
this and restart the processes.`,
		Example: "  lifeboat kms create-hsm-key --config /etc/lifeboat/config.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("--config is missing")
			}
			configuration, err := a.loadConfig(file)
			if err != nil {
				return err
			}
			options := region.PKCS11Options(&configuration.KMS)
			id, err := pkcs11.CreateKey(c.Context(), options)
			if err != nil {
				return err
			}
			return a.done("made master key "+id+" with the label "+options.Key+"; without it all secrets are lost: see how the HSM is backed up",
				map[string]any{"label": options.Key, "masterKey": id})
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration of a process of the region")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	return c
}

func (a *app) pkiCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "pki", Short: "Make certificates for a small region",
		Long: "Make an authority for a region and certificates signed by it. A region that has an authority\nelsewhere needs none of this.",
		Example: `  lifeboat pki init --name east --dir pki
  lifeboat pki issue --dir pki --use server --name east-1 --host east-1.example,10.0.0.1 --out tls
  lifeboat pki issue --dir pki --use peer --name east-1 --host east-1.example,10.0.0.1 --out tls`,
	}
	c.AddCommand(a.pkiInit(), a.pkiIssue())
	return c
}

func (a *app) pkiInit() *cobra.Command {
	var dir, name string
	c := &cobra.Command{
		Use: "init", Short: "Make an authority: ca.pem and ca-key.pem", Args: args(), Example: "  lifeboat pki init --name east --dir pki",
		Long: "Make an authority for a region. Keep ca-key.pem away from the region's machines.",
		RunE: func(*cobra.Command, []string) error {
			if name == "" {
				return usagef("--name is missing")
			}
			authority, err := pki.NewAuthority(pki.AuthorityOptions{Region: secret.RegionName(name)})
			if err != nil {
				return usage(err)
			}
			cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
			if err := authority.Save(cert, key); err != nil {
				return err
			}
			return a.done("made "+cert+" and "+key, map[string]any{"certificate": cert, "key": key})
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "directory to write to; it must exist")
	c.Flags().StringVar(&name, "name", "", "name of the region")
	_ = c.MarkFlagDirname("dir")
	return c
}

type issueOptions struct {
	dir, use, name, out, uri string
	hosts                    []string
	lifetime                 time.Duration
}

var certificateUses = map[string]pki.Use{"server": pki.Server, "peer": pki.Peer, "client": pki.Client}

func (a *app) pkiIssue() *cobra.Command {
	var o issueOptions
	c := &cobra.Command{
		Use: "issue", Short: "Make a certificate: <use>.pem and <use>-key.pem", Args: args(),
		Long: `Make a certificate. Its use is server, for the public front door of a process, or
for a member of a store; peer, for a process among those of its region; or client,
for a client of the front door or of a store. Files that exist are replaced: processes read them again
by themselves.`,
		Example: "  lifeboat pki issue --dir pki --use peer --name east-1 --host east-1.example,10.0.0.1 --out tls",
		RunE:    func(*cobra.Command, []string) error { return a.issue(o) },
	}
	f := c.Flags()
	f.StringVar(&o.dir, "dir", ".", "directory of the authority")
	f.StringVar(&o.use, "use", "", "server, peer or client")
	f.StringVar(&o.name, "name", "", "ID of the process, or name of the client")
	f.StringSliceVar(&o.hosts, "host", nil, "DNS names and IP addresses; needed but for clients")
	f.StringVar(&o.uri, "uri", "", "of a client: spiffe://DOMAIN/PATH, which \"lifeboat principal bind\" can name")
	f.StringVar(&o.out, "out", ".", "directory to write to; it must exist")
	f.DurationVar(&o.lifetime, "lifetime", pki.DefaultLifetime, "how long it is valid")
	_ = c.RegisterFlagCompletionFunc("use", cobra.FixedCompletions([]string{"server", "peer", "client"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) issue(o issueOptions) error {
	use, ok := certificateUses[o.use]
	if !ok {
		return usagef("--use is %q; allowed are server, peer and client", o.use)
	}
	authority, err := pki.LoadAuthority(filepath.Join(o.dir, "ca.pem"), filepath.Join(o.dir, "ca-key.pem"))
	if err != nil {
		return withHint(err, "\"lifeboat pki init\" makes an authority")
	}
	pair, err := authority.Issue(pki.Request{Use: use, Name: o.name, Hosts: o.hosts, URI: o.uri, Lifetime: o.lifetime})
	if err != nil {
		return usage(err)
	}
	cert, key := filepath.Join(o.out, o.use+".pem"), filepath.Join(o.out, o.use+"-key.pem")
	if err := pair.Save(cert, key); err != nil {
		return err
	}
	return a.done("made "+cert+" and "+key, map[string]any{"certificate": cert, "key": key})
}
