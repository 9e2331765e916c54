package secret

import "slices"

// Request is a mutation of a secret that was asked for with a request token.
// Creations and puts are not among them: the secret and its versions remember
// those.
type Request struct {
	Token string
	// MAC is that of the mutation and its payload.
	MAC MAC
}

// Repeats reports whether the mutation was made before. A token that came with
// another mutation is CodeTokenReused.
func (s *Secret) Repeats(r Request) (bool, error) {
	if err := CheckRequestToken("request_token", r.Token); err != nil || r.Token == "" {
		return false, err
	}
	if i := slices.IndexFunc(s.Requests, func(prior Request) bool { return prior.Token == r.Token }); i >= 0 {
		if !s.Requests[i].MAC.Equal(r.MAC) {
			return false, TokenReused()
		}
		return true, nil
	}
	if r.Token == s.RequestToken || slices.ContainsFunc(s.Versions, func(v VersionInfo) bool { return v.RequestToken == r.Token }) {
		return false, TokenReused()
	}
	return false, nil
}

// Remember adds a mutation that was made now, in place of the oldest if
// MaxRequests are remembered.
func (s *Secret) Remember(r Request) {
	if r.Token == "" {
		return
	}
	s.Requests = append(s.Requests[max(0, len(s.Requests)+1-MaxRequests):], r)
}
