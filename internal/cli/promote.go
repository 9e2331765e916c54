package cli

import (
	"io"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

func (a *app) secretPromote() *cobra.Command {
	var o waitFlag
	var yes bool
	c := &cobra.Command{
		Use: "promote NAME", Short: "Make a replica a secret of its own in this region", Args: args("NAME"), ValidArgsFunction: a.completeSecrets,
		Long: `Make the replica of a secret in the region that is asked a secret of its own. It can
be changed and deleted there from then on, and gets nothing more from its former home,
which need not be reachable: it learns of it, and drops the region from the targets of
its own secret.

The two have the same ID and name, and nothing else in common: what is put to one does
not reach the other, and rotation is off in the promoted one. It is not replicated to
the targets of its vault; give it targets with "lifeboat secret replicate". There is no
way back but to delete it and to replicate the other one here anew, with
"lifeboat secret replicate" at its home; with --force-overwrite at once.

To go on with everything of a region that is lost, see "lifeboat region takeover".`,
		Example: `  lifeboat secret promote db/password
  lifeboat secret promote db/password --yes -o json
  lifeboat replication status --secret db/password    # at its former home: PROMOTED`,
		RunE: func(c *cobra.Command, args []string) error {
			cl, vault, err := a.inVault()
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "promoting "+args[0]+", which parts it from its home for good", args[0]); err != nil {
				return err
			}
			answer, err := cl.PromoteSecret(c.Context(), &lifeboatv1.PromoteSecretRequest{Vault: vault, Secret: args[0], Wait: o.wait()})
			if err != nil {
				return err
			}
			o.warn(a, answer.GetCleared())
			return a.show(answer, func(w io.Writer) {
				done := "promoted "
				if answer.GetReplayed() {
					done = "promoted before: "
				}
				row(w, done+clip(args[0], 60)+"; its home is "+answer.GetSecret().GetOwnership().GetHomeRegion())
			})
		},
	}
	o.add(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
