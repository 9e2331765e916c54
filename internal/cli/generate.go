package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

type generateOptions struct {
	waitFlag
	rules      lifeboatv1.PasswordRules
	ssh        lifeboatv1.SSHKeyRules
	passphrase lifeboatv1.PassphraseRules
	bytes      uint32
}

func (a *app) secretGenerate() *cobra.Command {
	o := &generateOptions{}
	c := &cobra.Command{
		Use: "generate [NAME]", Short: "Make a random value, and put it if a name is given", ValidArgsFunction: a.completeSecrets,
		Args: atMostOne,
		Long: `Make a random password, a passphrase, an SSH key pair, or random bytes. With a name
the region makes the value and stores it, and nobody sees it; without one it is
printed and nothing is stored.

The words of a passphrase are drawn from the 7776 of the EFF's long list: 12.9 bits of
entropy each, 77 for the usual six. Of an SSH key pair the value is the private key in
the format of OpenSSH, without a passphrase; the public key is printed, and stored as
custom metadata ssh-public-key.`,
		Example: `  lifeboat secret generate db-password --length 40
  lifeboat secret generate --exclude-punctuation
  lifeboat secret generate disk --words 8
  lifeboat secret generate deploy-key --ssh ed25519 --comment deploy@ci
  lifeboat secret generate session-key --bytes 32`,
		RunE: func(c *cobra.Command, args []string) error { return a.generate(c.Context(), args, o) },
	}
	f := c.Flags()
	f.Uint32Var(&o.bytes, "bytes", 0, "random bytes instead of a password, 1 to 65536")
	f.StringVar(&o.ssh.Type, "ssh", "", "an SSH key pair: ed25519 or rsa")
	f.Uint32Var(&o.ssh.Bits, "bits", 0, "of an RSA key, 3072 or 4096 (default 3072)")
	f.StringVar(&o.ssh.Comment, "comment", "", "of an SSH key")
	f.Uint32Var(&o.passphrase.Words, "words", 0, "a passphrase of so many words, 4 to 64")
	f.StringVar(&o.passphrase.Separator, "separator", "", "between the words of a passphrase (default -)")
	f.Uint32Var(&o.rules.Length, "length", 0, "characters, 4 to 4096 (default 32)")
	f.StringVar(&o.rules.ExcludeCharacters, "exclude", "", "characters to leave out")
	f.BoolVar(&o.rules.ExcludeLowercase, "exclude-lowercase", false, "no lower-case letters")
	f.BoolVar(&o.rules.ExcludeUppercase, "exclude-uppercase", false, "no upper-case letters")
	f.BoolVar(&o.rules.ExcludeDigits, "exclude-digits", false, "no digits")
	f.BoolVar(&o.rules.ExcludePunctuation, "exclude-punctuation", false, "no punctuation")
	f.BoolVar(&o.rules.IncludeSpace, "include-space", false, "allow the space")
	f.BoolVar(&o.rules.AllowMissingKinds, "allow-missing-kinds", false, "do not insist on a character of each kind")
	c.MarkFlagsMutuallyExclusive("bytes", "ssh", "words", "length")
	_ = c.RegisterFlagCompletionFunc("ssh", cobra.FixedCompletions([]string{"ed25519", "rsa"}, cobra.ShellCompDirectiveNoFileComp))
	o.waitFlag.add(c)
	return c
}

// request says what to make.
func (o *generateOptions) request() (*lifeboatv1.GenerateValueRequest, error) {
	switch {
	case o.ssh.GetType() != "":
		return &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_SshKey{SshKey: &o.ssh}}, nil
	case o.ssh.GetBits() != 0 || o.ssh.GetComment() != "":
		return nil, usagef("--bits and --comment are for --ssh")
	case o.passphrase.GetWords() != 0:
		return &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_Passphrase{Passphrase: &o.passphrase}}, nil
	case o.passphrase.GetSeparator() != "":
		return nil, usagef("--separator is for --words")
	case o.bytes > 0:
		return &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_Bytes{Bytes: o.bytes}}, nil
	}
	return &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_Password{Password: &o.rules}}, nil
}

func (a *app) generate(ctx context.Context, args []string, o *generateOptions) error {
	request, err := o.request()
	if err != nil {
		return err
	}
	if len(args) == 1 {
		return a.putGenerated(ctx, args[0], request, o)
	}
	cl, err := a.connect()
	if err != nil {
		return err
	}
	made, err := cl.GenerateValue(ctx, request)
	if err != nil {
		return err
	}
	if a.flags.output == outputJSON {
		return a.show(made, nil)
	}
	if made.GetPublicKey() != "" {
		a.note("%s", made.GetPublicKey())
	}
	if _, err = a.Stdout.Write(made.GetValue()); err == nil && isTerminal(a.Stdout) {
		_, err = io.WriteString(a.Stdout, "\n")
	}
	return err
}

// putGenerated has the region make a value where it is stored.
func (a *app) putGenerated(ctx context.Context, name string, request *lifeboatv1.GenerateValueRequest, o *generateOptions) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	put, err := cl.PutSecret(ctx, &lifeboatv1.PutSecretVersionRequest{Vault: vault, Secret: name, Generate: request, Wait: o.wait()})
	if err != nil {
		return err
	}
	o.warn(a, put.Cleared)
	if err := a.showPut(put); err != nil || put.PublicKey == "" || a.flags.output == outputJSON {
		return err
	}
	return a.line("%s", put.PublicKey)
}
