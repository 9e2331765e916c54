package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
)

const (
	protoType = "application/proto"
	jsonType  = "application/json"
)

// readBodies returns requests for secrets of a region of n, at most 10,000
// different ones spread evenly.
func readBodies(n int, marshal func(proto.Message) ([]byte, error)) ([][]byte, error) {
	count := min(n, 10_000)
	bodies := make([][]byte, count)
	var err error
	for i := range bodies {
		m := &lifeboatv1.GetSecretValueRequest{Vault: vaultName, Secret: secretName(i * (n / count))}
		if bodies[i], err = marshal(m); err != nil {
			return nil, err
		}
	}
	return bodies, nil
}

// readLoad reads values from a server of the region.
func (c *cluster) readLoad(server *child, n int, contentType string, http2 bool) (*load, error) {
	marshal := proto.Marshal
	if contentType == jsonType {
		marshal = protojson.Marshal
	}
	bodies, err := readBodies(n, marshal)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {contentType}, "Authorization": {"Bearer " + c.token}, "Connect-Protocol-Version": {"1"}}
	return newLoad(server, c.path("ca.pem"), http2, header, anyOf(lifeboatv1connect.SecretServiceGetSecretValueProcedure, bodies))
}

// comparison is a kind of request measured on a data-plane host and on the bare
// server in turn.
type comparison struct {
	name        string
	contentType string
	http2       bool

	host, bare   *load
	hostR, bareR []rates
}

func (c *comparison) round(ctx context.Context, b *bench) error {
	for _, side := range []struct {
		load  *load
		rates *[]rates
	}{{c.host, &c.hostR}, {c.bare, &c.bareR}} {
		r, err := side.load.run(ctx, b.round)
		if err != nil {
			return err
		}
		*side.rates = append(*side.rates, r)
	}
	return nil
}

// measureReads compares reading values of 1 KiB, with token, policies and audit,
// with a TLS server that does nothing.
func measureReads(ctx context.Context, b *bench) (err error) {
	c, err := b.region(ctx, spread, small)
	if err != nil {
		return err
	}
	comparisons := []*comparison{
		{name: "read", contentType: protoType},
		{name: "read_json", contentType: jsonType},
		{name: "read_http2", contentType: protoType, http2: true},
	}
	bare, err := c.startBare(ctx, comparisons)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.stop()) }()
	for round := range b.rounds {
		for _, m := range comparisons {
			if err := m.round(ctx, b); err != nil {
				return err
			}
			if round == b.rounds/2 && m.name == "read" {
				b.report.add("read_p50_ms", "ms", percentile(m.host.latencies, 50))
				b.report.add("read_p99_ms", "ms", percentile(m.host.latencies, 99))
			}
		}
	}
	for _, m := range comparisons {
		b.reportReads(m)
		m.host.close()
		m.bare.close()
	}
	return nil
}

// startBare starts the bare server with answers of the size that a host gives,
// and sets up the loads on both.
func (c *cluster) startBare(ctx context.Context, comparisons []*comparison) (*child, error) {
	args := []string{c.path("server.pem"), c.path("server-key.pem")}
	for _, m := range comparisons {
		var err error
		if m.host, err = c.readLoad(c.hosts[0], small, m.contentType, m.http2); err != nil {
			return nil, err
		}
		size, err := m.host.once(ctx, 0)
		if err != nil {
			return nil, err
		}
		args = append(args, fmt.Sprintf("%s=%d", m.contentType, size))
	}
	bare, err := spawn(ctx, "bare", args...)
	if err != nil {
		return nil, err
	}
	for _, m := range comparisons {
		if m.bare, err = newLoad(bare, c.path("ca.pem"), m.http2, m.host.header, m.host.next); err != nil {
			return nil, errors.Join(err, bare.stop())
		}
	}
	return bare, nil
}

func (b *bench) reportReads(m *comparison) {
	var ratio, perCPU, perSecond, barePerCPU []float64
	for i := range m.hostR {
		ratio = append(ratio, m.hostR[i].perCPUSecond/m.bareR[i].perCPUSecond)
		perCPU = append(perCPU, m.hostR[i].perCPUSecond)
		perSecond = append(perSecond, m.hostR[i].perSecond)
		barePerCPU = append(barePerCPU, m.bareR[i].perCPUSecond)
	}
	b.report.add(m.name+"_vs_bare_cpu_ratio", "", ratio...)
	b.report.add(m.name+"_per_cpu_second", "1/s", perCPU...)
	b.report.add(m.name+"_per_second", "1/s", perSecond...)
	b.report.add(m.name+"_bare_per_cpu_second", "1/s", barePerCPU...)
}
