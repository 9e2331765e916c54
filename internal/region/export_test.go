package region

import (
	"net/http"

	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Handler is the front door without a network.
func (p *Process) Handler() http.Handler { return p.handler }

// Records is the store for whoever changes records.
func (p *Process) Records() service.Store { return p.records() }

// Raw is the store without the checks of Records.
func (p *Process) Raw() service.Store { return p.store }
