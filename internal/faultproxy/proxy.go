// Package faultproxy is a TCP proxy between two processes that makes the network
// between them fail on demand: for tests.
package faultproxy

import (
	"context"
	"net"
	"sync"
	"time"
)

// Options of a Proxy.
type Options struct {
	// Target is the host:port that connections are forwarded to. Nothing needs
	// to listen there yet.
	Target string
	// Listen is the host:port to listen on; default a free port of 127.0.0.1.
	Listen string
}

// Proxy forwards TCP connections and breaks them when told to. It starts healed.
// It is safe for concurrent use; a change takes effect at once, also for what is
// under way.
type Proxy struct {
	target   string
	listener net.Listener
	ctx      context.Context //nolint:containedctx // the proxy's life
	cancel   context.CancelFunc
	running  sync.WaitGroup
	// buffers are for reading into; those of whole chunks come back once delivered.
	buffers sync.Pool

	mu      sync.Mutex
	network network
	// changed is closed when network changes, and replaced.
	changed chan struct{}
	conns   map[net.Conn]struct{}
}

// network is how the network behaves.
type network struct {
	cut, hole bool
	delay     time.Duration
	rate      int
}

// Start starts a proxy. Close it after use.
func Start(o Options) (*Proxy, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	ctx, cancel := context.WithCancel(context.Background())
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		cancel()
		return nil, err
	}
	p := &Proxy{
		target: o.Target, listener: listener, ctx: ctx, cancel: cancel,
		changed: make(chan struct{}), conns: map[net.Conn]struct{}{},
	}
	p.running.Go(p.accept)
	return p, nil
}

// Address is the host:port to connect to.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Heal forwards as if the network were sound. What Blackhole held back is
// delivered; connections that Cut broke stay broken.
func (p *Proxy) Heal() { p.set(func(n *network) { *n = network{} }) }

// Cut breaks all connections, and every new one as soon as it is made, with a
// reset: each end learns of it.
func (p *Proxy) Cut() {
	p.set(func(n *network) { n.cut = true })
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// Blackhole delivers nothing any more in either direction, on new connections
// either, and tells no one.
func (p *Proxy) Blackhole() { p.set(func(n *network) { n.hole = true }) }

// Delay delivers what is sent after d, in either direction: a round trip takes
// twice that. It costs no throughput up to 32 MiB under way for each connection
// and direction. A connection is made without delay.
func (p *Proxy) Delay(d time.Duration) { p.set(func(n *network) { n.delay = d }) }

// Throttle delivers at most so many bytes a second for each connection and
// direction; 0 means no limit.
func (p *Proxy) Throttle(bytesPerSecond int) { p.set(func(n *network) { n.rate = bytesPerSecond }) }

// Close breaks all connections and stops listening.
func (p *Proxy) Close() error {
	p.Cut()
	p.cancel()
	err := p.listener.Close()
	p.running.Wait()
	return err
}

func (p *Proxy) set(change func(*network)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.network)
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) now() (network, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.network, p.changed
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.add(client) {
			reset(client)
			continue
		}
		p.running.Go(func() { p.connect(client) })
	}
}

// add keeps count of a connection unless the network is cut.
func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.network.cut {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) remove(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) connect(client net.Conn) {
	defer p.remove(client)
	var d net.Dialer
	server, err := d.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	defer p.remove(server)
	if !p.add(server) {
		reset(client)
		reset(server)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(server, client) })
	both.Go(func() { p.pump(client, server) })
	both.Wait()
	_ = client.Close()
	_ = server.Close()
}

// reset closes a connection so that the other end gets an error, not an end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
