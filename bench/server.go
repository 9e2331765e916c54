package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/cli"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
)

// serveRegion runs `lifeboat server` with a configuration, in which it listens at
// the address.
func serveRegion(args []string) error {
	file, address := args[0], args[1]
	stopProfile, err := profile(strings.TrimSuffix(filepath.Base(file), ".yaml"))
	if err != nil {
		return err
	}
	defer stopProfile()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { untilInputEnds(); cancel() }()
	fmt.Println(address)
	status := cli.Main(ctx, []string{"server", "--config", file}, cli.Environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Release: "bench",
	})
	if status != 0 {
		return fmt.Errorf("lifeboat server ended with status %d", status)
	}
	return nil
}

// profileVariable tells a child where to write its profile.
const profileVariable = "LIFEBOAT_BENCH_PROFILE"

// profile takes the process's CPU and allocation profiles, if wanted, until stop
// is called.
func profile(name string) (stop func(), err error) {
	dir := os.Getenv(profileVariable)
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.prof", name, os.Getpid())))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
		if allocations, err := os.Create(strings.TrimSuffix(f.Name(), ".prof") + ".allocs"); err == nil {
			_ = pprof.Lookup("allocs").WriteTo(allocations, 0)
			_ = allocations.Close()
		}
	}, nil
}

// serveBare is what reads are compared with: a TLS server of the standard
// library that reads a request and answers as many bytes, with the same headers,
// as a region would. Its arguments are the certificate, the key, and for each
// content type the size of its answers.
func serveBare(args []string) error {
	cert, err := pki.NewReloader(pki.ReloaderOptions{CertFile: args[0], KeyFile: args[1]})
	if err != nil {
		return err
	}
	bodies := map[string][]byte{}
	for _, arg := range args[2:] {
		contentType, size, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		bodies[contentType] = make([]byte, n)
	}
	server := &http.Server{
		TLSConfig: pki.ServerTLS(cert), ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			contentType := r.Header.Get("Content-Type")
			body := bodies[contentType]
			h := w.Header()
			h["Content-Type"] = []string{contentType}
			h["Lifeboat-Request-Id"] = []string{"0123456789abc"}
			h["Cache-Control"] = []string{"no-store"}
			h["Content-Length"] = []string{strconv.Itoa(len(body))}
			_, _ = w.Write(body)
		}),
	}
	listener, err := listen()
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() { untilInputEnds(); _ = server.Close() }()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer writes a child's answer to a question.
func answer(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s\n", b)
	return err
}
