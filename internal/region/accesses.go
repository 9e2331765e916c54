package region

import (
	"context"
	"net/http"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// flushEvery is how often it is told which secrets were read. With the bound of one
	// message that is a thousand secrets a second and process, when a day begins.
	flushEvery = 2 * time.Second
	// lastFlush bounds what a process that stops waits for it.
	lastFlush = 500 * time.Millisecond
)

// startAccesses has it noted which secrets are read here, in batches behind the reads.
func (p *Process) startAccesses(ctx context.Context) error {
	deliver := p.service.NoteAccesses
	if !p.isControl() {
		transport := p.peerTransport()
		p.onClose(func() error {
			transport.CloseIdleConnections()
			return nil
		})
		var clients []peerv1connect.AccessServiceClient
		for _, address := range p.config.Control.Addresses {
			clients = append(clients, peerv1connect.NewAccessServiceClient(&http.Client{Transport: transport}, "https://"+address))
		}
		deliver = func(ctx context.Context, all []service.Access) error { return tellAccesses(ctx, clients, all) }
	}
	p.run(ctx, "accesses", func(ctx context.Context) error { return p.flushAccesses(ctx, deliver) })
	return nil
}

// flushAccesses delivers until ctx ends, and then what is left.
func (p *Process) flushAccesses(ctx context.Context, deliver func(context.Context, []service.Access) error) error {
	flush := func(ctx context.Context) {
		if _, err := p.service.FlushAccesses(ctx, deliver); err != nil && ctx.Err() == nil {
			p.log.Debug("it cannot be noted now which secrets were read; it will", "error", err)
		}
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			flush(ctx)
		case <-ctx.Done():
			if !p.killed.Load() {
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
				defer cancel()
				flush(last)
			}
			return ctx.Err()
		}
	}
}

// tellAccesses tells one control process after the other, until one has noted it.
func tellAccesses(ctx context.Context, clients []peerv1connect.AccessServiceClient, all []service.Access) error {
	request := &peerv1.NoteAccessesRequest{}
	for _, a := range all {
		request.Accesses = append(request.Accesses, &peerv1.Access{Secret: string(a.Secret), Version: string(a.Version), Day: a.Day})
	}
	err := error(secret.Errorf(secret.CodeUnavailable, "there is no control process to be told"))
	for _, client := range clients {
		asking, cancel := context.WithTimeout(ctx, requestTimeout)
		_, err = client.NoteAccesses(asking, connect.NewRequest(request))
		cancel()
		if err == nil {
			break
		}
	}
	return err
}

// accessesOf serves hosts that tell what was read.
type accessesOf struct{ service *service.Service }

// NoteAccesses implements peerv1connect.AccessServiceHandler.
func (s accessesOf) NoteAccesses(ctx context.Context, r *connect.Request[peerv1.NoteAccessesRequest]) (*connect.Response[peerv1.NoteAccessesResponse], error) {
	all := make([]service.Access, len(r.Msg.GetAccesses()))
	for i, a := range r.Msg.GetAccesses() {
		all[i] = service.Access{Secret: secret.ID(a.GetSecret()), Version: secret.VersionID(a.GetVersion()), Day: a.GetDay()}
	}
	if err := s.service.NoteAccesses(ctx, all); err != nil {
		return nil, connect.NewError(nativeCode(err), err)
	}
	return connect.NewResponse(&peerv1.NoteAccessesResponse{}), nil
}

// handleAccesses adds what hosts tell to the peer listener.
func (p *Process) handleAccesses(mux *http.ServeMux) {
	if !p.isControl() {
		return
	}
	path, handler := peerv1connect.NewAccessServiceHandler(accessesOf{p.service})
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		if _, err := peerOf(r); err != nil {
			http.Error(w, "the peer is unknown", http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	})
}
