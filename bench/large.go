package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// suffix names the size of the large region in figures.
func (b *bench) suffix() string {
	switch b.secrets {
	case 100_000:
		return "100k"
	case million:
		return "1m"
	}
	return fmt.Sprint(b.secrets)
}

// measureLarge measures what depends on the number of secrets.
func measureLarge(ctx context.Context, b *bench) error {
	for _, step := range []func(context.Context, *bench) error{measureHost, measureAlone} {
		if err := step(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// measureHost measures a data-plane host of a large region.
func measureHost(ctx context.Context, b *bench) error {
	start := time.Now()
	c, err := b.region(ctx, spread, b.secrets)
	if err != nil {
		return err
	}
	b.report.add("load_s_"+b.suffix(), "s", time.Since(start).Seconds())
	anon, err := c.hosts[0].anonMB()
	if err != nil {
		return err
	}
	b.report.add("anon_mb_host_after_sync_"+b.suffix(), "MB", anon)
	b.report.add("store_file_mb_"+b.suffix(), "MB", sizeMB(filepath.Join(c.path("control"), "store", "member", "snap", "db")))
	b.report.add("local_file_mb_"+b.suffix(), "MB", sizeMB(filepath.Join(c.path("host-0"), "local.db")))
	for _, step := range []func(context.Context, *cluster) error{b.coldStart, b.listPages, b.readLarge} {
		if err := step(ctx, c); err != nil {
			return err
		}
	}
	if anon, err = c.hosts[0].anonMB(); err != nil {
		return err
	}
	b.report.add("anon_mb_host_"+b.suffix(), "MB", anon)
	delete(b.regions, fmt.Sprintf("%s-%d", spread, b.secrets))
	return errors.Join(c.stop(), os.RemoveAll(c.dir))
}

// coldStart measures from the start of a host's process to its first answer.
func (b *bench) coldStart(ctx context.Context, c *cluster) error {
	var took []float64
	for range 5 {
		if err := c.hosts[0].stop(); err != nil {
			return err
		}
		start := time.Now()
		h, err := c.startHost(ctx, 0)
		if err != nil {
			return err
		}
		c.hosts[0] = h
		l, err := c.readLoad(h, b.secrets, protoType, false)
		if err != nil {
			return err
		}
		err = until(ctx, func() error {
			_, err := l.once(ctx, 0)
			return err
		})
		l.close()
		if err != nil {
			return err
		}
		took = append(took, time.Since(start).Seconds())
	}
	b.report.add("host_cold_start_s_"+b.suffix(), "s", took...)
	return nil
}

// listPages walks the list of secrets by pages of 100.
func (b *bench) listPages(ctx context.Context, c *cluster) error {
	host, err := newAPI(c.path("ca.pem"), c.hostDoors[0])
	if err != nil {
		return err
	}
	defer host.http.CloseIdleConnections()
	var rounds []float64
	token := ""
	for range b.rounds {
		var took []float64
		for range 100 {
			start := time.Now()
			page, err := host.secrets.ListSecrets(ctx, auth(c.token, &lifeboatv1.ListSecretsRequest{Vault: vaultName, PageSize: 100, PageToken: token}))
			if err != nil {
				return err
			}
			took = append(took, time.Since(start).Seconds()*1e3)
			if n := len(page.Msg.GetSecrets()); n != 100 {
				return fmt.Errorf("a page of %d secrets", n)
			}
			token = page.Msg.GetNextPageToken()
		}
		rounds = append(rounds, percentile(took, 50))
	}
	b.report.add("list_page_ms_"+b.suffix(), "ms", rounds...)
	return nil
}

// readLarge compares reading from the large region with reading from a small one.
func (b *bench) readLarge(ctx context.Context, large *cluster) error {
	few, err := b.region(ctx, spread, small)
	if err != nil {
		return err
	}
	many, err := large.readLoad(large.hosts[0], b.secrets, protoType, false)
	if err != nil {
		return err
	}
	defer many.close()
	base, err := few.readLoad(few.hosts[0], small, protoType, false)
	if err != nil {
		return err
	}
	defer base.close()
	return b.compare(ctx, "read_rate_"+b.suffix()+"_vs_1k_ratio", many, base, func(r rates) float64 { return r.perCPUSecond })
}

// compare runs two loads in turn and reports the ratio of a rate.
func (b *bench) compare(ctx context.Context, name string, a, z *load, rate func(rates) float64) error {
	var ratios []float64
	for range b.rounds {
		one, err := a.run(ctx, 2*b.round)
		if err != nil {
			return err
		}
		other, err := z.run(ctx, 2*b.round)
		if err != nil {
			return err
		}
		ratios = append(ratios, rate(one)/rate(other))
	}
	b.report.add(name, "", ratios...)
	return nil
}

// measureAlone measures a large region of one process.
func measureAlone(ctx context.Context, b *bench) error {
	few, err := b.region(ctx, alone, small)
	if err != nil {
		return err
	}
	c, err := b.region(ctx, alone, b.secrets)
	if err != nil {
		return err
	}
	manyWrites, err := c.writeLoad("large")
	if err != nil {
		return err
	}
	defer manyWrites.close()
	fewWrites, err := few.writeLoad("small")
	if err != nil {
		return err
	}
	defer fewWrites.close()
	if err := b.compare(ctx, "write_rate_"+b.suffix()+"_vs_1k_ratio", manyWrites, fewWrites, func(r rates) float64 { return r.perSecond }); err != nil {
		return err
	}
	return b.footprint(ctx, c)
}

// footprint measures the memory of a region of one process that has restarted
// and served reads.
func (b *bench) footprint(ctx context.Context, c *cluster) error {
	if err := c.control.stop(); err != nil {
		return err
	}
	start := time.Now()
	if err := c.startControl(ctx, alone); err != nil {
		return err
	}
	if err := c.settle(ctx, b.secrets, c.door); err != nil {
		return err
	}
	b.report.add("alone_cold_start_s_"+b.suffix(), "s", time.Since(start).Seconds())
	reads, err := c.readLoad(c.control, b.secrets, protoType, false)
	if err != nil {
		return err
	}
	defer reads.close()
	var rounds []float64
	for i := range 6 {
		if _, err := reads.run(ctx, b.round); err != nil {
			return err
		}
		anon, err := c.control.anonMB()
		if err != nil {
			return err
		}
		if i >= 3 { // it has stopped growing
			rounds = append(rounds, anon)
		}
	}
	b.report.add("anon_mb_"+b.suffix(), "MB", rounds...)
	return nil
}
