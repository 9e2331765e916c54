package localregion

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
)

// reserved are the sockets that keep ports, by port; they are never read.
var reserved = struct {
	sync.Mutex
	sockets map[int]*net.UnixConn
}{sockets: map[int]*net.UnixConn{}}

// reserve keeps a port of the loopback for this process until it ends, and reports
// whether nobody else has it: neither listens on it, nor reserved it and has not
// begun to listen. Programs that look for free ports at the same time would
// otherwise find the same. Only on Linux is it kept from others.
func reserve(port int) bool {
	if runtime.GOOS != "linux" {
		return isFree(port)
	}
	reserved.Lock()
	defer reserved.Unlock()
	// First the reservation: to look whether the port is free takes it for a moment, in
	// which a process that restarts would not find its own again.
	if reserved.sockets[port] != nil || !keep(port) {
		return false
	}
	if !isFree(port) {
		_ = reserved.sockets[port].Close()
		delete(reserved.sockets, port)
		return false
	}
	return true
}

// reserveAgain reserves a port that a plan names, whoever listens on it, and reports
// whether no other process has reserved it.
func reserveAgain(port int) bool {
	if runtime.GOOS != "linux" {
		return true
	}
	reserved.Lock()
	defer reserved.Unlock()
	return reserved.sockets[port] != nil || keep(port)
}

// keep needs reserved to be locked. A name in Linux's abstract namespace is gone when
// the process is.
func keep(port int) bool {
	name := fmt.Sprintf("@lifeboat-port-%d", port)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		reserved.sockets[port] = socket
	}
	return err == nil
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", local(port)) //nolint:noctx // binding does not block
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

// Ports lie below what systems give to outgoing connections (from 32768 on Linux,
// 49152 elsewhere), or a port could be taken while its process is down. Regions have
// a range of their own: theirs are kept in files, and while nothing runs that has
// read the file nobody reserves them.
const (
	firstOfRegions, endOfRegions = 15000, 24000
	firstFree, endOfFree         = endOfRegions, 32000
	freeTries                    = 1000
)

// FreeAddress reserves any port and returns its address, host:port.
func FreeAddress() (string, error) {
	for range freeTries {
		port := firstFree + rand.IntN(endOfFree-firstFree) //nolint:gosec // need not be hard to guess
		if reserve(port) {
			return local(port), nil
		}
	}
	return "", errors.New("no free port on the loopback")
}
