package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/region"
)

// serveRegion is a process of a region, as `lifeboat server` runs it.
func serveRegion(args []string) error {
	c, err := config.Load(args[0], os.LookupEnv)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	p, err := region.Start(ctx, region.Options{Config: c, Release: "bench", Logger: log})
	if err != nil {
		return err
	}
	fmt.Println(p.Address())
	ended := make(chan struct{})
	go func() { untilInputEnds(); close(ended) }()
	select {
	case <-ended:
		return p.Close()
	case err := <-p.Fatal():
		return errors.Join(err, p.Close())
	}
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
