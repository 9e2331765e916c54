package lifeboattest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
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

// taken are the ports that this process gave out.
var taken struct {
	sync.Mutex
	ports map[int]bool
}

func newPorts() (p ports, err error) {
	for _, address := range []*string{&p.public, &p.admin, &p.peer, &p.store, &p.region} {
		if *address, err = freeAddress(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// freeAddress returns an address that nobody listens on. Its port is drawn, so
// that test programs that run at the same time rarely want the same.
func freeAddress() (string, error) {
	taken.Lock()
	defer taken.Unlock()
	if taken.ports == nil {
		taken.ports = map[int]bool{}
	}
	var last error
	for range portTries {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // need not be hard to guess
		if taken.ports[port] {
			continue
		}
		address := fmt.Sprint("127.0.0.1:", port)
		l, err := net.Listen("tcp", address) //nolint:noctx // binding does not block
		if err != nil {
			last = err
			continue
		}
		taken.ports[port] = true
		return address, l.Close()
	}
	return "", errors.Join(errors.New("no free port on the loopback"), last)
}
