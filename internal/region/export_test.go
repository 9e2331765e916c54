package region

import "net/http"

// Handler is the front door without a network.
func (p *Process) Handler() http.Handler { return p.handler }
