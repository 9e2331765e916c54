package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// Completion asks the region, briefly, and says nothing if it does not answer.
const (
	completionTimeout = 2 * time.Second
	completionLimit   = 100
)

// completeSecrets completes the first argument with names of secrets.
func (a *app) completeSecrets(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cl, vault, err := a.inVault()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
	defer cancel()
	var names []string
	for s, err := range cl.ListSecrets(ctx, &lifeboatv1.ListSecretsRequest{Vault: vault, NamePrefix: prefix, PageSize: completionLimit}) {
		if err != nil || len(names) == completionLimit {
			break
		}
		names = append(names, s.GetName())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeVaults completes names of vaults.
func (a *app) completeVaults(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	cl, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
	defer cancel()
	var names []string
	for v, err := range cl.ListVaults(ctx, &lifeboatv1.ListVaultsRequest{}) {
		if err != nil || len(names) == completionLimit {
			break
		}
		names = append(names, v.GetName())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeVault completes the first argument with names of vaults.
func (a *app) completeVault(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeVaults(c, args, prefix)
}

// completePeers completes the first argument with names of other regions.
func (a *app) completePeers(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_, peers := a.regionNames(c)
	return peers, cobra.ShellCompDirectiveNoFileComp
}

// completeRegions is completePeers, of this region too.
func (a *app) completeRegions(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	own, peers := a.regionNames(c)
	return append(own, peers...), cobra.ShellCompDirectiveNoFileComp
}

// completeFlagPeers completes a flag with names of other regions.
func (a *app) completeFlagPeers(c *cobra.Command, flag string) {
	_ = c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completePeers(c, nil, prefix)
	})
}

// regionNames returns the names of the region that answers and of the others; nil if
// they cannot be had.
func (a *app) regionNames(c *cobra.Command) (own, peers []string) {
	cl, err := a.connect()
	if err != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
	defer cancel()
	answer, err := cl.ListPeers(ctx, &lifeboatv1.ListPeersRequest{})
	if err != nil {
		return nil, nil
	}
	for _, p := range answer.GetPeers() {
		peers = append(peers, p.GetRegion())
	}
	return []string{answer.GetRegion()}, peers
}
