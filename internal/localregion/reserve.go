package localregion

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
)

// reserved are the sockets that keep ports; they are never read.
var reserved struct {
	sync.Mutex
	sockets []*net.UnixConn
}

// Reserve keeps a port of the loopback for this process until it ends, and reports
// whether nobody else has it: neither listens on it, nor reserved it and has not
// begun to listen. Programs that look for free ports at the same time would
// otherwise find the same. Only on Linux is it kept from others.
func Reserve(port int) bool {
	if runtime.GOOS != "linux" {
		return isFree(port)
	}
	// First the reservation: to look whether the port is free takes it for a moment, in
	// which a process that restarts would not find its own again. A name in Linux's
	// abstract namespace is gone when the process is.
	reservation, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: fmt.Sprintf("@lifeboat-port-%d", port), Net: "unixgram"})
	if err != nil {
		return false
	}
	if !isFree(port) {
		_ = reservation.Close()
		return false
	}
	reserved.Lock()
	defer reserved.Unlock()
	reserved.sockets = append(reserved.sockets, reservation)
	return true
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", local(port)) //nolint:noctx // binding does not block
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

// Ports of FreeAddress are below the range that systems use for outgoing connections,
// so that a stopped process finds its own again.
const (
	firstFree, lastFree = 15000, 32000
	freeTries           = 1000
)

// FreeAddress reserves any port and returns its address, host:port.
func FreeAddress() (string, error) {
	for range freeTries {
		port := firstFree + rand.IntN(lastFree-firstFree) //nolint:gosec // need not be hard to guess
		if Reserve(port) {
			return local(port), nil
		}
	}
	return "", errors.New("no free port on the loopback")
}
