package behaviour_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/lifeboattest"
)

const canary = "canary-7f3a9e"

// methods are all unary methods of the API, as SERVICE/METHOD.
func methods() map[string]protoreflect.MethodDescriptor {
	all := map[string]protoreflect.MethodDescriptor{}
	for _, file := range []protoreflect.FileDescriptor{
		lifeboatv1.File_lifeboat_v1_secret_proto, lifeboatv1.File_lifeboat_v1_vault_proto,
		lifeboatv1.File_lifeboat_v1_account_proto, lifeboatv1.File_lifeboat_v1_operator_proto,
	} {
		for i := range file.Services().Len() {
			s := file.Services().Get(i)
			for j := range s.Methods().Len() {
				if m := s.Methods().Get(j); !m.IsStreamingServer() {
					all[string(s.Name())+"/"+string(m.Name())] = m
				}
			}
		}
	}
	return all
}

// state is all that bad input must leave as it is.
func state(t *testing.T, a *lifeboattest.Account) string {
	t.Helper()
	status := func() *lifeboatv1.GetStatusResponse {
		return do(t, shared.Operator().GetStatus, &lifeboatv1.GetStatusRequest{})
	}
	var revision int64
	eventually(t, "nothing is under way", func() bool {
		now := status()
		revision = now.GetStoreRevision()
		return lifeboattest.Cleared(now) == nil
	})
	c := a.Client(shared.Control())
	list := do(t, c.ListSecrets, &lifeboatv1.ListSecretsRequest{Vault: a.Vault})
	list.Freshness = nil
	return string(protowire.AppendVarint(nil, uint64(revision))) + list.String() + describe(t, c, a.Vault, "a").String()
}

// refused checks a refusal on the wire and in the audit log.
func refused(t *testing.T, a rawAnswer, status int, code secret.Code, field string) {
	t.Helper()
	if a.status != status || a.info.GetCode() != string(code) || a.info.GetField() != field {
		t.Errorf("status %d, info %v, body %s; want %d, %s, field %q", a.status, a.info, a.body, status, code, field)
	}
	if strings.Contains(a.body, canary) {
		t.Errorf("the answer quotes the request: %s", a.body)
	}
	if a.info != nil && a.info.GetRequestId() != a.request {
		t.Errorf("the error is of request %q, the header says %q", a.info.GetRequestId(), a.request)
	}
	audited(t, shared, a.request, string(code))
}

func TestNoMethodTakesWhatItCannotRead(t *testing.T) {
	a := account(t, shared)
	create(t, a.Client(shared.Control()), a.Vault, "a", "v")
	before := state(t, a)
	unknownField := protowire.AppendString(protowire.AppendTag(nil, 999, protowire.BytesType), canary)
	for _, p := range []*lifeboattest.Process{shared.Control(), shared.Host(0)} {
		c := a.Client(p)
		for method, m := range methods() {
			t.Run(p.ID+"/"+string(m.Name()), func(t *testing.T) {
				for _, bad := range []struct{ contentType, body, field string }{
					{asJSON, `{"` + canary, ""},
					{asJSON, canary, ""},
					{asJSON, `{"no_such_field":"` + canary + `"}`, "no_such_field"},
					{asJSON, ``, "body"},
					{asProto, "\xff\xff" + canary, ""},
					{asProto, string(unknownField), ""},
				} {
					answer := post(t, c, method, bad.contentType, []byte(bad.body))
					refused(t, answer, http.StatusBadRequest, secret.CodeInvalid, bad.field)
					if line := linesOf(t, shared, answer.request); len(line) == 1 && line[0].Action != string(m.Name()) {
						t.Errorf("audited as %s", line[0].Action)
					}
				}
				answer := post(t, c, method, "text/plain", []byte(canary))
				if answer.status != http.StatusUnsupportedMediaType {
					t.Errorf("text/plain answers %d", answer.status)
				}
				audited(t, shared, answer.request, string(secret.CodeInvalid))
				refused(t, post(t, c, method, asJSON, bytes.Repeat([]byte(canary), 30_000)), http.StatusBadRequest, secret.CodeInvalid, "body")
			})
		}
	}
	if after := state(t, a); after != before {
		t.Errorf("bad input changed something:\n%s\n%s", before, after)
	}
}

func TestBodiesOfUnknownLengthAreBoundedToo(t *testing.T) {
	a := account(t, shared)
	for _, p := range []*lifeboattest.Process{shared.Control(), shared.Host(0)} {
		c := a.Client(p)
		for _, method := range []string{"SecretService/CreateSecret", "SecretService/GetSecretValue"} {
			body := io.MultiReader(bytes.NewReader(bytes.Repeat([]byte(canary), 30_000)))
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+"/lifeboat.v1."+method, body)
			must(t, err)
			request.Header.Set("Content-Type", asJSON)
			refused(t, send(t, c, request), http.StatusBadRequest, secret.CodeInvalid, "body")
		}
	}
}

func TestUnknownMethodsAndPaths(t *testing.T) {
	a := account(t, shared)
	for _, p := range []*lifeboattest.Process{shared.Control(), shared.Host(0)} {
		c := a.Client(p)
		for _, method := range []string{"SecretService/NoSuchMethod", "NoSuchService/Get", "SecretService/"} {
			answer := post(t, c, method, asJSON, []byte(`{"x":"`+canary+`"}`))
			if answer.status != http.StatusNotFound || strings.Contains(answer.body, canary) {
				t.Errorf("%s %s: %d %s", p.ID, method, answer.status, answer.body)
			}
			audited(t, shared, answer.request, string(secret.CodeNotFound))
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+"/", nil)
		must(t, err)
		if answer := send(t, c, request); answer.status != http.StatusNotFound {
			t.Errorf("GET / answers %d", answer.status)
		}
	}
}

// badRequest is a message that a method must refuse.
type badRequest struct {
	method string
	m      proto.Message
	code   secret.Code
	status int
	field  string
	// says is a part of the message, where there is a limit to name.
	says string
}

func invalid(method string, m proto.Message, field, says string) badRequest {
	return badRequest{method, m, secret.CodeInvalid, http.StatusBadRequest, field, says}
}

func missing(method string, m proto.Message, field string) badRequest {
	return badRequest{method, m, secret.CodeNotFound, http.StatusNotFound, field, ""}
}

func badSecretRequests(v string) []badRequest {
	const s = "SecretService/"
	long, value := strings.Repeat("n", 513), []byte(canary)
	tags := map[string]string{}
	for i := range 51 {
		tags[strings.Repeat("t", i+1)] = ""
	}
	return []badRequest{
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Name: "b", Value: value}, "vault", "empty"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Value: value}, "name", "empty"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: long, Value: value}, "name", "512"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b c", Value: value}, "name", "allowed"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: make([]byte, 65537)}, "value", "65536"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, Description: strings.Repeat("d", 2049)}, "description", "2048"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, ContentType: strings.Repeat("d", 129)}, "content_type", "128"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, Tags: tags}, "tags", "50"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, Tags: map[string]string{"": "x"}}, "tags", "empty key"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, Metadata: map[string]string{"k": strings.Repeat("m", 16<<10)}}, "metadata", "16384"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, RequestToken: strings.Repeat("r", 65)}, "request_token", "64"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, VersionId: "a b"}, "version_id", "allowed"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, Retention: &lifeboatv1.Retention{MaxVersions: 101}}, "retention.max_versions", "100"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, Retention: &lifeboatv1.Retention{MaxAge: durationpb.New(1)}}, "retention.max_age", "one hour"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, Rules: &lifeboatv1.Rules{VersionTtl: durationpb.New(1)}}, "rules.version_ttl", "one second"),
		invalid(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "b", Value: value, Wait: 77}, "wait", "77"),
		missing(s+"CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: "nowhere", Name: "b", Value: value}, "vault"),
		{s + "CreateSecret", &lifeboatv1.CreateSecretRequest{Vault: v, Name: "a", Value: value}, secret.CodeExists, http.StatusConflict, "name", ""},
		invalid(s+"PutSecretVersion", &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a"}, "value", "empty"),
		invalid(s+"UpdateSecret", &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a", RequestToken: strings.Repeat("r", 65)}, "request_token", "64"),
		invalid(s+"DeleteSecret", &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", RequestToken: "a b"}, "request_token", "allowed"),
		invalid(s+"DeleteSecret", &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", Immediate: true, RequestToken: "a b"}, "request_token", "allowed"),
		invalid(s+"PutSecretVersion", &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: make([]byte, 65537)}, "value", "65536"),
		invalid(s+"PutSecretVersion", &lifeboatv1.PutSecretVersionRequest{Vault: v, Value: value}, "secret", "empty"),
		invalid(s+"PutSecretVersion", &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: value, Stages: []string{"PREVIOUS"}}, "stages", "PREVIOUS"),
		invalid(s+"PutSecretVersion", &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: value, Stages: []string{"a b"}}, "stages", "allowed"),
		invalid(s+"PutSecretVersion", &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "a", Value: value, Stages: make([]string, 21)}, "stages", "20"),
		missing(s+"PutSecretVersion", &lifeboatv1.PutSecretVersionRequest{Vault: v, Secret: "nothing", Value: value}, "secret"),
		invalid(s+"GetSecretValue", &lifeboatv1.GetSecretValueRequest{Vault: v}, "secret", "empty"),
		invalid(s+"GetSecretValue", &lifeboatv1.GetSecretValueRequest{Secret: "a"}, "vault", "empty"),
		invalid(s+"GetSecretValue", &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", VersionId: "x", Stage: "CURRENT"}, "version_id", "at most one"),
		invalid(s+"GetSecretValue", &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", VersionNumber: 1, Stage: "CURRENT"}, "version_id", "at most one"),
		invalid(s+"GetSecretValue", &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", RevisionToken: canary}, "revision_token", "malformed"),
		missing(s+"GetSecretValue", &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", VersionId: "none"}, "version_id"),
		missing(s+"GetSecretValue", &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", VersionNumber: 9}, "version_number"),
		missing(s+"GetSecretValue", &lifeboatv1.GetSecretValueRequest{Vault: v, Secret: "a", Stage: "none"}, "stage"),
		invalid(s+"DescribeSecret", &lifeboatv1.DescribeSecretRequest{Vault: v, Secret: "a", RevisionToken: canary}, "revision_token", "malformed"),
		missing(s+"DescribeSecret", &lifeboatv1.DescribeSecretRequest{Vault: v, Secret: "nothing"}, "secret"),
		invalid(s+"UpdateSecret", &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a", Description: proto.String(strings.Repeat("d", 2049))}, "description", "2048"),
		invalid(s+"UpdateSecret", &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a", SetTags: tags}, "tags", "50"),
		invalid(s+"UpdateSecret", &lifeboatv1.UpdateSecretRequest{Vault: v, Secret: "a", Retention: &lifeboatv1.Retention{MaxVersions: 101}}, "retention.max_versions", "100"),
		invalid(s+"BatchGetSecretValues", &lifeboatv1.BatchGetSecretValuesRequest{Vault: v}, "secrets", "1 to 100"),
		invalid(s+"BatchGetSecretValues", &lifeboatv1.BatchGetSecretValuesRequest{Vault: v, Secrets: make([]string, 101)}, "secrets", "1 to 100"),
		invalid(s+"ListSecrets", &lifeboatv1.ListSecretsRequest{Vault: v, PageSize: 1001}, "page_size", "1000"),
		invalid(s+"ListSecrets", &lifeboatv1.ListSecretsRequest{Vault: v, PageSize: 1<<32 - 1}, "page_size", "1000"),
		invalid(s+"ListSecrets", &lifeboatv1.ListSecretsRequest{Vault: v, PageToken: canary}, "page_token", "malformed"),
		invalid(s+"ListSecrets", &lifeboatv1.ListSecretsRequest{Vault: v, States: []lifeboatv1.State{0}}, "states", "unspecified"),
		invalid(s+"ListSecrets", &lifeboatv1.ListSecretsRequest{Vault: v, States: []lifeboatv1.State{99}}, "states", "99"),
		invalid(s+"ListSecrets", &lifeboatv1.ListSecretsRequest{Vault: v, NamePrefix: "b c"}, "name_prefix", "allowed"),
		invalid(s+"MoveStage", &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "CURRENT"}, "stage", "taken off"),
		invalid(s+"MoveStage", &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: ""}, "stage", "empty"),
		missing(s+"MoveStage", &lifeboatv1.MoveStageRequest{Vault: v, Secret: "a", Stage: "x", ToVersionId: "none"}, "to_version_id"),
		invalid(s+"DeleteSecret", &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", RecoveryWindow: durationpb.New(6 * day)}, "recovery_window", "7 to 30 days"),
		invalid(s+"DeleteSecret", &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", RecoveryWindow: durationpb.New(31 * day)}, "recovery_window", "7 to 30 days"),
		invalid(s+"DeleteSecret", &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", RecoveryWindow: durationpb.New(-day)}, "recovery_window", "valid"),
		invalid(s+"DeleteSecret", &lifeboatv1.DeleteSecretRequest{Vault: v, Secret: "a", RecoveryWindow: durationpb.New(8 * day), Immediate: true}, "recovery_window", "immediate"),
		missing(s+"RestoreSecret", &lifeboatv1.RestoreSecretRequest{Vault: v, Secret: "nothing"}, "secret"),
		invalid(s+"GenerateValue", &lifeboatv1.GenerateValueRequest{}, "rule", "give one of password, bytes"),
		invalid(s+"GenerateValue", &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_Bytes{Bytes: 65537}}, "bytes", "65536"),
		invalid(s+"GenerateValue", &lifeboatv1.GenerateValueRequest{Rule: &lifeboatv1.GenerateValueRequest_Password{Password: &lifeboatv1.PasswordRules{Length: 5000}}}, "password.length", "4096"),
	}
}

func badOtherRequests(v string) []badRequest {
	const a, vs = "AccountService/", "VaultService/"
	long := strings.Repeat("n", 129)
	user := lifeboatv1.PrincipalKind_PRINCIPAL_KIND_USER
	return []badRequest{
		invalid(vs+"CreateVault", &lifeboatv1.CreateVaultRequest{}, "name", "empty"),
		invalid(vs+"CreateVault", &lifeboatv1.CreateVaultRequest{Name: long}, "name", "128"),
		invalid(vs+"CreateVault", &lifeboatv1.CreateVaultRequest{Name: "a/b"}, "name", "allowed"),
		invalid(vs+"CreateVault", &lifeboatv1.CreateVaultRequest{Name: "b", DefaultRetention: &lifeboatv1.Retention{MaxVersions: 101}}, "default_retention.max_versions", "100"),
		{vs + "CreateVault", &lifeboatv1.CreateVaultRequest{Name: v}, secret.CodeExists, http.StatusConflict, "name", ""},
		invalid(vs+"GetVault", &lifeboatv1.GetVaultRequest{}, "vault", "empty"),
		missing(vs+"GetVault", &lifeboatv1.GetVaultRequest{Vault: "nowhere"}, "vault"),
		invalid(vs+"ListVaults", &lifeboatv1.ListVaultsRequest{PageSize: 101}, "page_size", "100"),
		invalid(vs+"ListVaults", &lifeboatv1.ListVaultsRequest{PageToken: "x"}, "page_token", "malformed"),
		invalid(vs+"UpdateVault", &lifeboatv1.UpdateVaultRequest{Vault: v, Description: proto.String(strings.Repeat("d", 2049))}, "description", "2048"),
		invalid(vs+"DeleteVault", &lifeboatv1.DeleteVaultRequest{}, "vault", "empty"),
		{vs + "DeleteVault", &lifeboatv1.DeleteVaultRequest{Vault: v}, secret.CodeWrongState, http.StatusBadRequest, "", "holds secrets"},
		invalid(a+"CreatePrincipal", &lifeboatv1.CreatePrincipalRequest{Kind: user}, "name", "empty"),
		invalid(a+"CreatePrincipal", &lifeboatv1.CreatePrincipalRequest{Name: long, Kind: user}, "name", "128"),
		invalid(a+"CreatePrincipal", &lifeboatv1.CreatePrincipalRequest{Name: "b"}, "kind", "must be"),
		invalid(a+"CreatePrincipal", &lifeboatv1.CreatePrincipalRequest{Name: "b", Kind: 9}, "kind", "9"),
		invalid(a+"CreatePrincipal", &lifeboatv1.CreatePrincipalRequest{Name: "b", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_OPERATOR}, "kind", "system account"),
		invalid(a+"CreatePrincipal", &lifeboatv1.CreatePrincipalRequest{Name: "b", Kind: user, Roles: []string{"a b"}}, "roles", "allowed"),
		{a + "CreatePrincipal", &lifeboatv1.CreatePrincipalRequest{Name: "admin", Kind: user}, secret.CodeExists, http.StatusConflict, "name", ""},
		invalid(a+"GetPrincipal", &lifeboatv1.GetPrincipalRequest{}, "principal", "empty"),
		missing(a+"GetPrincipal", &lifeboatv1.GetPrincipalRequest{Principal: "nobody"}, "principal"),
		invalid(a+"ListPrincipals", &lifeboatv1.ListPrincipalsRequest{PageSize: 101}, "page_size", "100"),
		missing(a+"UpdatePrincipal", &lifeboatv1.UpdatePrincipalRequest{Principal: "nobody"}, "principal"),
		{a + "DeletePrincipal", &lifeboatv1.DeletePrincipalRequest{Principal: "admin"}, secret.CodeWrongState, http.StatusBadRequest, "", "itself"},
		invalid(a+"CreateToken", &lifeboatv1.CreateTokenRequest{ExpiresAt: &timestamppb.Timestamp{Seconds: 1}}, "expires_at", "past"),
		invalid(a+"CreateToken", &lifeboatv1.CreateTokenRequest{Description: strings.Repeat("d", 2049)}, "description", "2048"),
		invalid(a+"CreateAccessKey", &lifeboatv1.CreateAccessKeyRequest{ExpiresAt: &timestamppb.Timestamp{Seconds: 1}}, "expires_at", "past"),
		missing(a+"ListCredentials", &lifeboatv1.ListCredentialsRequest{Principal: "nobody"}, "principal"),
		invalid(a+"RevokeCredential", &lifeboatv1.RevokeCredentialRequest{}, "credential_id", "empty"),
		missing(a+"RevokeCredential", &lifeboatv1.RevokeCredentialRequest{CredentialId: "none"}, "credential_id"),
		invalid(a+"PutPolicy", &lifeboatv1.PutPolicyRequest{Text: "permit (principal, action, resource);"}, "name", "empty"),
		invalid(a+"PutPolicy", &lifeboatv1.PutPolicyRequest{Name: "b", Text: "allow everything"}, "text", ""),
		invalid(a+"PutPolicy", &lifeboatv1.PutPolicyRequest{Name: "b", Text: strings.Repeat(" ", 65537)}, "text", "65536"),
		missing(a+"GetPolicy", &lifeboatv1.GetPolicyRequest{Name: "none"}, "name"),
		missing(a+"DeletePolicy", &lifeboatv1.DeletePolicyRequest{Name: "none"}, "name"),
		{a + "CreateAccount", &lifeboatv1.CreateAccountRequest{Name: "b"}, secret.CodeDenied, http.StatusForbidden, "", ""},
		// Whether another account exists is nobody's business.
		{a + "GetAccount", &lifeboatv1.GetAccountRequest{Account: "nobody"}, secret.CodeDenied, http.StatusForbidden, "", ""},
	}
}

func TestBadRequestsNameTheFieldAndChangeNothing(t *testing.T) {
	a := account(t, shared)
	create(t, a.Client(shared.Control()), a.Vault, "a", "v")
	before := state(t, a)
	c := a.Client(shared.Host(1))
	for _, bad := range append(badSecretRequests(a.Vault), badOtherRequests(a.Vault)...) {
		_, name, _ := strings.Cut(bad.method, "/")
		t.Run(name+"/"+bad.field, func(t *testing.T) {
			binary, err := proto.Marshal(bad.m)
			must(t, err)
			text, err := protojson.Marshal(bad.m)
			must(t, err)
			for contentType, body := range map[string][]byte{asProto: binary, asJSON: text} {
				answer := post(t, c, bad.method, contentType, body)
				refused(t, answer, bad.status, bad.code, bad.field)
				if !strings.Contains(answer.message, bad.says) {
					t.Errorf("%s: the message %q does not say %q", contentType, answer.message, bad.says)
				}
			}
		})
	}
	if after := state(t, a); after != before {
		t.Errorf("bad input changed something:\n%s\n%s", before, after)
	}
}

func TestNestedUnknownFieldsAreRefused(t *testing.T) {
	a := account(t, shared)
	c := a.Client(shared.Host(0))
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1)
	nested := &lifeboatv1.CreateSecretRequest{Vault: a.Vault, Name: "b", Value: []byte("v"), Rules: &lifeboatv1.Rules{}}
	nested.GetRules().ProtoReflect().SetUnknown(unknown)
	body, err := proto.Marshal(nested)
	must(t, err)
	refused(t, post(t, c, "SecretService/CreateSecret", asProto, body), http.StatusBadRequest, secret.CodeInvalid, "")
	for field, m := range map[string]*lifeboatv1.CreateSecretRequest{ // these have no JSON form
		"retention.max_age": {Retention: &lifeboatv1.Retention{MaxAge: &durationpb.Duration{Seconds: 1, Nanos: -1}}},
		"rules.expires_at":  {Rules: &lifeboatv1.Rules{ExpiresAt: &timestamppb.Timestamp{Nanos: -1}}},
		"rules.version_ttl": {Rules: &lifeboatv1.Rules{VersionTtl: &durationpb.Duration{Seconds: 1 << 62}}},
	} {
		m.Vault, m.Name, m.Value = a.Vault, "b", []byte("v")
		body, err := proto.Marshal(m)
		must(t, err)
		refused(t, post(t, c, "SecretService/CreateSecret", asProto, body), http.StatusBadRequest, secret.CodeInvalid, field)
	}
	for body, field := range map[string]string{
		`{"vault":"` + a.Vault + `","name":"b","rules":{"color":"` + canary + `"}}`: "color",
		`{"vault":"` + a.Vault + `","name":"b","wait":"` + canary + `"}`:            "wait",
		`{"vault":"` + a.Vault + `","name":"b","name":"` + canary + `"}`:            "name",
		`{"vault":"` + a.Vault + `","name":"b","value":"` + canary + `!"}`:          "value",
	} {
		refused(t, post(t, c, "SecretService/CreateSecret", asJSON, []byte(body)), http.StatusBadRequest, secret.CodeInvalid, field)
	}
	fails(t, c.DescribeSecret, &lifeboatv1.DescribeSecretRequest{Vault: a.Vault, Secret: "b"}, secret.CodeNotFound)
}

func TestInitializingAgainIsAConflict(t *testing.T) {
	a := account(t, shared)
	create(t, a.Client(shared.Control()), a.Vault, "a", "v")
	before := state(t, a)
	if _, err := shared.Control().Running().Initialize(t.Context()); !secret.HasCode(err, secret.CodeExists) {
		t.Errorf("initialised twice: %v", err)
	}
	if after := state(t, a); after != before {
		t.Error("initialising again changed something")
	}
	do(t, shared.Operator().WhoAmI, &lifeboatv1.WhoAmIRequest{})
}
