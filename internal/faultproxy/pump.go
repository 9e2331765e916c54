package faultproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	readBytes = 64 << 10
	// bytesUnderWay bounds what a delayed connection holds; the sender waits
	// beyond that, as it would for a full window. So much carries 300 MB/s over a
	// delay of 100 ms.
	bytesUnderWay = 32 << 20
	// chunksUnderWay bounds the pieces that those bytes may be in.
	chunksUnderWay = 8 << 10
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
	room := semaphore.NewWeighted(bytesUnderWay)
	ctx, cancel := context.WithCancel(p.ctx)
	var reader sync.WaitGroup
	saidAll := false
	reader.Go(func() { saidAll = p.read(ctx, from, chunks, room) })
	for c := range chunks {
		size := len(c.bytes)
		if !p.deliver(to, c) {
			reset(from) // one direction that broke breaks the other
			break
		}
		room.Release(int64(size))
		if size == readBytes {
			p.buffers.Put((*[readBytes]byte)(c.bytes))
		}
	}
	cancel()
	reader.Wait()
	if tcp, ok := to.(*net.TCPConn); ok && saidAll {
		_ = tcp.CloseWrite()
	} else {
		reset(to)
	}
}

// read reads ahead of what is delivered, so that a delay costs time and not
// throughput. A piece that is small gets memory of its size. It reports whether from
// has said all, and was not broken.
func (p *Proxy) read(ctx context.Context, from net.Conn, chunks chan<- chunk, room *semaphore.Weighted) (saidAll bool) {
	defer close(chunks)
	for {
		buf, ok := p.buffers.Get().(*[readBytes]byte)
		if !ok {
			buf = new([readBytes]byte)
		}
		n, err := from.Read(buf[:])
		if n > 0 {
			c := chunk{buf[:n], time.Now()}
			if n < readBytes {
				c.bytes = append([]byte(nil), c.bytes...)
				p.buffers.Put(buf)
			}
			if room.Acquire(ctx, int64(n)) != nil {
				return false
			}
			select {
			case chunks <- c:
			case <-ctx.Done():
				return false
			}
		}
		if err != nil {
			return errors.Is(err, io.EOF)
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
