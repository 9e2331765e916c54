package region

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/transit"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// keyCacheEvery is how often the sealed key cache is looked through for what is
	// too old.
	keyCacheEvery = time.Minute
	// keyCacheCollect is how long changes are collected before they are written.
	keyCacheCollect = 500 * time.Millisecond
)

// openKeyCache opens the sealed key cache, or removes what one has left behind.
func (p *Process) openKeyCache() (err error) {
	if s := p.config.KMS.SealedCache; !s.On() {
		return keycache.Remove(keyCachePath(p.config))
	}
	p.keyCache, err = openKeyCache(p.config, p.now)
	if err != nil {
		return err
	}
	if err := p.keyCache.Status().Err; err != nil {
		p.log.Error("nothing is served from the sealed key cache", "error", err)
	}
	return nil
}

func openKeyCache(c *config.Config, now func() time.Time) (*keycache.Cache, error) {
	s := c.KMS.SealedCache
	return keycache.Open(keycache.Options{
		Path: keyCachePath(c), KeyFile: s.KeyFile, DataDir: c.Process.DataDir, MaxAge: s.MaxAge, Region: c.Region.Name, Now: now,
	})
}

// keyCachePath is in the data directory also in a configuration of no file.
func keyCachePath(c *config.Config) string {
	if path := c.KMS.SealedCache.Path; filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Process.DataDir, c.KMS.SealedCache.Path)
}

// withoutKeyService returns what stands in for a key service that could not be
// opened, or why nothing can. One that refuses is not stood in for, now or later.
func (p *Process) withoutKeyService(cause error) (kms.Wrapper, error) {
	if p.keyCache == nil {
		return nil, cause
	}
	if secret.HasCode(cause, secret.CodeWrongKey) {
		return nil, errors.Join(cause, p.keyCache.Wipe())
	}
	if !secret.HasCode(cause, secret.CodeKeyUnavailable) {
		return nil, cause
	}
	if err := p.keyCache.Usable(); err != nil {
		return nil, secret.Wrap(secret.CodeKeyUnavailable, errors.Join(cause, err), "the key service is away, and the sealed key cache cannot stand in for it").
			WithHint("bring the key service back")
	}
	p.log.Warn("the key service is away; data keys come from the sealed key cache", "error", cause)
	c := &p.config.KMS
	late := kms.NewLate(c.Driver, c.Driver != file.Driver, func(ctx context.Context) (kms.Wrapper, error) { return OpenKeyService(ctx, c) })
	if c.Driver == file.Driver || c.Driver == transit.Driver {
		return kms.LateRotator{Late: late}, nil
	}
	return late, nil
}

// startKeyCache starts what writes the sealed key cache.
func (p *Process) startKeyCache(ctx context.Context) error {
	if p.keyCache != nil {
		p.run(ctx, "key cache", p.keepKeyCache)
	}
	return nil
}

func (p *Process) keepKeyCache(ctx context.Context) error {
	tick := time.NewTicker(keyCacheEvery)
	defer tick.Stop()
	for {
		err := p.synced(func(view record.View) error { return p.keyring.PruneSealed(view) })
		if err != nil && !errors.Is(err, errIncomplete) {
			p.log.Warn("the sealed key cache is not looked through", "error", err)
		}
		p.writeKeyCache()
		select {
		case <-ctx.Done():
			p.writeKeyCache()
			return ctx.Err()
		case <-p.keyCache.Changed():
			sleep(ctx, keyCacheCollect)
		case <-tick.C:
		}
	}
}

func (p *Process) writeKeyCache() {
	if err := p.keyCache.Write(); err != nil {
		p.log.Error("the sealed key cache is not written", "error", err)
	}
}

// checkKeyCache is vital once the process has nothing else to get keys from.
func (p *Process) checkKeyCache() check {
	status, health := p.keyCache.Status(), p.keyring.Health()
	c := check{name: "sealed key cache", vital: health.LastSuccess.IsZero(), err: status.Err}
	if health.OK() && errors.Is(c.err, keycache.ErrExpired) {
		c.err = nil // nobody needs the keys now
	}
	c.info = fmt.Sprintf("%d data keys", status.Entries)
	if status.Entries == 0 {
		return c
	}
	old := p.keyAge(status.Oldest).Round(time.Second)
	c.info += fmt.Sprintf(", the oldest unwrapped %s ago", old)
	if c.err == nil && !health.OK() && status.Hits > 0 {
		c.warning = true
		c.info += fmt.Sprintf("; they stand in for the key service, each until it is %s old", p.config.KMS.SealedCache.MaxAge)
	}
	return c
}

func (p *Process) keyAge(since time.Time) time.Duration {
	if p.now != nil {
		return p.now().Sub(since)
	}
	return time.Since(since)
}
