package lifeboattest

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/localregion"
)

// ports are the addresses of a process, host:port.
type ports struct{ public, admin, peer, store, region string }

// Ports are taken from below the range that systems use for outgoing
// connections, so that a stopped process finds its own again.
const (
	firstPort = 15000
	lastPort  = 32000
	portTries = 1000
)

func newPorts() (p ports, err error) {
	for _, address := range []*string{&p.public, &p.admin, &p.peer, &p.store, &p.region} {
		if *address, err = freeAddress(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// freeAddress returns an address that nobody listens on, nor will: it stays this
// process's.
func freeAddress() (string, error) {
	for range portTries {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // need not be hard to guess
		if localregion.Reserve(port) {
			return fmt.Sprint("127.0.0.1:", port), nil
		}
	}
	return "", errors.New("no free port on the loopback")
}
