package config

import "github.com/lifeboat-secrets/lifeboat/internal/secret"

// maxRegionNames bounds the names of regions: this one and its peers.
const maxRegionNames = 11

func (a *AWS) validate(p *problems) {
	if a.Enabled {
		p.check(secret.CheckContainerName("aws.vault", a.Vault))
	}
	if n := len(a.RegionNames); n > maxRegionNames {
		p.add("aws.region_names", "has %d entries; the limit is %d", n, maxRegionNames)
	}
	seen := map[string]bool{}
	for region, name := range a.RegionNames {
		key := "aws.region_names." + string(region)
		p.check(secret.CheckRegionName(key, region))
		p.check(secret.CheckRegionName(key, secret.RegionName(name)))
		if seen[name] {
			p.add(key, "is %s, as another region is", name)
		}
		seen[name] = true
	}
}
