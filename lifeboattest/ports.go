package lifeboattest

import "github.com/lifeboat-secrets/lifeboat/internal/localregion"

// ports are the addresses of a process, host:port.
type ports struct{ public, admin, peer, store, region string }

func newPorts() (p ports, err error) {
	for _, address := range []*string{&p.public, &p.admin, &p.peer, &p.store, &p.region} {
		if *address, err = localregion.FreeAddress(); err != nil {
			return p, err
		}
	}
	return p, nil
}
