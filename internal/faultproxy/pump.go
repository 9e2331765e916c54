package faultproxy

import (
	"net"
	"sync"
	"time"
)

const (
	chunkBytes = 32 << 10
	// chunksUnderWay bounds what a delayed connection holds; the sender waits
	// beyond that, as it would for a full window.
	chunksUnderWay = 256
	// throttleTick is the time for which a throttled connection pays at once.
	throttleTick = 20 * time.Millisecond
)

// chunk is some bytes on their way.
type chunk struct {
	bytes []byte
	at    time.Time
}

// pump delivers in one direction until an end fails or has said all.
func (p *Proxy) pump(to, from net.Conn) {
	chunks := make(chan chunk, chunksUnderWay)
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { read(from, chunks, done) })
	for c := range chunks {
		if !p.deliver(to, c) {
			// One direction that broke breaks the other.
			_ = to.Close()
			_ = from.Close()
			break
		}
	}
	close(done)
	reader.Wait()
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

func read(from net.Conn, chunks chan<- chunk, done <-chan struct{}) {
	defer close(chunks)
	for {
		buf := make([]byte, chunkBytes)
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case chunks <- chunk{buf[:n], time.Now()}:
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// deliver writes a chunk as the network allows. It returns false if it could not.
func (p *Proxy) deliver(to net.Conn, c chunk) bool {
	for len(c.bytes) > 0 {
		n, ok := p.pass(c)
		if !ok {
			return false
		}
		if _, err := to.Write(c.bytes[:n]); err != nil {
			return false
		}
		c.bytes = c.bytes[n:]
	}
	return true
}

// pass waits until the network delivers and returns how many bytes it takes.
func (p *Proxy) pass(c chunk) (n int, ok bool) {
	paid := time.Now()
	for {
		network, changed := p.now()
		var wait time.Duration
		switch n = len(c.bytes); {
		case network.cut:
			return 0, false
		case network.hole:
			wait = time.Hour
		default:
			wait = time.Until(c.at.Add(network.delay))
			if network.rate > 0 {
				n = min(n, max(1, int(int64(network.rate)*int64(throttleTick)/int64(time.Second))))
				due := paid.Add(time.Duration(int64(n) * int64(time.Second) / int64(network.rate)))
				wait = max(wait, time.Until(due))
			}
		}
		if wait <= 0 {
			return n, true
		}
		select {
		case <-p.ctx.Done():
			return 0, false
		case <-changed:
		case <-time.After(wait):
		}
	}
}
