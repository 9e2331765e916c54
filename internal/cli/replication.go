package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

func (a *app) replicationCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "replication", Short: "See and steer what is replicated to other regions",
		Long: `See how far secrets are in other regions, and steer what is sent to them. Where a
vault goes is set with "vault replicate", where a single secret goes with "secret
replicate".`,
		Example: "  lifeboat replication status --secret db/password\n  lifeboat replication status --operator\n  lifeboat replication pause west --for 1h --reason \"their upgrade\"",
	}
	a.vaultFlag(c)
	c.AddCommand(a.replicationStatus(), a.replicationPause(), a.replicationResume(), a.replicationRetry(), a.replicationFailed(), a.replicationDigest())
	return c
}

// targetFlags are regions that something is replicated to.
type targetFlags struct {
	to, force, keys []string
	stop            bool
}

func (f *targetFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.to, "to", nil, "all regions that it is replicated to; those left out drop their copies")
	c.Flags().StringSliceVar(&f.force, "force-overwrite", nil, "regions of those where a secret takes its name from one they have themselves, which they keep as deleted")
	c.Flags().BoolVar(&f.stop, "stop", false, "replicate it to no region any more")
	c.MarkFlagsMutuallyExclusive("to", "stop")
}

// given reports whether the targets are to be changed.
func (f *targetFlags) given(c *cobra.Command) bool { return c.Flags().Changed("to") || f.stop }

func (f *targetFlags) targets() ([]*lifeboatv1.Target, error) {
	var targets []*lifeboatv1.Target
	keys, err := parsePairs("key", f.keys)
	if err != nil {
		return nil, err
	}
	for _, region := range f.to {
		targets = append(targets, &lifeboatv1.Target{Region: region, ForceOverwrite: slices.Contains(f.force, region), Key: keys[region]})
		delete(keys, region)
	}
	for region := range keys {
		return nil, usagef("--key names %s, which --to does not", region)
	}
	for _, region := range f.force {
		if !slices.Contains(f.to, region) {
			return nil, usagef("--force-overwrite names %s, which --to does not", region)
		}
	}
	return targets, nil
}

func (a *app) vaultReplicate() *cobra.Command {
	var t targetFlags
	var allow []string
	var allowAny bool
	var ack uint32
	var follow bool
	c := &cobra.Command{
		Use: "replicate NAME", Short: "Replicate all secrets of a vault to other regions", Args: args("NAME"), ValidArgsFunction: a.completeVault,
		Long: `Replicate all secrets of a vault, present and future, to other regions. A region
that is added gets them in the background, together with the account's principals,
credentials and policies; one that is left out drops its copies. Replicas can be
read like local secrets, and are changed in their home region only.

With --wait the command ends when every region has all secrets, and shows how far
that is; with -o json it prints an event, one a line, whenever that has changed,
and no answer. Interrupting it leaves the work to the region.`,
		Example: `  lifeboat vault replicate payments --to west,south
  lifeboat vault replicate payments --to west --wait
  lifeboat vault replicate payments --to west --allow-regions west,north
  lifeboat vault replicate payments --to west --key west=payments
  lifeboat vault replicate payments --ack-targets 1
  lifeboat vault replicate payments --stop`,
		RunE: func(c *cobra.Command, args []string) error {
			request := &lifeboatv1.ReplicateVaultRequest{Vault: args[0]}
			if t.given(c) {
				targets, err := t.targets()
				if err != nil {
					return err
				}
				request.Targets = &lifeboatv1.ReplicateVaultRequest_Targets{Targets: targets}
			}
			if len(allow) > 0 || allowAny {
				request.AllowedRegions = &lifeboatv1.ReplicateVaultRequest_Regions{Regions: allow}
			}
			if c.Flags().Changed("ack-targets") {
				request.AckTargets = &ack
			}
			if request.GetTargets() == nil && request.GetAllowedRegions() == nil && request.AckTargets == nil {
				return usagef("nothing to change is given; give --to, --stop, --allow-regions, --allow-any-region or --ack-targets")
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.ReplicateVault(c.Context(), request)
			if err != nil {
				return err
			}
			if follow {
				if _, err := a.followReplication(c.Context(), cl, args[0]); err != nil || a.flags.output == outputJSON {
					return err
				}
			}
			return a.show(answer, vaultDetails(answer.GetVault()))
		},
	}
	t.add(c)
	f := c.Flags()
	f.BoolVar(&follow, "wait", false, "wait until every region has all secrets, and show how far that is")
	f.StringArrayVar(&t.keys, "key", nil, "REGION=NAME: the master key of the region's key service that wraps the vault's data keys there; repeatable")
	f.StringSliceVar(&allow, "allow-regions", nil, "the only regions besides the home that may ever hold the vault")
	f.BoolVar(&allowAny, "allow-any-region", false, "lift that")
	f.Uint32Var(&ack, "ack-targets", 0, "by how many targets a mutation must have been received before it counts as replicated")
	c.MarkFlagsMutuallyExclusive("allow-regions", "allow-any-region")
	return c
}

func (a *app) secretReplicate() *cobra.Command {
	var t targetFlags
	var token tokenFlag
	c := &cobra.Command{
		Use: "replicate NAME", Short: "Replicate one secret to regions beyond its vault's", Args: args("NAME"), ValidArgsFunction: a.completeSecrets,
		Example: "  lifeboat secret replicate tls/edge --to north\n  lifeboat secret replicate tls/edge --stop",
		RunE: func(c *cobra.Command, args []string) error {
			if !t.given(c) {
				return usagef("--to or --stop is missing")
			}
			targets, err := t.targets()
			if err != nil {
				return err
			}
			cl, vault, err := a.inVault()
			if err != nil {
				return err
			}
			answer, err := cl.ReplicateSecret(c.Context(), &lifeboatv1.ReplicateSecretRequest{
				Vault: vault, Secret: args[0], Targets: targets, RequestToken: token.requestToken,
			})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "secret", answer.GetSecret().GetName())
				row(w, "own targets", or(targetNames(answer.GetSecret().GetTargets()), "-"))
			})
		},
	}
	token.add(c)
	t.add(c)
	return c
}

// warnReplicated tells a person that fewer regions than asked for are known to have
// received a mutation.
func (a *app) warnReplicated(r *lifeboatv1.Replicated) {
	if r != nil && !r.GetSatisfied() {
		a.note("warning: it is kept here, but only these regions are known to have received it: %s; outstanding: %s",
			or(strings.Join(r.GetReceived(), ", "), "none"), strings.Join(r.GetOutstanding(), ", "))
	}
}

// targetNames lists targets, those that may be overwritten with a mark.
func targetNames(targets []*lifeboatv1.Target) string {
	var names []string
	for _, t := range targets {
		name := t.GetRegion()
		if t.GetKey() != "" {
			name += " (key " + t.GetKey() + ")"
		}
		if t.GetForceOverwrite() {
			name += " (force-overwrite)"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func (a *app) replicationStatus() *cobra.Command {
	var name string
	var operator, follow bool
	c := &cobra.Command{
		Use: "status", Short: "Show how far a secret, a vault, or everything is in other regions", Args: args(),
		Long: `Show how far the last mutation of a secret, or those of all secrets of a vault, are
in each region that it is replicated to. With --follow, wait until every region has
all secrets of the vault, and show how far that is; with -o json that prints an
event, one a line, whenever it has changed. With --operator, show the queue of each
region instead, which takes an operator's token.`,
		Example: "  lifeboat replication status\n  lifeboat replication status --vault payments --follow\n  lifeboat replication status --secret db/password -o json\n  lifeboat replication status --operator",
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case operator:
				return a.showQueues(c)
			case name != "":
				return a.showSecretReplication(c, name)
			}
			return a.showVaultReplication(c, follow)
		},
	}
	c.Flags().StringVar(&name, "secret", "", "a secret; without it, the vault")
	c.Flags().BoolVar(&operator, "operator", false, "the queue of each region")
	c.Flags().BoolVar(&follow, "follow", false, "wait until every region has all secrets of the vault, and show how far that is")
	c.MarkFlagsMutuallyExclusive("operator", "secret", "follow")
	return c
}

func (a *app) showQueues(c *cobra.Command) error {
	cl, err := a.connect()
	if err != nil {
		return err
	}
	answer, err := cl.ListQueues(c.Context(), &lifeboatv1.ListQueuesRequest{})
	if err != nil {
		return err
	}
	return a.show(answer, func(w io.Writer) {
		row(w, "TARGET", "STATE", "MESSAGES", "FAILED", "LAG", "SENT/S")
		for _, q := range answer.GetQueues() {
			row(w, q.GetRegion(), queueState(q), strconv.FormatUint(q.GetDepth(), 10), strconv.FormatUint(q.GetFailed(), 10),
				seconds(q.GetLagSeconds()), fmt.Sprintf("%.1f", q.GetThroughput()))
		}
	})
}

func queueState(q *lifeboatv1.Queue) string {
	switch {
	case q.GetPaused() && q.GetPausedUntil() != nil:
		return "paused until " + at(q.GetPausedUntil())
	case q.GetPaused():
		return "paused"
	case q.GetResynchronising():
		return "resynchronising"
	case q.GetUnreachable() > 0:
		return "unreachable, " + strconv.Itoa(int(q.GetUnreachable())) + " attempts"
	}
	return "sending"
}

func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	return (time.Duration(s*1000) * time.Millisecond).String()
}

func (a *app) showSecretReplication(c *cobra.Command, name string) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	answer, err := cl.GetSecretReplication(c.Context(), &lifeboatv1.GetSecretReplicationRequest{Vault: vault, Secret: name})
	if err != nil {
		return err
	}
	return a.show(answer, func(w io.Writer) {
		row(w, "home region", answer.GetHomeRegion())
		row(w, "")
		row(w, "TARGET", "STATE", "LAG", "ATTEMPTS", "NEXT TRY", "REASON")
		for _, t := range answer.GetTargets() {
			row(w, t.GetRegion(), enum(t.GetState(), "REPLICATION_STATE_"), seconds(t.GetLagSeconds()), strconv.Itoa(int(t.GetAttempts())),
				at(t.GetNextTryAt()), clip(or(t.GetReason(), "-"), 40))
		}
	})
}

func (a *app) showVaultReplication(c *cobra.Command, follow bool) error {
	cl, vault, err := a.inVault()
	if err != nil {
		return err
	}
	var answer *lifeboatv1.GetVaultReplicationResponse
	if follow {
		answer, err = a.followReplication(c.Context(), cl, vault)
	} else {
		answer, err = cl.GetVaultReplication(c.Context(), &lifeboatv1.GetVaultReplicationRequest{Vault: vault})
	}
	if err != nil || follow && a.flags.output == outputJSON {
		return err
	}
	return a.show(answer, func(w io.Writer) {
		row(w, "home region", answer.GetHomeRegion())
		row(w, "")
		row(w, "TARGET", "STATE", "PENDING", "FAILED", "LAG", "SYNCHRONISED")
		for _, t := range answer.GetTargets() {
			progress := "all"
			if t.GetSynchronising() {
				progress = fmt.Sprintf("%d of %d", t.GetSynchronised(), max(t.GetToSynchronise(), t.GetSynchronised()))
			}
			row(w, t.GetRegion(), enum(t.GetState(), "REPLICATION_STATE_"), strconv.Itoa(int(t.GetPending())), strconv.Itoa(int(t.GetFailed())),
				seconds(t.GetLagSeconds()), progress)
		}
	})
}

func (a *app) replicationPause() *cobra.Command {
	var reason string
	var until time.Duration
	c := &cobra.Command{
		Use: "pause REGION", Short: "Send nothing more to a region for a while", Args: args("REGION"),
		Long:    "Send nothing more to a region until it is resumed. What is mutated meanwhile goes on\nto be noted and is sent then. Takes an operator's token.",
		Example: "  lifeboat replication pause west --for 2h --reason \"their upgrade\"",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			request := &lifeboatv1.PauseQueueRequest{Region: args[0], Reason: reason}
			if until > 0 {
				request.Until = timestamppb.New(time.Now().Add(until))
			}
			answer, err := cl.PauseQueue(c.Context(), request)
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "paused "+args[0]) })
		},
	}
	c.Flags().DurationVar(&until, "for", 0, "resume by itself after that long (default never)")
	c.Flags().StringVar(&reason, "reason", "", "shown to others")
	return c
}

func (a *app) replicationResume() *cobra.Command {
	return &cobra.Command{
		Use: "resume REGION", Short: "End a pause", Args: args("REGION"), Example: "  lifeboat replication resume west",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.ResumeQueue(c.Context(), &lifeboatv1.ResumeQueueRequest{Region: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "resumed "+args[0]) })
		},
	}
}

func (a *app) replicationRetry() *cobra.Command {
	var record string
	c := &cobra.Command{
		Use: "retry REGION", Short: "Try again at once what a region refused", Args: args("REGION"),
		Example: "  lifeboat replication retry west\n  lifeboat replication retry west --record secret/01J…/01J…",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.RetryQueue(c.Context(), &lifeboatv1.RetryQueueRequest{Region: args[0], Record: record})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "trying again at "+args[0]) })
		},
	}
	c.Flags().StringVar(&record, "record", "", "key of one record, as \"replication failed\" shows it")
	return c
}

func (a *app) replicationFailed() *cobra.Command {
	return &cobra.Command{
		Use: "failed REGION", Short: "List what a region refused, and why", Args: args("REGION"), Example: "  lifeboat replication failed west -o json",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer := &lifeboatv1.ListFailuresResponse{}
			for f, err := range cl.ListFailures(c.Context(), &lifeboatv1.ListFailuresRequest{Region: args[0]}) {
				if err != nil {
					return err
				}
				answer.Failures = append(answer.Failures, f)
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "RECORD", "CODE", "ATTEMPTS", "REASON")
				for _, f := range answer.GetFailures() {
					row(w, clip(f.GetRecord(), 62), f.GetCode(), strconv.Itoa(int(f.GetAttempts())), f.GetReason())
				}
			})
		},
	}
}

func (a *app) replicationDigest() *cobra.Command {
	return &cobra.Command{
		Use: "digest REGION", Short: "Compare a vault with a region by digest, and send again what differs", Args: args("REGION"),
		Example: "  lifeboat replication digest west --vault payments",
		RunE: func(c *cobra.Command, args []string) error {
			cl, vault, err := a.inVault()
			if err != nil {
				return err
			}
			answer, err := cl.CompareVault(c.Context(), &lifeboatv1.CompareVaultRequest{Vault: vault, Region: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "compared", strconv.FormatUint(answer.GetSecrets(), 10)+" secrets")
				row(w, "differing", strconv.Itoa(len(answer.GetDiffering()))+", sent again")
				row(w, "identities", strconv.Itoa(len(answer.GetDifferingIdentities()))+", sent again")
				row(w, "surplus", strconv.Itoa(len(answer.GetSurplus()))+", left alone")
			})
		},
	}
}
