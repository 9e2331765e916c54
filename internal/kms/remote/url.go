package remote

import (
	"net"
	"net/url"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// CheckURL returns a secret.CodeInvalid error for field unless address is where a
// key service may be: https, or http on the loopback, without a user, a query or
// a fragment.
func CheckURL(field, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return secret.Invalid(field, "is not a URL like https://keys.example:8200")
	}
	if host := u.Hostname(); u.Scheme == "http" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return secret.Invalid(field, "is http; only https may leave the machine")
	}
	return nil
}
