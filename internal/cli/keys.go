package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

// followEvery is how often a command asks how far work in the background is.
const followEvery = 200 * time.Millisecond

const rotateLong = `Make a new generation of the data key, which seals from now on, and have everything
that older ones sealed sealed again in the background. Callers notice nothing.
The command follows that until it is done; interrupting it, or --no-wait, leaves
the work to the region. Older generations are deleted by themselves once no
record, no host and no backup needs them.`

func (a *app) vaultRotateKey() *cobra.Command {
	return a.rotateKey(&cobra.Command{
		Use: "rotate-key VAULT", Short: "Rotate the data key that seals a vault's secrets", Args: args("VAULT"), Long: rotateLong,
		Example: "  lifeboat vault rotate-key payments\n  lifeboat vault rotate-key payments --no-wait", ValidArgsFunction: a.completeVault,
	}, func(name string) *lifeboatv1.GetDataKeysRequest { return &lifeboatv1.GetDataKeysRequest{Vault: name} })
}

func (a *app) accountRotateKey() *cobra.Command {
	return a.rotateKey(&cobra.Command{
		Use: "rotate-key ACCOUNT", Short: "Rotate the data key that seals an account's access keys", Args: args("ACCOUNT"), Long: rotateLong,
		Example: "  lifeboat account rotate-key acme",
	}, func(name string) *lifeboatv1.GetDataKeysRequest { return &lifeboatv1.GetDataKeysRequest{Account: name} })
}

func (a *app) rotateKey(c *cobra.Command, named func(string) *lifeboatv1.GetDataKeysRequest) *cobra.Command {
	var noWait bool
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := a.connect()
		if err != nil {
			return err
		}
		of := named(args[0])
		answer, err := cl.RotateDataKey(c.Context(), &lifeboatv1.RotateDataKeyRequest{Vault: of.GetVault(), Account: of.GetAccount()})
		if err != nil {
			return err
		}
		if answer.GetRunning() {
			a.note("a rotation is under way already")
		}
		if !noWait {
			if answer.Rotation, err = a.followRotation(c.Context(), cl, of, answer.GetRotation()); err != nil {
				return err
			}
		}
		if n := answer.GetRotation().GetFailed(); n > 0 {
			a.note("warning: %d records cannot be opened and keep their data key, such as %s", n, answer.GetRotation().GetFailures()[0])
		}
		return a.show(answer, func(w io.Writer) { rotationRows(w, answer.GetRotation()) })
	}
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until everything is sealed again")
	return c
}

func rotationRows(w io.Writer, r *lifeboatv1.DataKeyRotation) {
	row(w, "generation", strconv.FormatUint(uint64(r.GetGeneration()), 10))
	row(w, "started", at(r.GetStartedAt()))
	row(w, "finished", at(r.GetFinishedAt()))
	row(w, "sealed again", fmt.Sprintf("%d of %d records", r.GetResealed(), r.GetTotal()))
	if r.GetFailed() > 0 {
		row(w, "cannot be opened", strconv.FormatUint(r.GetFailed(), 10))
	}
}

// rotation is work on keys in the background.
type rotation interface {
	GetLookedAt() uint64
	GetTotal() uint64
	GetFinishedAt() *timestamppb.Timestamp
}

// untilDone waits until a rotation is done and shows, on a terminal, how far it is.
// ask answers the last one; since reports whether that is this one or a later one,
// for a host may be behind.
func untilDone[R rotation](ctx context.Context, a *app, title string, began R, ask func() (R, error), since func(R) bool) (R, error) {
	bar := a.newBar(title + " ")
	defer bar.end()
	for now := began; ; {
		bar.set(now.GetLookedAt(), now.GetTotal())
		if now.GetFinishedAt() != nil {
			return now, nil
		}
		if err := wait(ctx, followEvery); err != nil {
			return now, err
		}
		last, err := ask()
		if err != nil {
			return now, err
		}
		if since(last) {
			now = last
		}
	}
}

func (a *app) followRotation(ctx context.Context, cl *client.Client, of *lifeboatv1.GetDataKeysRequest, began *lifeboatv1.DataKeyRotation) (*lifeboatv1.DataKeyRotation, error) {
	return untilDone(ctx, a, "sealing again", began, func() (*lifeboatv1.DataKeyRotation, error) {
		answer, err := cl.GetDataKeys(ctx, of)
		return answer.GetRotation(), err
	}, func(r *lifeboatv1.DataKeyRotation) bool { return r.GetGeneration() >= began.GetGeneration() })
}

func (a *app) followMasterRotation(ctx context.Context, cl *client.Client, began *lifeboatv1.MasterKeyRotation) (*lifeboatv1.MasterKeyRotation, error) {
	return untilDone(ctx, a, "wrapping again", began, func() (*lifeboatv1.MasterKeyRotation, error) {
		s, err := cl.GetKeyStatus(ctx, &lifeboatv1.GetKeyStatusRequest{})
		return s.GetMasterKeyRotation(), err
	}, func(r *lifeboatv1.MasterKeyRotation) bool {
		return !r.GetStartedAt().AsTime().Before(began.GetStartedAt().AsTime())
	})
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// bar shows how far work is, on a terminal only.
type bar struct {
	progress *mpb.Progress
	bar      *mpb.Bar
}

func (a *app) newBar(name string) *bar {
	if !isTerminal(a.Stderr) || a.flags.output == outputJSON {
		return &bar{}
	}
	p := mpb.New(mpb.WithOutput(a.Stderr), mpb.WithWidth(60))
	return &bar{p, p.AddBar(0, mpb.PrependDecorators(decor.Name(name)),
		mpb.AppendDecorators(decor.CountersNoUnit("%d / %d")), mpb.BarRemoveOnComplete())}
}

func (b *bar) set(done, total uint64) {
	if b.bar != nil {
		b.bar.SetTotal(int64(max(total, done+1)), false) //nolint:gosec // counts
		b.bar.SetCurrent(int64(done))                    //nolint:gosec // a count
	}
}

func (b *bar) end() {
	if b.bar != nil {
		b.bar.Abort(true)
		b.progress.Wait()
	}
}

func (a *app) operatorKey() *cobra.Command {
	c := &cobra.Command{
		Use: "key", Aliases: []string{"keys"}, Short: "Look after the keys of the region",
		Example: "  lifeboat operator key status\n  lifeboat operator key rotate\n  lifeboat operator key retire",
	}
	c.AddCommand(a.operatorKeyStatus(), a.operatorKeyRotate(), a.operatorKeyRetire())
	return c
}

func (a *app) operatorKeyRetire() *cobra.Command {
	request := &lifeboatv1.RetireDataKeysRequest{}
	c := &cobra.Command{
		Use: "retire", Short: "Delete data keys that nothing needs any more", Args: args(),
		Long: `Delete the generations of data keys before the active one that nothing needs: all
records are sealed again, every registered host has applied that, and no backup
that may be restored was made before. Of a vault or account that is named it is
refused, with key_in_use, if something needs them; without one, everything that
can be retired is, and what needs the rest is listed. The region does it by itself.`,
		Example: "  lifeboat operator key retire\n  lifeboat operator key retire --vault acme/payments",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.RetireDataKeys(c.Context(), request)
			if err != nil {
				return err
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "VAULT OR ACCOUNT", "RETIRED", "NEEDED BY")
				for _, r := range answer.GetRetired() {
					row(w, r.GetScope(), or(numbers(r.GetGenerations()), "-"), clip(or(strings.Join(r.GetNeededBy(), "; "), "-"), 58))
				}
			})
		},
	}
	c.Flags().StringVar(&request.Vault, "vault", "", "vault, by ID or as ACCOUNT/NAME")
	c.Flags().StringVar(&request.Account, "account", "", "or an account")
	c.MarkFlagsMutuallyExclusive("vault", "account")
	return c
}

func (a *app) operatorKeyStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show which master keys something needs, and what", Args: args(),
		Long: `Show the master keys that data keys or backups need, and how far rotations are. A
master key that is not listed can be taken away from the key service; copies of
backups that the region does not know of, such as older ones, may still need it.`,
		Example: "  lifeboat operator key status\n  lifeboat operator key status -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			s, err := cl.GetKeyStatus(c.Context(), &lifeboatv1.GetKeyStatusRequest{})
			if err != nil {
				return err
			}
			return a.show(s, func(w io.Writer) { keyStatusTable(w, s) })
		},
	}
}

func keyStatusTable(w io.Writer, s *lifeboatv1.GetKeyStatusResponse) {
	row(w, "vaults and accounts", number(s.GetScopes()))
	row(w, "oldest data key", at(s.GetOldestActiveAt()))
	row(w, "highest generation", number(uint64(s.GetHighestGeneration())))
	row(w, "older generations", number(s.GetOlderGenerations())+" not deleted yet")
	row(w, "rotations under way", number(s.GetRotating()))
	if s.GetFailedRecords() > 0 {
		row(w, "cannot be opened", number(s.GetFailedRecords())+" records")
	}
	if r := s.GetMasterKeyRotation(); r != nil {
		row(w, "master key rotation", masterRotationText(r))
	}
	row(w, "")
	row(w, "MASTER KEY", "", "DATA KEYS", "OLDEST", "BACKUPS", "UNTIL")
	for _, m := range s.GetMasterKeys() {
		own := ""
		if m.GetOwn() {
			own = "own"
		}
		row(w, clip(m.GetId(), 34), own, number(m.GetDataKeys()), day(m.GetOldestDataKeyAt()), number(m.GetBackups()), day(m.GetBackupsUntil()))
	}
}

func masterRotationText(r *lifeboatv1.MasterKeyRotation) string {
	if r.GetFinishedAt() == nil {
		return fmt.Sprintf("under way since %s, %d of %d data keys", at(r.GetStartedAt()), r.GetLookedAt(), r.GetTotal())
	}
	return fmt.Sprintf("finished at %s, %d data keys, %d failed", at(r.GetFinishedAt()), r.GetRewrapped(), r.GetFailed())
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// day shows the day of a time, "-" for none.
func day(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.DateOnly)
}

func (a *app) operatorKeyRotate() *cobra.Command {
	request := &lifeboatv1.RotateMasterKeyRequest{}
	var noWait bool
	c := &cobra.Command{
		Use: "rotate", Short: "Rotate the master key, and wrap all data keys again", Args: args(),
		Long: `Have all data keys of the region wrapped again by the active master keys, in the
background; callers notice nothing. Before that the key service makes a new master
key, if its driver is file or transit; for the others make one with the key
service's tools, configure it and restart the processes first. The command follows
the work until it is done; interrupting it, or --no-wait, leaves the work to the
region. Backups made before still need the old master key.`,
		Example: "  lifeboat operator key rotate\n  lifeboat operator key rotate --key payments\n  lifeboat operator key rotate --rewrap-only",
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := cl.RotateMasterKey(c.Context(), request)
			if err != nil {
				return err
			}
			if answer.GetRunning() {
				a.note("a rotation is under way already")
			}
			if !noWait {
				if answer.Rotation, err = a.followMasterRotation(c.Context(), cl, answer.GetRotation()); err != nil {
					return err
				}
			}
			if r := answer.GetRotation(); r.GetFailed() > 0 {
				a.note("warning: %d data keys cannot be wrapped again, such as %s", r.GetFailed(), r.GetFailures()[0])
			}
			return a.show(answer, func(w io.Writer) {
				row(w, "master key", answer.GetRotation().GetMasterKey())
				row(w, "rotation", masterRotationText(answer.GetRotation()))
			})
		},
	}
	f := c.Flags()
	f.StringVar(&request.Key, "key", "", "name of the master key to make anew, as vaults name it (default the region's own)")
	f.BoolVar(&request.RewrapOnly, "rewrap-only", false, "make no master key; wrap again by those that are active now")
	f.BoolVar(&noWait, "no-wait", false, "do not wait until all data keys are wrapped again")
	return c
}

// shredVault asks for the name of the vault, unless it is given.
func (a *app) shredVault(ctx context.Context, cl *client.Client, ref string, shred bool, name string) error {
	_, own, _ := strings.Cut("/"+ref, "/")
	if _, after, ok := strings.Cut(own, "/"); ok {
		own = after
	}
	switch {
	case !shred:
		return usagef("--yes-shred goes with --shred")
	case name == "" && !isTerminal(a.Stdin):
		return usagef("shredding the vault %s cannot be undone: give its name with --yes-shred", own)
	case name == "":
		if err := a.confirm(false, "shredding the vault "+ref+" with all its secrets", own); err != nil {
			return err
		}
		name = own
	}
	answer, err := cl.ShredVault(ctx, &lifeboatv1.ShredVaultRequest{Vault: ref, ConfirmName: name})
	if err != nil {
		return err
	}
	for _, b := range answer.GetBackups() {
		a.note("warning: backup %s still holds the wrapped data keys; it may be restored until %s", b.GetId(), at(b.GetUntil()))
	}
	a.note("copies that the region does not know of may hold them too")
	return a.show(answer, func(w io.Writer) { row(w, "shredded "+ref) })
}

func numbers(all []uint32) string {
	text := make([]string, len(all))
	for i, n := range all {
		text[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(text, ", ")
}
