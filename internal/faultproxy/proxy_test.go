package faultproxy_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo starts a server that sends back what it gets.
func echo(t testing.TB) string {
	t.Helper()
	return serve(t, func(c net.Conn) {
		_, _ = io.Copy(c, c)
		_ = c.(*net.TCPConn).CloseWrite()
	})
}

func serve(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

// sink starts a server that answers a byte whenever it gets one that is not zero.
func sink(t testing.TB) string {
	t.Helper()
	return serve(t, func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if n > 0 && buf[n-1] != 0 {
				_, err = c.Write(buf[n-1 : n])
			}
			if err != nil {
				return
			}
		}
	})
}

func start(t testing.TB, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(faultproxy.Options{Target: target})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func dial(t testing.TB, p *faultproxy.Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func say(t *testing.T, c net.Conn, word string) {
	t.Helper()
	if _, err := c.Write([]byte(word)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, word string) {
	t.Helper()
	got := make([]byte, len(word))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != word {
		t.Fatalf("heard %q, %v; want %q", got, err, word)
	}
}

// silent waits a moment for anything to come, and fails if it does.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want none", n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func TestForwardsWholeStreamsAndHalfCloses(t *testing.T) {
	p := start(t, echo(t))
	sent := make([]byte, 1<<20)
	_, _ = rand.Read(sent)
	var clients sync.WaitGroup
	for range 4 {
		c := dial(t, p)
		clients.Go(func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite()
		})
		clients.Go(func() {
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("got %d bytes, %v; want the %d that were sent", len(got), err, len(sent))
			}
		})
	}
	clients.Wait()
}

func TestCutBreaksConnectionsOldAndNew(t *testing.T) {
	p := start(t, echo(t))
	c := dial(t, p)
	say(t, c, "before")
	hear(t, c, "before")
	p.Cut()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("a cut connection ended with %v, want a reset", err)
	}
	fresh, err := net.Dial("tcp", p.Address())
	if err == nil {
		defer fresh.Close()
		if _, err = fresh.Read(make([]byte, 1)); err == nil {
			t.Fatal("a new connection through a cut network delivered something")
		}
	}
	p.Heal()
	c = dial(t, p)
	say(t, c, "after")
	hear(t, c, "after")
}

func TestBlackholeHoldsBackAndHealDelivers(t *testing.T) {
	p := start(t, echo(t))
	c := dial(t, p)
	say(t, c, "a")
	hear(t, c, "a")
	p.Blackhole()
	say(t, c, "b")
	fresh := dial(t, p)
	say(t, fresh, "c")
	silent(t, c)
	silent(t, fresh)
	p.Heal()
	hear(t, c, "b")
	hear(t, fresh, "c")
}

func TestDelayAndThrottle(t *testing.T) {
	p := start(t, echo(t))
	c := dial(t, p)
	p.Delay(20 * time.Millisecond)
	begin := time.Now()
	say(t, c, "x")
	hear(t, c, "x")
	if took := time.Since(begin); took < 40*time.Millisecond {
		t.Fatalf("there and back took %s with 20ms of delay each way", took)
	}
	p.Heal()
	p.Throttle(100_000)
	begin = time.Now()
	block := string(make([]byte, 5000))
	say(t, c, block)
	hear(t, c, block)
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Fatalf("5 KB took %s at 100 KB/s", took)
	}
	p.Throttle(1)
	say(t, c, block)
	p.Heal() // also lets go what waits already
	hear(t, c, block)
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c, err := net.Dial("tcp", start(t, l.Addr().String()).Address())
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil {
		t.Fatal("read something from nobody")
	}
}
