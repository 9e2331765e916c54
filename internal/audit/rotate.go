package audit

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// Reopen opens the paths again and then closes the old files, for log rotation
// by renaming. Each line goes whole to the old or the new file. If a path cannot
// be opened nothing changes and secret.CodeAuditUnavailable is returned.
func (l *Log) Reopen() error {
	files, err := l.openFiles()
	if err != nil {
		return err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errors.Join(append([]error{unavailable(os.ErrClosed)}, closeAll(files, false)...)...)
	}
	old := l.files
	l.files = files
	l.nextProbe.Store(0) // the new files may well take what the old ones did not
	l.mu.Unlock()
	if errs := closeAll(old, l.sync == SyncInterval); len(errs) > 0 {
		l.logger.Error("closing rotated audit files", "error", errors.Join(errs...))
	}
	return nil
}

// Close writes what waits, if it can, and closes the files. Write and Ready
// fail afterwards. It returns secret.CodeAuditUnavailable if lines are lost.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	var errs []error
	if l.failing.Load() {
		l.nextProbe.Store(0)
		if err := l.probe(); err != nil {
			errs = append(errs, unavailable(err))
		}
	}
	l.closed = true
	l.lastErr = os.ErrClosed
	l.failing.Store(true)
	files := l.files
	l.mu.Unlock()
	if l.stopSync != nil {
		l.stopSync()
		<-l.syncDone
	}
	return errors.Join(append(errs, closeAll(files, l.sync == SyncInterval)...)...)
}

func closeAll(files []*file, sync bool) []error {
	var errs []error
	for _, f := range files {
		if sync {
			if err := f.h.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
				errs = append(errs, err)
			}
		}
		if err := f.h.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (l *Log) syncLoop(ctx context.Context) {
	defer close(l.syncDone)
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.syncFiles()
		}
	}
}

// syncFiles forces what was written to the disk. Writers do not wait for it: a
// file that is closed meanwhile was synchronised by who closed it.
func (l *Log) syncFiles() {
	l.mu.Lock()
	var dirty []*file
	for _, f := range l.files {
		if f.unsynced {
			f.unsynced = false
			dirty = append(dirty, f)
		}
	}
	l.mu.Unlock()
	for _, f := range dirty {
		err := f.h.Sync()
		if err == nil || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EINVAL) {
			continue // EINVAL: a pipe or a device, which has nothing to synchronise
		}
		l.mu.Lock()
		l.stats.SyncErrors++
		f.unsynced = true
		l.note(f, err)
		l.mu.Unlock()
	}
}
