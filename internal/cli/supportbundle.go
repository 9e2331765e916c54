package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
)

func (a *app) operatorSupportBundle() *cobra.Command {
	var s socketFlag
	var to string
	c := &cobra.Command{
		Use: "support-bundle --to FILE", Short: "Collect what somebody needs who is to find out what is wrong", Args: args(),
		Long: `Have a running process describe itself, over its control socket, and write that to a
new file, a compressed tar archive: configuration, status, health, metrics,
goroutines, the last lines of its log, its local store, the store as it sees it,
and the names and sizes of its files.

It holds no value, key, token or name of a secret: of the configuration only what
is known to be none is shown, and no file is read. Look into it all the same
before you give it away: it tells addresses and names of your machines.`,
		Example: "  lifeboat operator support-bundle --data-dir /var/lib/lifeboat --to bundle.tar.gz\n  tar -xzOf bundle.tar.gz --wildcards '*/log.txt'",
		RunE: func(c *cobra.Command, _ []string) error {
			if to == "" {
				return usagef("--to is missing")
			}
			socket, err := s.open()
			if err != nil {
				return err
			}
			defer socket.Close()
			size, err := writeSupportBundle(c.Context(), socket, to)
			if err != nil {
				return err
			}
			return a.done(fmt.Sprintf("wrote %s, %d bytes", to, size), map[string]any{"file": to, "bytes": size})
		},
	}
	s.add(c)
	c.Flags().StringVar(&to, "to", "", "file to write; it must not exist")
	_ = c.MarkFlagFilename("to", "tar.gz", "tgz")
	return c
}

// writeSupportBundle leaves no file unless it is whole.
func writeSupportBundle(ctx context.Context, socket *controlsocket.Client, to string) (size int64, err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return 0, withHint(err, "a file that exists is never replaced: name another one")
	}
	if err != nil {
		return 0, err
	}
	err = socket.SupportBundle(ctx, f)
	if err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil {
			size = info.Size()
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, os.Remove(to))
	}
	return size, nil
}
