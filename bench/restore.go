package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/controlsocket"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// measureRestore backs a large region of one process up, loses all of it but its
// keys, and restores it.
func measureRestore(ctx context.Context, b *bench) error {
	c, err := b.region(ctx, alone, b.secrets)
	if err != nil {
		return err
	}
	file := c.path("backup")
	socket := controlsocket.New(filepath.Join(c.path("control"), region.SocketName))
	defer socket.Close()
	start := time.Now()
	if _, err := socket.Backup(ctx, file, nil); err != nil {
		return err
	}
	b.report.add("backup_s_"+b.suffix(), "s", time.Since(start).Seconds())
	b.report.add("backup_file_mb_"+b.suffix(), "MB", sizeMB(file))
	if err := errors.Join(c.control.stop(), os.RemoveAll(c.path("control"))); err != nil {
		return err
	}
	if err := c.startControl(ctx, alone); err != nil {
		return err
	}
	start = time.Now()
	report, err := restoreWhenUp(ctx, socket, file)
	if err != nil {
		return err
	}
	b.report.add("restore_s_"+b.suffix(), "s", report.Took.Seconds())
	if err := c.settle(ctx, b.secrets, c.door); err != nil {
		return err
	}
	b.report.add("restore_to_first_read_s_"+b.suffix(), "s", time.Since(start).Seconds())
	anon, err := c.control.anonMB()
	if err != nil {
		return err
	}
	b.report.add("anon_mb_after_restore_"+b.suffix(), "MB", anon)
	return nil
}

// restoreWhenUp waits for the store.
func restoreWhenUp(ctx context.Context, socket *controlsocket.Client, file string) (report backup.Report, err error) {
	waitErr := until(ctx, func() error {
		if report, err = socket.Restore(ctx, file, nil); secret.HasCode(err, secret.CodeUnavailable) {
			return err
		}
		return nil
	})
	return report, errors.Join(waitErr, err)
}
