package localregion

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
)

// reserved are the ports that this process keeps, each, on Linux, by a socket that is
// never read.
var reserved = struct {
	sync.Mutex
	sockets map[int]io.Closer
}{sockets: map[int]io.Closer{}}

// reserve keeps a port of the loopback for this process until it ends, and reports
// whether it was free: nobody listens on it, and nobody, nor this process, has reserved
// it and not begun to listen. Programs that look for free ports at the same time would
// otherwise find the same. Only on Linux is it kept from other processes.
func reserve(port int) bool {
	reserved.Lock()
	defer reserved.Unlock()
	// First the reservation: to look whether the port is free takes it for a moment, in
	// which a process that restarts would not find its own again.
	if reserved.sockets[port] != nil || !keep(port) {
		return false
	}
	if !isFree(port) {
		release(port)
		return false
	}
	return true
}

// reserveAgain reserves a port that a plan names, whoever listens on it, and reports
// whether no other process has reserved it.
func reserveAgain(port int) bool {
	reserved.Lock()
	defer reserved.Unlock()
	return reserved.sockets[port] != nil || keep(port)
}

// keep needs reserved to be locked.
func keep(port int) bool {
	if runtime.GOOS != "linux" {
		reserved.sockets[port] = io.NopCloser(nil)
		return true
	}
	// A name in Linux's abstract namespace is gone when the process is.
	name := fmt.Sprintf("@lifeboat-port-%d", port)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		reserved.sockets[port] = socket
	}
	return err == nil
}

// release gives up a port that is not used. It needs reserved to be locked.
func release(port int) {
	_ = reserved.sockets[port].Close()
	delete(reserved.sockets, port)
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
