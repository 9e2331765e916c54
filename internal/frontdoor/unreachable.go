package frontdoor

import (
	"io"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func readAll(r *http.Request) ([]byte, error) {
	defer func() { _ = r.Body.Close() }()
	return io.ReadAll(r.Body)
}

// unreachable answers a mutation that no control process answered; one may have
// carried it out if it was sent.
func (h *Handler) unreachable(x *exchange, r *http.Request, sent bool) {
	if sent {
		h.refuse(x, r, secret.Errorf(secret.CodeOutcomeUnknown, "the control process broke off before it answered; what was asked may have been done").
			WithHint("repeat the request with the same request token, or read to find out"))
		return
	}
	h.refuse(x, r, secret.Errorf(secret.CodeUnavailable, "no control process can be reached, so nothing can be changed now"))
}

// refuse audits and answers a request that reaches no use case, in the protocol
// it came in.
func (h *Handler) refuse(x *exchange, r *http.Request, err error) {
	action := lastElement(r.URL.Path)
	if h.Protocol != nil {
		action = x.action
	}
	if auditErr := h.Service.Refuse(&x.request, action, secret.CodeOf(err)); auditErr != nil {
		err = auditErr
	}
	if h.Protocol != nil {
		h.Protocol.WriteError(x, r, err)
		return
	}
	writer := connect.NewErrorWriter()
	if writer.IsSupported(r) {
		_ = writer.Write(x, r, h.NativeError(r.Context(), err))
		return
	}
	http.Error(x, string(secret.CodeOf(err)), StatusOf(err).HTTP)
}

func lastElement(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
