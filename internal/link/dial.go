package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// dialTimeout bounds one attempt, the handshake included.
	dialTimeout = 3 * time.Second
	// nextAfter is how long an attempt may take before the next address is tried
	// beside it.
	nextAfter = 300 * time.Millisecond
)

// dialer connects with one peer and knows the connections that are open.
type dialer struct {
	addresses []string
	tls       *tls.Config
	life      context.Context //nolint:containedctx // that of the links: nothing is dialled after it
	attempts  sync.WaitGroup

	mu    sync.Mutex
	first int // address to try first: the one that answered last
	open  map[*conn]struct{}
	// closed is set when nothing is to be connected any more.
	closed bool
}

// conn is a connection below TLS; it is open until it is closed.
type conn struct {
	net.Conn
	dialer *dialer
	tls    *tls.Conn
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

// attempt is how trying an address ended.
type attempt struct {
	index int
	conn  *conn
	err   error
}

// dial connects with the first address that answers. The addresses are tried in
// turn, the next one also when the one before takes long, so that a dead address
// costs little.
func (d *dialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()
	results := make(chan attempt)
	next := time.NewTimer(0)
	defer next.Stop()
	var errs []error
	for started := 0; len(errs) < len(d.addresses); {
		select {
		case <-next.C:
			if started < len(d.addresses) {
				d.start(ctx, d.turn(started), results)
				started++
				next.Reset(nextAfter)
			}
		case a := <-results:
			if a.err == nil && d.opened(a) {
				return a.conn.tls, nil
			}
			if a.err == nil {
				a.err = net.ErrClosed
			}
			errs = append(errs, fmt.Errorf("%s: %w", d.addresses[a.index], a.err))
			next.Reset(0)
		case <-ctx.Done():
			errs = append(errs, ctx.Err())
			return nil, notReached(errs)
		}
	}
	return nil, notReached(errs)
}

func notReached(errs []error) error {
	return secret.Wrap(secret.CodeUnavailable, errors.Join(errs...), "no address of the region answers")
}

// turn returns the index of the address to try as number n.
func (d *dialer) turn(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return (d.first + n) % len(d.addresses)
}

// start tries an address. Its result is lost, and the connection closed, once ctx
// has ended.
func (d *dialer) start(ctx context.Context, index int, results chan<- attempt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return // ctx has ended, or is about to
	}
	d.attempts.Go(func() {
		c, err := d.connect(ctx, d.addresses[index])
		select {
		case results <- attempt{index, c, err}:
		case <-ctx.Done():
			if err == nil {
				_ = c.Close()
			}
		}
	})
}

func (d *dialer) connect(ctx context.Context, address string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var network net.Dialer
	raw, err := network.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, dialer: d}
	c.tls = tls.Client(c, d.tls)
	if err := c.tls.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// opened takes note of a connection. It returns false, and closes it, if none is
// wanted any more.
func (d *dialer) opened(a attempt) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = a.conn.Conn.Close()
		return false
	}
	d.first = a.index
	d.open[a.conn] = struct{}{}
	return true
}

// preferred is the address that answered last.
func (d *dialer) preferred() string {
	return d.addresses[d.turn(0)]
}

// passOver has the next connection tried at another address first.
func (d *dialer) passOver() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first = (d.first + 1) % len(d.addresses)
}

// closeIf closes the open connections of which bad says so. Requests on them fail
// or are sent again.
func (d *dialer) closeIf(bad func(*tls.ConnectionState) bool) {
	d.mu.Lock()
	open := make([]*conn, 0, len(d.open))
	for c := range d.open {
		open = append(open, c)
	}
	d.mu.Unlock()
	for _, c := range open {
		state := c.tls.ConnectionState()
		if bad(&state) {
			_ = c.Close()
		}
	}
}

func (d *dialer) closeAll() { d.closeIf(func(*tls.ConnectionState) bool { return true }) }

// close closes all connections, once and for all. The dialer's life must be over.
func (d *dialer) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.closeAll()
	d.attempts.Wait()
}
