package cli

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
)

func (a *app) operatorRebuild() *cobra.Command {
	var keys keysFlag
	var dataDir, out string
	c := &cobra.Command{
		Use: "rebuild-from-replica --data-dir DIR --out FILE", Short: "Make a backup out of the local store of a host that does not run", Args: args(),
		Long: `Make a backup, which "operator restore" takes, out of the local store of a host
that does not run: when the store is lost beyond its backups, the hosts hold the
last copies. Take the host that had come farthest; what it had not applied is
lost. The host's files are not changed.`,
		Example: `  lifeboat operator rebuild-from-replica --data-dir host-1 --out rebuilt --kms-file kms-keys
  lifeboat operator restore rebuilt --data-dir /var/lib/lifeboat`,
		RunE: func(c *cobra.Command, _ []string) error {
			if dataDir == "" || out == "" {
				return usagef("--data-dir and --out are needed")
			}
			made, err := a.rebuild(c.Context(), filepath.Join(dataDir, "local.db"), out, &keys)
			if err != nil {
				return err
			}
			return a.showBackup(out, made)
		},
	}
	keys.add(c)
	c.Flags().StringVar(&dataDir, "data-dir", "", "data directory of the host")
	c.Flags().StringVar(&out, "out", "", "file to write; it must not exist")
	_ = c.MarkFlagDirname("data-dir")
	_ = c.MarkFlagFilename("out")
	return c
}

func (a *app) rebuild(ctx context.Context, local, out string, keys *keysFlag) (made backup.Summary, err error) {
	wrapper, err := keys.open(ctx, a)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, wrapper.Close()) }()
	source, err := replica.OpenCopy(local)
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	at := source.Position()
	a.note("the host was last in contact with the store at %s and had applied revision %d", at.LastContact.Format(time.RFC3339), at.Applied)
	if at.Resyncing {
		a.note("the host was being compared with the store: some records may be newer than others")
	}
	if at.Quarantined > 0 {
		a.note("%d records that the host could not apply are missing or old in the backup", at.Quarantined)
	}
	progress, done := a.recordProgress()
	defer done()
	return backup.WriteFile(ctx, out, backup.WriteOptions{
		Source: source, Keys: wrapper, Release: a.Release, Progress: progress, Expected: at.Records,
	})
}
