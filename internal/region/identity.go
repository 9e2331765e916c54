package region

import (
	"context"
	"net/http"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/issuer"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// issuers is how a process gets keys of issuers.
type issuers struct {
	// keeper is nil without the role control.
	keeper *issuer.Keeper
	asks   *issuer.Asks
}

// newIssuers prepares for keys of issuers that are lacking: a control process
// fetches them, a host asks a control process to.
func (p *Process) newIssuers() {
	if !p.isControl() {
		p.keysOf.asks = issuer.NewAsks(nil)
		return
	}
	p.keysOf.keeper = issuer.NewKeeper(issuer.KeeperOptions{
		Region: p.config.Region.Name, View: p.synced, Logger: p.log.With("part", "issuers"), Now: p.clock,
		Refresh: func(ctx context.Context, account secret.AccountID, name string) error {
			return p.service.KeepIssuerKeys(ctx, account, name)
		},
	})
	p.keysOf.asks = p.keysOf.keeper.Asks
}

// digest makes and checks exchanged tokens.
func (p *Process) digest(ctx context.Context, view record.View, account secret.AccountID, domain string, parts ...[]byte) (secret.MAC, error) {
	return p.keyring.Digest(ctx, view, string(account), domain, parts...)
}

// startIssuers starts the fetching of keys, or the asking for them.
func (p *Process) startIssuers(ctx context.Context) error {
	if p.keysOf.keeper != nil {
		p.run(ctx, "asked keys of issuers", p.keysOf.keeper.RunAsks)
		p.run(ctx, "keys of issuers", func(ctx context.Context) error { return p.store.Hold(ctx, "issuers", p.keysOf.keeper.RunSchedule) })
		return nil
	}
	transport := p.peerTransport()
	p.onClose(func() error {
		transport.CloseIdleConnections()
		return nil
	})
	var clients []peerv1connect.IssuerServiceClient
	for _, address := range p.config.Control.Addresses {
		clients = append(clients, peerv1connect.NewIssuerServiceClient(&http.Client{Transport: transport}, "https://"+address))
	}
	p.run(ctx, "requests for keys of issuers", func(ctx context.Context) error {
		return p.keysOf.asks.Run(ctx, func(ctx context.Context, name issuer.Name) { p.requestKeys(ctx, clients, name) })
	})
	return nil
}

// requestTimeout bounds how long one control process is asked for.
const requestTimeout = 3 * time.Second

// requestKeys asks control processes to fetch keys until one takes the request.
func (p *Process) requestKeys(ctx context.Context, clients []peerv1connect.IssuerServiceClient, name issuer.Name) {
	for _, client := range clients {
		asking, cancel := context.WithTimeout(ctx, requestTimeout)
		_, err := client.RequestRefresh(asking, connect.NewRequest(&peerv1.RequestRefreshRequest{Account: string(name.Account), Issuer: name.Issuer}))
		cancel()
		if err == nil {
			return
		}
		p.log.Debug("control process cannot be asked for the keys of an issuer", "issuer", name.Issuer, "error", err)
	}
}

// issuerRequests serves hosts that lack keys.
type issuerRequests struct{ asks *issuer.Asks }

// RequestRefresh implements peerv1connect.IssuerServiceHandler.
func (i issuerRequests) RequestRefresh(_ context.Context, r *connect.Request[peerv1.RequestRefreshRequest]) (*connect.Response[peerv1.RequestRefreshResponse], error) {
	i.asks.Ask(secret.AccountID(r.Msg.GetAccount()), r.Msg.GetIssuer())
	return connect.NewResponse(&peerv1.RequestRefreshResponse{}), nil
}

// handleIssuers adds the requests of hosts to the peer listener.
func (p *Process) handleIssuers(mux *http.ServeMux) {
	if p.keysOf.keeper == nil {
		return
	}
	path, handler := peerv1connect.NewIssuerServiceHandler(issuerRequests{p.keysOf.asks})
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		if _, err := peerOf(r); err != nil {
			http.Error(w, "the peer is unknown", http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	})
}
