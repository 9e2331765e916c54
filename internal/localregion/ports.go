package localregion

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// ports of a process on the loopback.
type ports struct {
	Public int `json:"public"`
	Admin  int `json:"admin"`
	Peer   int `json:"peer"`
	// Region is for other regions; only control processes use it.
	Region int `json:"region"`
	// Those of the embedded store; only the process with the store uses them.
	StoreClient int `json:"store_client"`
	StorePeer   int `json:"store_peer"`
}

const (
	portsEach  = 6
	blockPorts = (1 + maxControls + maxHosts) * portsEach
	blocks     = (endOfRegions - firstOfRegions) / blockPorts
	tries      = 200
)

// all are the ports that a process may listen on.
func (p ports) all() []int {
	return []int{p.Public, p.Admin, p.Peer, p.Region, p.StoreClient, p.StorePeer}
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts finds a block of ports on which nothing listens and that none of the
// taken ones begins.
func freePorts(processes int, taken map[int]bool) ([]ports, error) {
	last := errors.New("all blocks that were tried are taken")
	for range tries {
		first := firstOfRegions + rand.IntN(blocks)*blockPorts //nolint:gosec // only spreads regions over ports
		if taken[first] {
			continue
		}
		if last = reserveAll(first, processes*portsEach); last != nil {
			continue
		}
		found := make([]ports, processes)
		for i := range found {
			p := first + i*portsEach
			found[i] = ports{Public: p, Admin: p + 1, Peer: p + 2, StoreClient: p + 3, StorePeer: p + 4, Region: p + 5}
		}
		return found, nil
	}
	return nil, fmt.Errorf("find free ports on the loopback: %w", last)
}

// reserveAll reserves n ports, or none.
func reserveAll(first, n int) error {
	for port := first; port < first+n; port++ {
		if !reserve(port) {
			reserved.Lock()
			defer reserved.Unlock()
			for had := first; had < port; had++ {
				release(had)
			}
			return fmt.Errorf("port %d is taken", port)
		}
	}
	return nil
}
