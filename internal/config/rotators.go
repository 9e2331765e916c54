package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxRotators bounds the rotators of a region.
const maxRotators = 100

func (c *Config) validateRotators(p *problems) {
	if n := len(c.Rotators); n > maxRotators {
		p.add("rotators", "has %d entries; the limit is %d", n, maxRotators)
	}
	seen := map[string]bool{}
	for i := range c.Rotators {
		r, at := &c.Rotators[i], fmt.Sprintf("rotators[%d].", i)
		if !strings.HasPrefix(r.Name, "arn:") || strings.Count(r.Name, ":") < 5 || len(r.Name) > secret.MaxRotatorBytes {
			p.add(at+"name", "must be like arn:aws:lambda:east:000000000000:function:NAME, of at most %d bytes", secret.MaxRotatorBytes)
		}
		if seen[r.Name] {
			p.add(at+"name", "is that of another rotator too")
		}
		seen[r.Name] = true
		u, err := url.Parse(r.URL)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "":
			p.add(at+"url", "is not a URL like https://rotator.example/rotate")
		case u.Scheme == "http" && !loopback(u.Host):
			p.add(at+"url", "is http beyond the loopback; use https")
		}
		required(p, at+"key_file", r.KeyFile)
		if r.Timeout != 0 {
			between(p, at+"timeout", r.Timeout, time.Second, 15*time.Minute)
		}
	}
}
