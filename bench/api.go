package main

import (
	"net/http"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
)

// api are the clients of a front door.
type api struct {
	caFile string
	http   *http.Client

	accounts lifeboatv1connect.AccountServiceClient
	vaults   lifeboatv1connect.VaultServiceClient
	secrets  lifeboatv1connect.SecretServiceClient
}

func newAPI(caFile, address string) (*api, error) {
	tlsConfig, err := pki.ClientTLS(caFile)
	if err != nil {
		return nil, err
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true}}
	url := "https://" + address
	return &api{
		caFile: caFile, http: h,
		accounts: lifeboatv1connect.NewAccountServiceClient(h, url),
		vaults:   lifeboatv1connect.NewVaultServiceClient(h, url),
		secrets:  lifeboatv1connect.NewSecretServiceClient(h, url),
	}, nil
}

func auth[T any](token string, m *T) *connect.Request[T] {
	r := connect.NewRequest(m)
	r.Header().Set("Authorization", "Bearer "+token)
	return r
}
