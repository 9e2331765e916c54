package native

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/generate"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// GenerateValue implements lifeboatv1connect.SecretServiceHandler.
func (h secretHandler) GenerateValue(ctx context.Context, req *connect.Request[lifeboatv1.GenerateValueRequest]) (*connect.Response[lifeboatv1.GenerateValueResponse], error) {
	public := ""
	value, err := h.Service.GenerateValue(ctx, func() (value secret.Plaintext, err error) {
		value, public, err = generateBy(req.Msg, "")
		return value, err
	})
	return reply(ctx, h.dialect, &lifeboatv1.GenerateValueResponse{Value: value.Reveal(), PublicKey: public}, err)
}

// generated returns what makes a value where it is stored; nil if a request does not
// ask for that.
func generated(m *lifeboatv1.GenerateValueRequest) *service.Generated {
	if m == nil {
		return nil
	}
	rule, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil { // it was decoded, so it can be encoded
		rule = nil
	}
	return &service.Generated{
		Rule: string(rule),
		Make: func() (secret.Plaintext, string, error) { return generateBy(m, "generate.") },
	}
}

// generateBy makes a value, and of a key pair the public key. Errors name fields
// below prefix.
func generateBy(m *lifeboatv1.GenerateValueRequest, prefix string) (value secret.Plaintext, public string, err error) {
	switch rule := m.GetRule().(type) {
	case *lifeboatv1.GenerateValueRequest_Bytes:
		value, err = generate.Bytes(int(rule.Bytes))
		return value, "", renamed(err, "", prefix)
	case *lifeboatv1.GenerateValueRequest_Password:
		p := rule.Password
		value, err = generate.Password(generate.Rules{
			Length: int(p.GetLength()), ExcludeCharacters: p.GetExcludeCharacters(), ExcludeLowercase: p.GetExcludeLowercase(),
			ExcludeUppercase: p.GetExcludeUppercase(), ExcludeDigits: p.GetExcludeDigits(),
			ExcludePunctuation: p.GetExcludePunctuation(), IncludeSpace: p.GetIncludeSpace(), AllowMissingKinds: p.GetAllowMissingKinds(),
		})
		return value, "", renamed(err, "", prefix+"password.")
	case *lifeboatv1.GenerateValueRequest_SshKey:
		k := rule.SshKey
		value, public, err = generate.SSHKey(generate.SSHRules{Type: k.GetType(), Bits: int(k.GetBits()), Comment: k.GetComment()})
		return value, public, renamed(err, "", prefix+"ssh_key.")
	case *lifeboatv1.GenerateValueRequest_Passphrase:
		p := rule.Passphrase
		value, err = generate.Passphrase(generate.PassphraseRules{Words: int(p.GetWords()), Separator: p.GetSeparator()})
		return value, "", renamed(err, "", prefix+"passphrase.")
	}
	return secret.Plaintext{}, "", secret.Invalid(prefix+"rule", "give one of password, bytes, ssh_key and passphrase")
}
