package store_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

func TestEmbeddedKeepsItsDataAcrossARestart(t *testing.T) {
	t.Parallel()
	o := store.EmbeddedOptions{Dir: t.TempDir()}
	e := startUnowned(t, o)
	revision := mustCommit(t, open(t, e.Client()), put("a", "1", 0))
	closeServer(t, e)
	closeServer(t, e) // a second time does nothing
	s := open(t, start(t, o).Client())
	if r := mustGet(t, s, "a"); string(r.Value) != "1" || r.Revision != revision {
		t.Errorf("after the restart: %+v", r)
	}
	follow(t, s, revision-1).reach(t, revision)
	h := s.Health(context.Background())
	if h.Err != nil || h.Revision != revision || h.NoSpace || h.Corrupt || len(h.Members) != 1 {
		t.Fatalf("health: %+v", h)
	}
	m := h.Members[0]
	if m.Err != nil || !m.Leader || !m.HasLeader || m.Learner || m.Version == "" || m.DatabaseBytes == 0 ||
		m.InUseBytes == 0 || m.QuotaBytes != store.DefaultQuotaBytes {
		t.Errorf("member: %+v", m)
	}
}

func TestEmbeddedRefusesBadOptions(t *testing.T) {
	t.Parallel()
	good := store.EmbeddedOptions{Name: "one", Dir: t.TempDir()}
	for field, change := range map[string]func(*store.EmbeddedOptions){
		"name":           func(o *store.EmbeddedOptions) { o.Name = "a=b" },
		"dir":            func(o *store.EmbeddedOptions) { o.Dir = "" },
		"quotaBytes":     func(o *store.EmbeddedOptions) { o.QuotaBytes = -1 },
		"listenClient":   func(o *store.EmbeddedOptions) { o.ListenClient = "2379" },
		"clientTLS":      func(o *store.EmbeddedOptions) { o.ListenClient = "192.0.2.1:2379" },
		"peerTLS":        func(o *store.EmbeddedOptions) { o.PeerTLS.Cert = "cert.pem" },
		"listenPeer":     func(o *store.EmbeddedOptions) { o.InitialCluster = map[string]string{"one": "h:1", "two": "h:2"} },
		"initialCluster": func(o *store.EmbeddedOptions) { o.InitialCluster = map[string]string{"two": "h:1"} },
	} {
		o := good
		change(&o)
		_, err := store.StartEmbedded(context.Background(), o)
		wantCode(t, err, secret.CodeInvalid)
		if !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

func TestEmbeddedThatCannotStart(t *testing.T) {
	t.Parallel()
	try := func(o store.EmbeddedOptions) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		o.Name, o.UnsafeNoFsync = "one", true
		e, err := store.StartEmbedded(ctx, o)
		if err == nil {
			closeServer(t, e)
		}
		return err
	}
	t.Run("directory in use", func(t *testing.T) {
		o := store.EmbeddedOptions{Dir: t.TempDir()}
		start(t, o)
		wantCode(t, try(o), secret.CodeUnavailable)
	})
	t.Run("address in use", func(t *testing.T) {
		l, err := net.Listen("tcp", freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		o := store.EmbeddedOptions{Dir: t.TempDir(), ListenClient: l.Addr().String()}
		wantCode(t, try(o), secret.CodeUnavailable)
		l.Close()
		if err := try(o); err != nil { // the failure left nothing behind
			t.Error(err)
		}
	})
	t.Run("no majority in time", func(t *testing.T) {
		members := map[string]string{"one": freeAddress(t), "two": freeAddress(t), "three": freeAddress(t)}
		ctx, cancel := context.WithTimeout(context.Background(), 10*heartbeat)
		defer cancel()
		_, err := store.StartEmbedded(ctx, store.EmbeddedOptions{
			Name: "one", Dir: t.TempDir(), ListenPeer: members["one"], InitialCluster: members, UnsafeNoFsync: true,
		})
		wantCode(t, err, secret.CodeUnavailable)
	})
	t.Run("directory is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		wantCode(t, try(store.EmbeddedOptions{Dir: file}), secret.CodeInvalid)
	})
	t.Run("no such certificate", func(t *testing.T) {
		files := store.TLSFiles{Cert: "no", Key: "no", CA: "no"}
		wantCode(t, try(store.EmbeddedOptions{Dir: t.TempDir(), ListenClient: freeAddress(t), ClientTLS: files}), secret.CodeInvalid)
	})
	t.Run("damaged data", func(t *testing.T) {
		o := store.EmbeddedOptions{Dir: t.TempDir()}
		closeServer(t, startUnowned(t, o))
		wals, err := filepath.Glob(filepath.Join(o.Dir, "member", "wal", "*.wal"))
		if err != nil || len(wals) == 0 {
			t.Fatal("no log to damage", err)
		}
		data, err := os.ReadFile(wals[0])
		if err != nil {
			t.Fatal(err)
		}
		for i := range 64 {
			data[40+i] ^= 0xff
		}
		if err := os.WriteFile(wals[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
		wantCode(t, try(o), secret.CodeCorrupt)
	})
}

func TestEmbeddedIsQuiet(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	address := freeAddress(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := store.StartEmbedded(ctx, store.EmbeddedOptions{
		Name: "one", Dir: filepath.Join(t.TempDir(), "data"), ListenClient: address, UnsafeNoFsync: true,
		Logger: slog.New(slog.NewTextHandler(&said, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := dialPlain(t, address)
	revision := mustCommit(t, s, put("a", "1", 0))
	follow(t, s, revision-1).reach(t, revision)
	closeServer(t, e)
	if said.Len() > 0 {
		t.Errorf("a life without incidents was reported:\n%s", said.String())
	}
}

func TestAServerThatStopsByItselfIsNoticed(t *testing.T) {
	t.Parallel()
	e := startUnowned(t, store.EmbeddedOptions{Dir: t.TempDir()})
	select {
	case <-e.Done():
		t.Fatal("done while it runs")
	default:
	}
	e.StopServer()
	<-e.Done()
	closeServer(t, e)
}
