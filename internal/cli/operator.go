package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
)

func (a *app) operatorCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "operator", Short: "Run a region: initialise it, look after hosts and failures",
		Example: "  lifeboat operator init --data-dir /var/lib/lifeboat --to-file operator.token\n  lifeboat operator status",
	}
	c.AddCommand(a.operatorInit(), a.operatorRecover(), a.operatorStatus(), a.operatorHosts(), a.operatorRemoveHost(), a.operatorFailed("failed"), a.operatorRetry(),
		a.operatorBreakGlass(), a.operatorReopenAudit(), a.operatorBackup(), a.operatorVerify(), a.operatorRestore(), a.operatorRebuild(), a.operatorSupportBundle(), a.operatorCheckStart(),
		a.operatorFormats(), a.operatorKey())
	return c
}

func (a *app) pipelineCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "pipeline", Short: "Look at what follows a commit", Example: "  lifeboat pipeline failed",
	}
	c.AddCommand(a.operatorFailed("failed"))
	return c
}

// socketFlag names a process's control socket.
type socketFlag struct{ dataDir, path string }

func (s *socketFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&s.dataDir, "data-dir", "", "data directory of the process")
	c.Flags().StringVar(&s.path, "socket", "", "or its control socket")
	c.MarkFlagsMutuallyExclusive("data-dir", "socket")
	_ = c.MarkFlagDirname("data-dir")
}

func (s *socketFlag) open() (*controlsocket.Client, error) {
	switch {
	case s.path != "":
		return controlsocket.New(s.path), nil
	case s.dataDir != "":
		return controlsocket.New(filepath.Join(s.dataDir, "control.sock")), nil
	}
	return nil, usagef("--data-dir or --socket is missing")
}

func (a *app) operatorInit() *cobra.Command {
	var s socketFlag
	var once onceFlag
	c := &cobra.Command{
		Use: "init", Short: "Make a region out of an empty store, and print the first operator's token", Args: args(),
		Long: `Make a region out of an empty store, over the control socket of a running control
process. The token of the first operator is printed once, alone on standard
output. A region that was initialised before is refused and stays as it is.`,
		Example: "  lifeboat operator init --data-dir /var/lib/lifeboat --to-file operator.token",
		RunE: func(c *cobra.Command, _ []string) error {
			socket, err := s.open()
			if err != nil {
				return err
			}
			defer socket.Close()
			if err := once.check(); err != nil {
				return err
			}
			made, err := socket.Initialize(c.Context())
			if err != nil {
				return err
			}
			token := string(made.Token.Reveal())
			if a.flags.output == outputJSON && once.file == "" {
				return writeJSON(a.Stdout, map[string]string{
					"region": made.Region, "incarnation": made.Incarnation, "operator": made.Operator, "token": token,
				})
			}
			return a.showOnce(once, token, fmt.Sprintf("made region %s, incarnation %s; token of its first operator", made.Region, made.Incarnation))
		},
	}
	s.add(c)
	once.add(c, "token")
	return c
}

func (a *app) operatorRecover() *cobra.Command {
	var s socketFlag
	var once onceFlag
	var expires time.Duration
	var deletePolicies []string
	c := &cobra.Command{
		Use: "recover", Short: "Make an operator's token for a region whose operators have lost theirs", Args: args(),
		Long: `Make a token that may do what operators may, over the control socket of a control
process: who may run as the process's user may do that. The token is of an
operator that is made for it, called operator:recovery, and is printed once, alone
on standard output. It stops working after --expires, and when the command is run
again. What the operators made stays as it is; use the token to make them new
tokens of their own.

A policy of the account system that forbids something forbids it to this operator
too. The command names those that forbid to delete a policy, and --delete-policy
deletes one.`,
		Example: `  lifeboat operator recover --data-dir /var/lib/lifeboat --to-file recovery.token
  LIFEBOAT_TOKEN=$(lifeboat operator recover --data-dir /var/lib/lifeboat) \
    lifeboat token create operator`,
		RunE: func(c *cobra.Command, _ []string) error {
			socket, err := s.open()
			if err != nil {
				return err
			}
			defer socket.Close()
			if err := once.check(); err != nil {
				return err
			}
			made, err := socket.Recover(c.Context(), expires, deletePolicies...)
			if err != nil {
				return err
			}
			return a.showRecovered(once, made)
		},
	}
	s.add(c)
	once.add(c, "token")
	c.Flags().DurationVar(&expires, "expires", time.Hour, "when the token stops working, from now: 1m to 24h")
	c.Flags().StringArrayVar(&deletePolicies, "delete-policy", nil, "policy of the account system to delete; may be repeated")
	return c
}

func (a *app) showRecovered(once onceFlag, made controlsocket.Recovered) error {
	token, until := string(made.Token.Reveal()), made.ExpiresAt.UTC().Format(time.RFC3339)
	if a.flags.output == outputJSON && once.file == "" {
		return writeJSON(a.Stdout, map[string]any{
			"operator": made.Operator, "token": token, "expires_at": until, "cleared": made.Cleared, "forbidden_by": made.ForbiddenBy,
		})
	}
	if len(made.ForbiddenBy) > 0 {
		a.note("warning: these policies forbid the token to delete a policy, or may by the address that it is used from: %s; --delete-policy deletes one", strings.Join(made.ForbiddenBy, ", "))
	}
	if !made.Cleared {
		a.note("warning: not every host knows of the token yet")
	}
	return a.showOnce(once, token, "token of operator:recovery, until "+until)
}

func (a *app) operatorStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the state of the region as one host sees it", Args: args(), Example: "  lifeboat operator status\n  lifeboat operator status -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			s, err := cl.GetStatus(c.Context(), &lifeboatv1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if err := askControl(c.Context(), cl, s); err != nil {
				a.note("warning: no control process answers, so which hosts live is not known: %v", err)
			}
			return a.show(s, func(w io.Writer) { statusTable(w, s) })
		},
	}
}

// askControl fills in which hosts live, which only control processes know.
func askControl(ctx context.Context, cl *client.Client, s *lifeboatv1.GetStatusResponse) error {
	if slices.Contains(s.GetRoles(), "control") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	answer, err := cl.ListHosts(ctx, &lifeboatv1.ListHostsRequest{})
	if err == nil {
		s.Hosts = answer.GetHosts()
	}
	return err
}

func statusTable(w io.Writer, s *lifeboatv1.GetStatusResponse) {
	row(w, "region", s.GetRegion())
	row(w, "incarnation", s.GetIncarnation())
	row(w, "process", s.GetProcess()+" ("+strings.Join(s.GetRoles(), ", ")+")")
	row(w, "release", clip(s.GetRelease(), 60))
	row(w, "revision", fmt.Sprintf("%d applied here, %d in the store", s.GetAppliedRevision(), s.GetStoreRevision()))
	row(w, "not cleared", fmt.Sprintf("%d, oldest %.1f s", s.GetOpenWorkItems(), s.GetOldestWorkItemSeconds()))
	row(w, "failed", strconv.FormatUint(s.GetFailedMutations(), 10))
	row(w, "")
	row(w, "CHECK", "", "DETAIL")
	for _, c := range s.GetChecks() {
		healthy := "ok"
		if !c.GetHealthy() {
			healthy = "WRONG"
		} else if c.GetWarning() {
			healthy = "warning"
		}
		row(w, c.GetName(), healthy, clip(c.GetDetail(), 68))
	}
	row(w, "")
	hostRows(w, s.GetHosts())
}

func hostRows(w io.Writer, hosts []*lifeboatv1.Host) {
	row(w, "HOST", "LIVE", "APPLIED", "LAST SEEN", "ADDRESS")
	for _, h := range hosts {
		live := "unknown"
		if h.Live != nil {
			live = strconv.FormatBool(h.GetLive())
		}
		row(w, h.GetId(), live, strconv.FormatInt(h.GetAppliedRevision(), 10), at(h.GetLastSeenAt()), clip(h.GetAddress(), 26))
	}
}

func (a *app) operatorHosts() *cobra.Command {
	return &cobra.Command{
		Use: "hosts", Short: "List the registered hosts", Args: args(), Example: "  lifeboat operator hosts",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.ListHosts(c.Context(), &lifeboatv1.ListHostsRequest{})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { hostRows(w, answer.GetHosts()) })
		},
	}
}

func (a *app) operatorRemoveHost() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "remove-host HOST", Short: "Take a host that is gone for good out of the registered set", Args: args("HOST"),
		Long:    "Take a host that is gone for good out of the registered set, so that changes no longer wait\nfor a majority that counts it. A host that still runs registers again.",
		Example: "  lifeboat operator remove-host host-3 --yes",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "removing "+args[0], args[0]); err != nil {
				return err
			}
			answer, err := cl.RemoveHost(c.Context(), &lifeboatv1.RemoveHostRequest{Host: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "removed "+args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) operatorFailed(name string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: "List what hosts could not apply", Args: args(), Example: "  lifeboat operator failed",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.ListFailedMutations(c.Context(), &lifeboatv1.ListFailedMutationsRequest{})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "RECORD", "HOST", "AT", "REASON")
				for _, m := range answer.GetMutations() {
					row(w, m.GetRecord(), m.GetHost(), at(m.GetAt()), clip(m.GetReason(), 60))
				}
			})
		},
	}
}

func (a *app) operatorRetry() *cobra.Command {
	return &cobra.Command{
		Use: "retry RECORD", Short: "Make the hosts try a record again that one could not apply", Args: args("RECORD"),
		Example: "  lifeboat operator failed\n  lifeboat operator retry RECORD",
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.RetryFailedMutation(c.Context(), &lifeboatv1.RetryFailedMutationRequest{Record: args[0]})
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) { row(w, "hosts try "+args[0]+" again") })
		},
	}
}

func (a *app) operatorBreakGlass() *cobra.Command {
	var s socketFlag
	c := &cobra.Command{
		Use: "break-glass on|off", Short: "Honour credentials on a host that has been cut off for too long", Args: args("on|off"),
		Long: `A host that cannot reach the store honours what it knows of credentials up to a
configured age. "on" lifts that bound, so that a revocation that the host has not
heard of has no effect on it; each request is marked in the audit log. It ends
with "off", or with the process.`,
		Example:   "  lifeboat operator break-glass on --data-dir /var/lib/lifeboat",
		ValidArgs: []string{"on", "off"},
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] != "on" && args[0] != "off" {
				return usagef("%q is neither on nor off", args[0])
			}
			socket, err := s.open()
			if err != nil {
				return err
			}
			defer socket.Close()
			if err := socket.BreakGlass(c.Context(), args[0] == "on"); err != nil {
				return err
			}
			return a.done("break-glass is "+args[0], map[string]any{"breakGlass": args[0] == "on"})
		},
	}
	s.add(c)
	return c
}

func (a *app) operatorReopenAudit() *cobra.Command {
	var s socketFlag
	c := &cobra.Command{
		Use: "reopen-audit", Short: "Make a process open its audit files again, after they have been renamed", Args: args(),
		Example: "  mv audit.log audit.log.1 && lifeboat operator reopen-audit --data-dir /var/lib/lifeboat",
		RunE: func(c *cobra.Command, _ []string) error {
			socket, err := s.open()
			if err != nil {
				return err
			}
			defer socket.Close()
			if err := socket.ReopenAudit(c.Context()); err != nil {
				return err
			}
			return a.done("audit files opened again", map[string]any{"reopened": true})
		},
	}
	s.add(c)
	return c
}

// done prints what was done where no answer of the API says it.
func (a *app) done(text string, asJSON map[string]any) error {
	if a.flags.output == outputJSON {
		return writeJSON(a.Stdout, asJSON)
	}
	_, err := fmt.Fprintln(a.Stdout, text)
	return err
}
