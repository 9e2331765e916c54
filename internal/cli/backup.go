package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

func (a *app) operatorBackup() *cobra.Command {
	var s socketFlag
	var out string
	c := &cobra.Command{
		Use: "backup --out FILE", Short: "Write a backup of the region to a new file", Args: args(),
		Long: `Write a backup of the region to a new file, over the control socket of a running
control process, which writes the file. It holds everything that was acknowledged
before it began, encrypted under a key that the key service wraps; it is read
back and verified before it gets its name. Keep it and the key service apart:
without the master keys nobody can read it, you included.`,
		Example: "  lifeboat operator backup --data-dir /var/lib/lifeboat --out /backup/east-2026-01-31",
		RunE: func(c *cobra.Command, _ []string) error {
			if out == "" {
				return usagef("--out is missing")
			}
			path, err := filepath.Abs(out)
			if err != nil {
				return err
			}
			socket, err := s.open()
			if err != nil {
				return err
			}
			defer socket.Close()
			progress, done := a.recordProgress()
			made, err := socket.Backup(c.Context(), path, progress)
			done()
			if err != nil {
				return err
			}
			return a.showBackup(path, made)
		},
	}
	s.add(c)
	c.Flags().StringVar(&out, "out", "", "file to write, on the machine of the process; it must not exist")
	_ = c.MarkFlagFilename("out")
	return c
}

func (a *app) operatorVerify() *cobra.Command {
	var keys keysFlag
	c := &cobra.Command{
		Use: "verify FILE", Short: "Verify that a backup is whole and can be restored by this release", Args: args("FILE"),
		Long: `Verify that a backup is whole and can be restored by this release, without any
process: each part of it is decrypted and each record decoded. The key service is
that of a process's configuration, or a key file.`,
		Example: `  lifeboat operator verify /backup/east-2026-01-31 --config /etc/lifeboat/config.yaml
  lifeboat operator verify /backup/east-2026-01-31 --kms-file /var/lib/lifeboat/kms-keys`,
		RunE: func(c *cobra.Command, args []string) error {
			found, err := a.verifyBackup(c.Context(), args[0], &keys)
			if err != nil {
				return err
			}
			return a.showBackup(args[0], found)
		},
	}
	keys.add(c)
	return c
}

func (a *app) verifyBackup(ctx context.Context, path string, keys *keysFlag) (found backup.Summary, err error) {
	wrapper, err := keys.open(ctx, a)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, wrapper.Close()) }()
	f, err := os.Open(path)
	if err != nil {
		return found, err
	}
	defer func() { _ = f.Close() }()
	progress, done := a.recordProgress()
	defer done()
	return backup.Verify(ctx, f, wrapper, progress)
}

// keysFlag names a key service that no process runs.
type keysFlag struct{ config, file string }

func (k *keysFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&k.config, "config", "", "configuration of a process of the region")
	c.Flags().StringVar(&k.file, "kms-file", "", "or the key file of the key service driver \"file\"")
	c.MarkFlagsMutuallyExclusive("config", "kms-file")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	_ = c.MarkFlagFilename("kms-file")
}

func (k *keysFlag) open(ctx context.Context, a *app) (kms.Wrapper, error) {
	switch {
	case k.file != "":
		return file.Open(k.file)
	case k.config == "":
		return nil, usagef("--config or --kms-file is missing")
	}
	c, err := a.loadConfig(k.config)
	if err != nil {
		return nil, err
	}
	return region.OpenKeyService(ctx, &c.KMS)
}

func (a *app) loadConfig(path string) (*config.Config, error) {
	c, err := config.Load(path, a.LookupEnv)
	if err != nil {
		return nil, withHint(err, "\"lifeboat config reference\" shows every field")
	}
	return c, nil
}

func (a *app) operatorRestore() *cobra.Command {
	var s socketFlag
	c := &cobra.Command{
		Use: "restore FILE", Short: "Make a region out of a backup, in an empty store", Args: args("FILE"),
		Long: `Make a region out of a backup, over the control socket of a running control
process whose store is empty: a region that is there stays as it is. Tokens,
policies and secrets are those of the backup. It is a new life of the region: what
was written after the backup is gone, and revision tokens from before are refused
with unknown_incarnation. A restore that was interrupted is begun again by the
same command.

Make sure first that the old region does not run any more.`,
		Example: "  lifeboat operator restore /backup/east-2026-01-31 --data-dir /var/lib/lifeboat",
		RunE: func(c *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			socket, err := s.open()
			if err != nil {
				return err
			}
			defer socket.Close()
			progress, done := a.recordProgress()
			report, err := socket.Restore(c.Context(), path, progress)
			done()
			if err != nil {
				return err
			}
			return a.showRestore(report)
		},
	}
	s.add(c)
	return c
}

func (a *app) showRestore(r backup.Report) error {
	if a.flags.output == outputJSON {
		return writeJSON(a.Stdout, r)
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	row(w, "restored", fmt.Sprintf("%d records in %s", r.Backup.Records, r.Took.Round(10*time.Millisecond)))
	if r.Resumed {
		row(w, "", "after an earlier restore that was interrupted")
	}
	backupRows(w, r.Backup)
	row(w, "new life", fmt.Sprintf("incarnation %s, restore epoch %d", r.Incarnation, r.RestoreEpoch))
	row(w, "next", "tokens of the backup work; secrets are not purged for 24 hours; see \"lifeboat operator hosts\"")
	return w.Flush()
}

func (a *app) showBackup(path string, s backup.Summary) error {
	if a.flags.output == outputJSON {
		return writeJSON(a.Stdout, struct {
			File string `json:"file"`
			backup.Summary
		}{path, s})
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	row(w, "verified", path)
	backupRows(w, s)
	return w.Flush()
}

func backupRows(w io.Writer, s backup.Summary) {
	row(w, "backup", s.ID+" of "+s.CreatedAt.Format(time.RFC3339)+", by release "+clip(s.Release, 40))
	row(w, "region", fmt.Sprintf("%s, incarnation %s, restore epoch %d", s.Region, s.Incarnation, s.RestoreEpoch))
	row(w, "revision", strconv.FormatInt(s.Revision, 10))
	row(w, "master key", s.MasterKey)
	row(w, "records", strconv.FormatInt(s.Records, 10))
	for _, kind := range slices.Sorted(maps.Keys(s.Kinds)) {
		row(w, "", fmt.Sprintf("%d %s", s.Kinds[kind], kind))
	}
}

// recordProgress shows how far work on records is, on a terminal only. done ends
// it.
func (a *app) recordProgress() (progress func(backup.Progress), done func()) {
	if !isTerminal(a.Stderr) || a.flags.output == outputJSON {
		return func(backup.Progress) {}, func() {}
	}
	p := mpb.New(mpb.WithOutput(a.Stderr), mpb.WithWidth(60))
	var step backup.Step
	var bar *mpb.Bar
	progress = func(now backup.Progress) {
		if bar == nil || now.Step != step {
			if bar != nil {
				bar.Abort(true)
			}
			step = now.Step
			bar = p.AddBar(0, mpb.PrependDecorators(decor.Name(string(step)+" ")),
				mpb.AppendDecorators(decor.CountersNoUnit("%d / %d")), mpb.BarRemoveOnComplete())
		}
		bar.SetTotal(max(now.Of, now.Records+1), false)
		bar.SetCurrent(now.Records)
	}
	return progress, func() {
		if bar != nil {
			bar.Abort(true)
		}
		p.Wait()
	}
}
