package region

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	actionSupportBundle = "OperatorSupportBundle"
	// partTimeout bounds the collection of one part that waits for something that is
	// away.
	partTimeout = 2 * time.Second
)

// bundlePart is one file of a support bundle. Its writer returns what it could not
// find out; that is put in its place, and the other parts go on.
type bundlePart struct {
	name  string
	write func(ctx context.Context, w io.Writer) error
}

// bundleParts are what a support bundle holds: how the process is configured, how
// it is, and what it did last. None of them holds a value, a key, a credential or
// the name of a secret.
func (p *Process) bundleParts() []bundlePart {
	return []bundlePart{
		{"about.json", p.writeAbout},
		{"config.yaml", func(_ context.Context, w io.Writer) error {
			data, err := p.config.Redacted()
			_, _ = w.Write(data)
			return err
		}},
		{"health.json", func(ctx context.Context, w io.Writer) error { return writeJSON(w, p.health(ctx)) }},
		{"status.json", p.writeStatus},
		{"metrics.txt", p.writeMetrics},
		{"goroutines.txt", func(_ context.Context, w io.Writer) error { return pprof.Lookup("goroutine").WriteTo(w, 1) }},
		{"log.txt", p.writeLog},
		{"local-store.json", func(_ context.Context, w io.Writer) error { return writeJSON(w, p.describeLocalStore()) }},
		{"store.json", p.writeStoreHealth},
		{"files.txt", p.writeFiles},
	}
}

func (b bundlePart) collect(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	return b.write(ctx, w)
}

// writeBundle collects a support bundle, a compressed tar archive.
func (p *Process) writeBundle(ctx context.Context, w io.Writer) error {
	zip := gzip.NewWriter(w)
	archive := tar.NewWriter(zip)
	now := time.Now()
	dir := fmt.Sprintf("lifeboat-%s-%s-%s/", p.config.Region.Name, p.config.Process.ID, now.UTC().Format("20060102T150405Z"))
	for _, part := range p.bundleParts() {
		var b bytes.Buffer
		if err := part.collect(ctx, &b); err != nil {
			fmt.Fprintf(&b, "\nnot complete: %v\n", err)
		}
		header := &tar.Header{Name: dir + part.name, Mode: 0o600, Size: int64(b.Len()), ModTime: now}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(b.Bytes()); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), zip.Close())
}

// answerSupportBundle sends a bundle. It is audited, but sent also if the audit log
// takes no lines, which may be what is to be found out.
func (p *Process) answerSupportBundle(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	var b bytes.Buffer
	err := p.writeBundle(r.Context(), &b)
	if auditErr := p.auditOperator(actionSupportBundle, start, string(p.local.Position().Incarnation), err); auditErr != nil && err == nil {
		p.log.Warn("a support bundle is sent that could not be audited", "error", auditErr)
	}
	if err != nil {
		answerJSON(w, nil, err)
		return
	}
	p.log.Info("support bundle made", "bytes", b.Len())
	w.Header().Set("Content-Type", "application/gzip")
	_, _ = w.Write(b.Bytes())
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func (p *Process) writeAbout(_ context.Context, w io.Writer) error {
	about := map[string]any{
		"made_at": time.Now().UTC(), "started_at": p.startedAt.UTC(), "release": p.release, "region": p.config.Region.Name,
		"process": p.config.Process.ID, "roles": p.config.Process.Roles, "go": runtime.Version(),
		"platform": runtime.GOOS + "/" + runtime.GOARCH, "processors": runtime.GOMAXPROCS(0),
	}
	modules := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			modules[m.Path] = m.Version
		}
	}
	about["modules"] = modules
	return writeJSON(w, about)
}

func (p *Process) writeStatus(ctx context.Context, w io.Writer) error {
	status, err := operations{p}.Status(ctx)
	if err != nil {
		return err
	}
	data, err := protojson.MarshalOptions{Multiline: true, EmitDefaultValues: true}.Marshal(status)
	_, _ = w.Write(data)
	return err
}

func (p *Process) writeMetrics(_ context.Context, w io.Writer) error {
	families, err := p.registry().Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(w, family); err != nil {
			return err
		}
	}
	return nil
}

func (p *Process) writeLog(_ context.Context, w io.Writer) error {
	lines, dropped := p.recent.Lines()
	if dropped > 0 {
		fmt.Fprintf(w, "(%d older lines are gone)\n", dropped)
	}
	_, err := w.Write(lines)
	return err
}

// describeLocalStore says where the local store stands and what it could not apply.
func (p *Process) describeLocalStore() any {
	position := p.local.Position()
	failure := ""
	if position.Err != nil {
		failure = position.Err.Error()
	}
	type quarantined struct {
		Record   string `json:"record"`
		Revision int64  `json:"revision"`
		Reason   string `json:"reason"`
	}
	var list []quarantined
	for _, q := range p.local.Quarantined() {
		list = append(list, quarantined{string(q.Record), q.Revision, q.Reason})
	}
	position.Err = nil
	return map[string]any{"position": position, "following_failed": failure, "quarantined": list}
}

func (p *Process) writeStoreHealth(ctx context.Context, w io.Writer) error {
	shard, err := p.store.get()
	if err != nil {
		return err
	}
	h := shard.Health(ctx)
	type member struct {
		Endpoint, Version, Error              string
		HasLeader, Leader, Learner            bool
		Revision                              int64
		DatabaseBytes, InUseBytes, QuotaBytes int64
	}
	members := make([]member, 0, len(h.Members))
	for _, m := range h.Members {
		members = append(members, member{
			m.Endpoint, m.Version, text(m.Err), m.HasLeader, m.Leader, m.Learner, m.Revision, m.DatabaseBytes, m.InUseBytes, m.QuotaBytes,
		})
	}
	return writeJSON(w, map[string]any{
		"revision": h.Revision, "error": text(h.Err), "no_space": h.NoSpace, "corrupt": h.Corrupt, "members": members,
		"maintenance": shard.MaintenanceStats(),
	})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// writeFiles lists the files of the data directory, which shows what was moved
// aside and what takes up space; none is read.
func (p *Process) writeFiles(_ context.Context, w io.Writer) error {
	root := p.config.Process.DataDir
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprintf(w, "%v\n", err)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // it is gone meanwhile
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s %12d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), name)
		return err
	})
}
