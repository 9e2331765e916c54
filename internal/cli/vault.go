package cli

import (
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

func (a *app) vaultCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "vault", Aliases: []string{"vaults"}, Short: "Manage vaults, which hold secrets",
		Long:    "Manage vaults. NAME may also be ACCOUNT/NAME, or a vault's ID.",
		Example: "  lifeboat vault create payments\n  lifeboat vault list",
	}
	c.AddCommand(a.vaultCreate(), a.vaultGet(), a.vaultList(), a.vaultUpdate(), a.vaultReplicate(), a.vaultMove(), a.vaultDelete(), a.vaultRotateKey())
	return c
}

func vaultDetails(v *lifeboatv1.Vault) func(io.Writer) {
	return func(w io.Writer) {
		row(w, "name", v.GetName())
		row(w, "id", v.GetId())
		row(w, "account", v.GetAccountId())
		row(w, "state", enum(v.GetState(), "STATE_"))
		row(w, "description", or(v.GetDescription(), "-"))
		row(w, "tags", or(pairs(v.GetTags()), "-"))
		if r := v.GetDefaultRetention(); r.GetMaxVersions() > 0 {
			row(w, "max versions", strconv.Itoa(int(r.GetMaxVersions())))
		}
		row(w, "master key", or(clip(v.GetKey(), 70), "the region's own"))
		row(w, "home region", v.GetOwnership().GetHomeRegion())
		if r := v.GetReplication(); r != nil {
			row(w, "targets", or(targetNames(r.GetTargets()), "-"))
			row(w, "allowed regions", or(strings.Join(r.GetAllowedRegions(), ", "), "any"))
		}
		row(w, "created", at(v.GetCreatedAt()))
		row(w, "updated", at(v.GetUpdatedAt()))
	}
}

func (a *app) vaultCreate() *cobra.Command {
	var description, account, key string
	var tags []string
	var maxVersions uint32
	var w waitFlag
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a vault", Args: args("NAME"),
		Example: "  lifeboat vault create payments --description \"card payments\" --tag team=money",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			set, err := parsePairs("tag", tags)
			if err != nil {
				return err
			}
			request := &lifeboatv1.CreateVaultRequest{Account: account, Name: args[0], Description: description, Tags: set, Wait: w.wait(), Key: key}
			if maxVersions > 0 {
				request.DefaultRetention = &lifeboatv1.Retention{MaxVersions: maxVersions}
			}
			answer, err := cl.CreateVault(c.Context(), request)
			if err != nil {
				return err
			}
			w.warn(a, answer.GetCleared())
			return a.show(answer, vaultDetails(answer.GetVault()))
		},
	}
	f := c.Flags()
	f.StringVar(&description, "description", "", "what the vault is for; not encrypted")
	f.StringVar(&account, "account", "", "account that owns it (default yours)")
	f.StringArrayVar(&tags, "tag", nil, "NAME=VALUE; repeatable")
	f.Uint32Var(&maxVersions, "max-versions", 0, "versions that each secret keeps unless it says otherwise (default 20)")
	f.StringVar(&key, "key", "", keyFlagHelp)
	w.add(c)
	return c
}

// keyFlagHelp is of --key where a vault is made or changed.
const keyFlagHelp = "name of the master key, in the key service, that wraps its data keys (default the region's own)"

func (a *app) vaultGet() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show a vault", Args: args("NAME"), Example: "  lifeboat vault get payments -o json", ValidArgsFunction: a.completeVault,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.GetVault(c.Context(), &lifeboatv1.GetVaultRequest{Vault: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, vaultDetails(answer.GetVault()))
		},
	}
}

func (a *app) vaultList() *cobra.Command {
	var account string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List vaults", Args: args(), Example: "  lifeboat vault list",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListVaultsResponse{}
			for v, err := range cl.ListVaults(c.Context(), &lifeboatv1.ListVaultsRequest{Account: account}) {
				if err != nil {
					return err
				}
				answer.Vaults = append(answer.Vaults, v)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "NAME", "STATE", "ID", "DESCRIPTION")
				for _, v := range answer.GetVaults() {
					row(w, clip(v.GetName(), 32), enum(v.GetState(), "STATE_"), v.GetId(), clip(v.GetDescription(), 26))
				}
			})
		},
	}
	c.Flags().StringVar(&account, "account", "", "account that owns them (default yours)")
	return c
}

func (a *app) vaultUpdate() *cobra.Command {
	var description, key string
	var tags, removeTags []string
	var maxVersions uint32
	c := &cobra.Command{
		Use: "update NAME", Short: "Change a vault", Args: args("NAME"), ValidArgsFunction: a.completeVault,
		Example: "  lifeboat vault update payments --tag team=money --remove-tag env",
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().NFlag() == 0 {
				return usagef("nothing to change is given")
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			request := &lifeboatv1.UpdateVaultRequest{Vault: args[0], RemoveTags: removeTags}
			if request.SetTags, err = parsePairs("tag", tags); err != nil {
				return err
			}
			if c.Flags().Changed("description") {
				request.Description = &description
			}
			if c.Flags().Changed("key") {
				request.Key = &key
			}
			if maxVersions > 0 {
				request.DefaultRetention = &lifeboatv1.Retention{MaxVersions: maxVersions}
			}
			answer, err := cl.UpdateVault(c.Context(), request)
			if err != nil {
				return err
			}
			return a.show(answer, vaultDetails(answer.GetVault()))
		},
	}
	f := c.Flags()
	f.StringVar(&description, "description", "", "what the vault is for; not encrypted")
	f.StringArrayVar(&tags, "tag", nil, "NAME=VALUE to set; repeatable")
	f.StringVar(&key, "key", "", keyFlagHelp)
	f.StringSliceVar(&removeTags, "remove-tag", nil, "names of tags to take off")
	f.Uint32Var(&maxVersions, "max-versions", 0, "versions that each secret keeps unless it says otherwise")
	return c
}

func (a *app) vaultDelete() *cobra.Command {
	var yes, shred bool
	var yesShred string
	c := &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete an empty vault, or shred one", Args: args("NAME"), ValidArgsFunction: a.completeVault,
		Long: `Delete a vault all of whose secrets are purged; or, with --shred, one with all that
is in it, at once and beyond recall, by destroying its data keys. That is an
action of its own, ShredVault, and asks for the vault's name. Backups made before
still hold the wrapped data keys; they are listed.`,
		Example: "  lifeboat vault delete payments --yes\n  lifeboat vault delete payments --shred --yes-shred payments",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if shred || yesShred != "" {
				return a.shredVault(c.Context(), cl, args[0], shred, yesShred)
			}
			if err := a.confirm(yes, "deleting the vault "+args[0], args[0]); err != nil {
				return err
			}
			answer, err := cl.DeleteVault(c.Context(), &lifeboatv1.DeleteVaultRequest{Vault: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "deleted "+args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&shred, "shred", false, "delete it with all its secrets, by destroying its data keys")
	c.Flags().StringVar(&yesShred, "yes-shred", "", "name of the vault, so that --shred does not ask")
	return c
}
