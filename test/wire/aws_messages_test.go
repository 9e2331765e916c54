package wire_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// token returns a ClientRequestToken.
func token(n int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", n) }

const notFound = "Secrets Manager can't find the specified secret."

const (
	missing  = "ResourceNotFoundException"
	request  = "InvalidRequestException"
	param    = "InvalidParameterException"
	broken   = "ValidationException"
	exists   = "ResourceExistsException"
	deleted  = "You can't perform this operation on the secret because it was marked for deletion."
	badName  = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
	noToken  = "You must provide a ClientRequestToken value. We recommend a UUID-type value."
	tokenLen = "ClientRequestToken must be 32-64 characters long."
)

// mistake is a request that is refused, with a type and a message; an empty one is any.
type mistake struct {
	operation     string
	body          m
	kind, message string
}

var mistakesInReading = []mistake{
	{"GetSecretValue", m{"SecretId": "none"}, missing, notFound},
	{"DescribeSecret", m{"SecretId": "none"}, missing, notFound},
	{"ListSecretVersionIds", m{"SecretId": "none"}, missing, notFound},
	{"GetSecretValue", m{"SecretId": "empty"}, missing, "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"},
	{"GetSecretValue", m{"SecretId": "live", "VersionStage": "other"}, missing, "Secrets Manager can't find the specified secret value for staging label: other"},
	{"GetSecretValue", m{"SecretId": "live", "VersionId": token(7)}, missing, "Secrets Manager can't find the specified secret value for VersionId: " + token(7)},
	{"GetSecretValue", m{"SecretId": "live", "VersionId": token(1), "VersionStage": "AWSCURRENT"}, request, "You provided a VersionStage that is not associated to the provided VersionId."},
	{"GetSecretValue", m{"SecretId": "gone"}, request, deleted},
	{"ListSecrets", m{"MaxResults": 101}, broken, ""},
	{"ListSecrets", m{"MaxResults": 0}, broken, ""},
	{"ListSecrets", m{"NextToken": "x"}, "InvalidNextTokenException", ""},
	{"ListSecrets", m{"NextToken": "x", "SortOrder": "desc"}, "InvalidNextTokenException", ""},
	{"ListSecrets", m{"Filters": []m{{"Key": "colour", "Values": []string{"x"}}}}, broken, ""},
	{"ListSecrets", m{"SortBy": "size"}, broken, ""},
	{"ListSecretVersionIds", m{"SecretId": "live", "NextToken": "x"}, "InvalidNextTokenException", ""},
	{"BatchGetSecretValue", m{}, param, ""},
	{"BatchGetSecretValue", m{"SecretIdList": labels(21)}, broken, ""},
	{"BatchGetSecretValue", m{"SecretIdList": []string{"a"}, "Filters": []m{{"Key": "name", "Values": []string{"x"}}}}, param, ""},
}

var mistakesInWriting = []mistake{
	{"PutSecretValue", m{"SecretId": "none", "SecretString": "x", "ClientRequestToken": token(9)}, missing, notFound},
	{"UpdateSecret", m{"SecretId": "none", "SecretString": "x", "ClientRequestToken": token(9)}, missing, notFound},
	{"DeleteSecret", m{"SecretId": "none"}, missing, notFound},
	{"RestoreSecret", m{"SecretId": "none"}, missing, notFound},
	{"TagResource", m{"SecretId": "none", "Tags": []m{{"Key": "a", "Value": "b"}}}, missing, notFound},
	{"UntagResource", m{"SecretId": "none", "TagKeys": []string{"a"}}, missing, notFound},
	{"UpdateSecretVersionStage", m{"SecretId": "none", "VersionStage": "a", "MoveToVersionId": token(1)}, missing, notFound},
	{"CreateSecret", m{"Name": "live", "SecretString": "x", "ClientRequestToken": token(3)}, exists, "The operation failed because the secret live already exists."},
	{"CreateSecret", m{"Name": "live", "SecretString": "x", "ClientRequestToken": token(1)}, exists, "The operation failed because the secret live already exists."},
	{"CreateSecret", m{"Name": "gone", "SecretString": "x", "ClientRequestToken": token(3)}, request, "You can't create this secret because a secret with this name is already scheduled for deletion."},
	{"CreateSecret", m{"Name": "gone", "SecretString": "one", "ClientRequestToken": token(1)}, request, "You can't create this secret because a secret with this name is already scheduled for deletion."},
	{"PutSecretValue", m{"SecretId": "gone", "SecretString": "x", "ClientRequestToken": token(3)}, request, deleted},
	{"UpdateSecret", m{"SecretId": "gone", "Description": "x", "ClientRequestToken": token(3)}, request, deleted},
	{"TagResource", m{"SecretId": "gone", "Tags": []m{{"Key": "a", "Value": "b"}}}, request, deleted},
	{"UntagResource", m{"SecretId": "gone", "TagKeys": []string{"a"}}, request, deleted},
	{"UpdateSecretVersionStage", m{"SecretId": "gone", "VersionStage": "a", "MoveToVersionId": token(1)}, request, deleted},
	{"DeleteSecret", m{"SecretId": "gone"}, request, deleted},
	{"CreateSecret", m{"Name": "x", "SecretString": "x"}, request, noToken},
	{"PutSecretValue", m{"SecretId": "live", "SecretString": "x"}, request, noToken},
	{"UpdateSecret", m{"SecretId": "live", "Description": "x"}, request, noToken},
	{"RotateSecret", m{"SecretId": "live"}, request, noToken},
	{"CreateSecret", m{"Name": strings.Repeat("x", 513), "ClientRequestToken": token(1)}, broken, badName},
	{"CreateSecret", m{"Name": "", "ClientRequestToken": token(1)}, broken, ""},
	{"PutSecretValue", m{"SecretId": "live", "SecretString": "x", "VersionStages": labels(21), "ClientRequestToken": token(4)}, broken, ""},
	{"CreateSecret", m{"Name": "x", "SecretString": "x", "ClientRequestToken": "short"}, param, tokenLen},
	{"CreateSecret", m{"Name": "x", "SecretString": "x", "ClientRequestToken": strings.Repeat("a", 65)}, param, tokenLen},
	{"PutSecretValue", m{"SecretId": "live", "SecretString": "x", "SecretBinary": "eA==", "ClientRequestToken": token(4)}, param, ""},
	{"PutSecretValue", m{"SecretId": "live", "ClientRequestToken": token(4)}, request, "You must provide either SecretString or SecretBinary."},
	{"PutSecretValue", m{"SecretId": "live", "SecretString": "", "ClientRequestToken": token(4)}, broken, ""},
	{"PutSecretValue", m{"SecretId": "live", "SecretString": strings.Repeat("x", 65537), "ClientRequestToken": token(4)}, broken, ""},
	{"PutSecretValue", m{"SecretId": "live", "SecretString": "other", "ClientRequestToken": token(1)}, exists, ""},
	{"PutSecretValue", m{"SecretId": "live", "SecretBinary": "b25l", "ClientRequestToken": token(1)}, exists, ""},
	{"DeleteSecret", m{"SecretId": "live", "RecoveryWindowInDays": 6}, param, ""},
	{"DeleteSecret", m{"SecretId": "live", "RecoveryWindowInDays": 31}, param, ""},
	{"DeleteSecret", m{"SecretId": "live", "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true}, param, ""},
	{"UpdateSecretVersionStage", m{"SecretId": "live", "VersionStage": "AWSCURRENT", "RemoveFromVersionId": token(2)}, param, ""},
	{"UpdateSecretVersionStage", m{"SecretId": "live", "VersionStage": "AWSCURRENT", "MoveToVersionId": token(1)}, param, ""},
	{"UpdateSecretVersionStage", m{"SecretId": "live", "VersionStage": "AWSCURRENT", "MoveToVersionId": token(1), "RemoveFromVersionId": token(1)}, param, ""},
	{"UpdateSecretVersionStage", m{"SecretId": "live", "VersionStage": "x", "MoveToVersionId": token(8)}, missing, ""},
	{"UpdateSecretVersionStage", m{"SecretId": "live", "VersionStage": "x"}, param, ""},
	{"UpdateSecretVersionStage", m{"SecretId": "live", "VersionStage": "CURRENT", "MoveToVersionId": token(1)}, param, ""},
}

var mistakesInForm = []mistake{
	{"GetRandomPassword", m{"PasswordLength": 3}, param, ""},
	{"GetRandomPassword", m{"ExcludeLowercase": true, "ExcludeUppercase": true, "ExcludeNumbers": true, "ExcludePunctuation": true}, param, ""},
	{"GetSecretValue", m{}, broken, ""},
	{"GetSecretValue", m{"SecretId": "live", "Colour": 1}, "SerializationException", "a member is not known here: /Colour"},
	{"GetSecretValue", m{"SecretId": 7}, "SerializationException", "a member has a value of the wrong type: /SecretId"},
	{"Nonsense", m{}, "UnknownOperationException", ""},
	{"CreateSecret", m{"Name": "x", "KmsKeyId": "some/key", "ClientRequestToken": token(1)}, param, ""},
	{"CreateSecret", m{"Name": "x", "Type": "partner", "ClientRequestToken": token(1)}, param, ""},
}

func labels(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint("label-", i))
	}
	return all
}

// TestMessages has every answer to a mistake as AWS words it.
func TestMessages(t *testing.T) {
	k := newTenant(t).in("east")
	k.ok(t, "CreateSecret", m{"Name": "live", "SecretString": "one", "ClientRequestToken": token(1)})
	k.ok(t, "PutSecretValue", m{"SecretId": "live", "SecretString": "two", "ClientRequestToken": token(2)})
	k.ok(t, "CreateSecret", m{"Name": "empty", "ClientRequestToken": token(1)})
	k.ok(t, "CreateSecret", m{"Name": "gone", "SecretString": "one", "ClientRequestToken": token(1)})
	k.ok(t, "DeleteSecret", m{"SecretId": "gone"})
	for _, c := range slices.Concat(mistakesInReading, mistakesInWriting, mistakesInForm) {
		k.fails(t, c.operation, c.body, c.kind, c.message)
	}
	for _, operation := range []string{
		"DeleteSecret", "DescribeSecret", "GetSecretValue", "ListSecretVersionIds", "RestoreSecret", "GetResourcePolicy", "DeleteResourcePolicy",
	} {
		k.fails(t, operation, m{"SecretId": "no good"}, broken, badName)
	}
	for operation, body := range map[string]m{
		"CreateSecret":   {"Name": "no good", "ClientRequestToken": token(1)},
		"PutSecretValue": {"SecretId": "no good", "SecretString": "x", "ClientRequestToken": token(1)},
		"TagResource":    {"SecretId": "no good", "Tags": []m{}}, "UntagResource": {"SecretId": "no good", "TagKeys": []string{}},
		"UpdateSecret":           {"SecretId": "no good", "ClientRequestToken": token(1)},
		"ValidateResourcePolicy": {"SecretId": "no good", "ResourcePolicy": "{}"},
	} {
		k.fails(t, operation, body, broken, badName)
	}
	if got := k.ok(t, "GetSecretValue", m{"SecretId": "live"}); got.members["SecretString"] != "two" {
		t.Errorf("after all the refusals the value is %v", got.body)
	}
}

// keys returns the members of an answer, sorted.
func (a answer) keys() []string { return slices.Sorted(maps.Keys(a.members)) }

func (a answer) has(t testing.TB, keys ...string) {
	t.Helper()
	slices.Sort(keys)
	// What was read shows some seconds later.
	got := slices.DeleteFunc(a.keys(), func(key string) bool { return key == "LastAccessedDate" })
	if !slices.Equal(got, keys) {
		t.Errorf("the answer has the members %v, want %v: %s", got, keys, a.body)
	}
}

// TestFieldsArePresentOrAbsent: clients compare which members answers have.
func TestFieldsArePresentOrAbsent(t *testing.T) {
	k := newTenant(t).in("east")
	created := k.ok(t, "CreateSecret", m{"Name": "a", "SecretString": "one", "ClientRequestToken": token(1)})
	created.has(t, "ARN", "Name", "VersionId")
	if id := created.header.Get("x-amzn-RequestId"); id == "" || created.header.Get("Content-Type") != "application/x-amz-json-1.1" {
		t.Errorf("headers are %v", created.header)
	}
	k.ok(t, "CreateSecret", m{"Name": "empty", "ClientRequestToken": token(1)}).has(t, "ARN", "Name")
	k.ok(t, "DescribeSecret", m{"SecretId": "a"}).has(t, "ARN", "CreatedDate", "LastChangedDate", "Name", "VersionIdsToStages")
	k.ok(t, "DescribeSecret", m{"SecretId": "empty"}).has(t, "ARN", "CreatedDate", "LastChangedDate", "Name")
	k.ok(t, "GetSecretValue", m{"SecretId": "a"}).has(t, "ARN", "CreatedDate", "Name", "SecretString", "VersionId", "VersionStages")
	k.ok(t, "PutSecretValue", m{"SecretId": "a", "SecretBinary": "AP8=", "ClientRequestToken": token(2)}).has(t, "ARN", "Name", "VersionId", "VersionStages")
	binary := k.ok(t, "GetSecretValue", m{"SecretId": "a"})
	binary.has(t, "ARN", "CreatedDate", "Name", "SecretBinary", "VersionId", "VersionStages")
	if binary.members["SecretBinary"] != "AP8=" {
		t.Errorf("the bytes came back as %v", binary.members["SecretBinary"])
	}
	k.ok(t, "UpdateSecret", m{"SecretId": "a", "Description": "text", "ClientRequestToken": token(3)}).has(t, "ARN", "Name")
	k.ok(t, "UpdateSecret", m{"SecretId": "a", "SecretString": "three", "ClientRequestToken": token(3)}).has(t, "ARN", "Name", "VersionId")
	k.ok(t, "TagResource", m{"SecretId": "a", "Tags": []m{{"Key": "k", "Value": "v"}}}).has(t)
	k.ok(t, "DescribeSecret", m{"SecretId": "a"}).has(t, "ARN", "CreatedDate", "Description", "LastChangedDate", "Name", "Tags", "VersionIdsToStages")
	k.ok(t, "ListSecrets", m{}).has(t, "SecretList")
	k.ok(t, "ListSecretVersionIds", m{"SecretId": "a"}).has(t, "ARN", "Name", "Versions")
	deleted := k.ok(t, "DeleteSecret", m{"SecretId": "a"})
	deleted.has(t, "ARN", "DeletionDate", "Name")
	if at := deleted.members["DeletionDate"].(float64); at < float64(time.Now().Add(29*24*time.Hour).Unix()) {
		t.Errorf("the deletion is at %v", at)
	}
	if _, ok := k.ok(t, "DescribeSecret", m{"SecretId": "a"}).members["DeletedDate"]; !ok {
		t.Error("the secret has no DeletedDate")
	}
	k.ok(t, "RestoreSecret", m{"SecretId": "a"}).has(t, "ARN", "Name")
	k.ok(t, "RestoreSecret", m{"SecretId": "a"}).has(t, "ARN", "Name")
	k.ok(t, "GetRandomPassword", m{}).has(t, "RandomPassword")
	k.ok(t, "DeleteSecret", m{"SecretId": "never/there", "ForceDeleteWithoutRecovery": true}).has(t, "ARN", "DeletionDate", "Name")
	k.ok(t, "DeleteSecret", m{"SecretId": "a", "ForceDeleteWithoutRecovery": true})
	k.fails(t, "DescribeSecret", m{"SecretId": "a"}, "ResourceNotFoundException", notFound)
}

// TestBytesThatAreTextStayBytes, and text stays text.
func TestBytesThatAreTextStayBytes(t *testing.T) {
	k := newTenant(t).in("east")
	k.ok(t, "CreateSecret", m{"Name": "a", "SecretBinary": "b25l", "ClientRequestToken": token(1)})
	k.ok(t, "CreateSecret", m{"Name": "a", "SecretBinary": "b25l", "ClientRequestToken": token(1)})
	k.fails(t, "CreateSecret", m{"Name": "a", "SecretString": "one", "ClientRequestToken": token(1)}, "ResourceExistsException", "")
	if got := k.ok(t, "GetSecretValue", m{"SecretId": "a"}).members["SecretBinary"]; got != "b25l" {
		t.Errorf("bytes came back as %v", got)
	}
}

// TestArns: a full ARN, one without its suffix, and names that look like one.
func TestArns(t *testing.T) {
	k := newTenant(t).in("east")
	arn := k.ok(t, "CreateSecret", m{"Name": "a/b", "SecretString": "one", "ClientRequestToken": token(1)}).members["ARN"].(string)
	twin := k.ok(t, "CreateSecret", m{"Name": "a/b-abcdef", "SecretString": "two", "ClientRequestToken": token(1)}).members["ARN"].(string)
	partial := arn[:len(arn)-7]
	for id, want := range map[string]string{"a/b": "one", arn: "one", partial: "one", "a/b-abcdef": "two", twin: "two", partial + "-abcdef": "two"} {
		if got := k.ok(t, "GetSecretValue", m{"SecretId": id}).members["SecretString"]; got != want {
			t.Errorf("%s is %v, want %s", id, got, want)
		}
	}
	for _, id := range []string{
		"a/b" + arn[len(arn)-7:], arn[:len(arn)-1] + "!", strings.Replace(arn, "east", "west", 1),
		strings.Replace(partial, ":secret:", "0:secret:", 1), partial + "-ABCDEF",
	} {
		k.fails(t, "GetSecretValue", m{"SecretId": id}, "ResourceNotFoundException", notFound)
	}
	k.ok(t, "DeleteSecret", m{"SecretId": arn, "ForceDeleteWithoutRecovery": true})
	again := k.ok(t, "CreateSecret", m{"Name": "a/b", "SecretString": "one", "ClientRequestToken": token(2)}).members["ARN"].(string)
	if again == arn || again[:len(again)-7] != partial {
		t.Errorf("made again the secret has the ARN %s, before %s", again, arn)
	}
	k.fails(t, "GetSecretValue", m{"SecretId": arn}, "ResourceNotFoundException", notFound)
}

// TestSignatures: what is not signed as it should be is refused, with the type that
// clients know, and audited.
func TestSignatures(t *testing.T) {
	tenant := newTenant(t)
	tenant.in("east").ok(t, "CreateSecret", m{"Name": "a", "SecretString": "one", "ClientRequestToken": token(1)})
	const (
		invalid    = "InvalidSignatureException"
		incomplete = "IncompleteSignatureException"
		unknown    = "UnrecognizedClientException"
	)
	set := func(name, value string) func(*raw) {
		return func(k *raw) { k.change = func(r *http.Request) { r.Header.Set(name, value) } }
	}
	digest := sha256.Sum256([]byte("other"))
	for name, c := range map[string]struct {
		spoil func(*raw)
		kind  string
	}{
		"no signature":       {func(k *raw) { k.change = func(r *http.Request) { r.Header.Del("Authorization") } }, "MissingAuthenticationTokenException"},
		"bearer token":       {set("Authorization", "Bearer "+tenant.Token), incomplete},
		"half a header":      {set("Authorization", "AWS4-HMAC-SHA256 Credential=x"), incomplete},
		"other algorithm":    {set("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=x"), incomplete},
		"other secret key":   {func(k *raw) { k.key.SecretAccessKey = strings.Repeat("x", 40) }, invalid},
		"unknown key":        {func(k *raw) { k.key.AccessKeyID = "LBAKAAAAAAAAAAAAAAAA" }, unknown},
		"somebody's AWS key": {func(k *raw) { k.key.AccessKeyID = "AKIAIOSFODNN7EXAMPLE" }, unknown},
		"session token":      {func(k *raw) { k.key.SessionToken = "session" }, unknown},
		"other region":       {func(k *raw) { k.scope = "west" }, invalid},
		"other service":      {func(k *raw) { k.service = "s3" }, invalid},
		"too old":            {func(k *raw) { k.at = k.at.Add(-6 * time.Minute) }, invalid},
		"from the future":    {func(k *raw) { k.at = k.at.Add(6 * time.Minute) }, invalid},
		"other target":       {set("X-Amz-Target", "secretsmanager.DescribeSecret"), invalid},
		"other date":         {set("X-Amz-Date", time.Now().UTC().Add(time.Minute).Format("20060102T150405Z")), invalid},
		"unsigned header":    {set("X-Amz-Extra", "1"), invalid},
		"unsigned payload":   {set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"), invalid},
		"chunked payload":    {set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), invalid},
		"other payload":      {set("X-Amz-Content-Sha256", hex.EncodeToString(digest[:])), invalid},
		"other body":         {func(k *raw) { k.change = func(r *http.Request) { replaceBody(r, `{"SecretId":"b"}`) } }, invalid},
		"a query":            {func(k *raw) { k.change = func(r *http.Request) { r.URL.RawQuery = "x=1" } }, "UnknownOperationException"},
	} {
		t.Run(name, func(t *testing.T) {
			k := tenant.in("east")
			c.spoil(k)
			a := k.fails(t, "GetSecretValue", m{"SecretId": "a"}, c.kind, "")
			if strings.Contains(a.body, "one") {
				t.Error("the refusal holds the value")
			}
			auditedOnce(t, a)
		})
	}
}

// auditedOnce fails unless the audit log has exactly one line of the request.
func auditedOnce(t testing.TB, a answer) {
	t.Helper()
	lines, err := shared.Region("east").AuditLines()
	must(t, err)
	n := 0
	for _, line := range lines {
		if line.Request == a.header.Get("x-amzn-RequestId") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("request %s has %d lines in the audit log: %s", a.header.Get("x-amzn-RequestId"), n, a.body)
	}
}

func replaceBody(r *http.Request, body string) {
	r.Body, r.ContentLength = http.NoBody, 0
	other, _ := http.NewRequest(http.MethodPost, r.URL.String(), strings.NewReader(body)) //nolint:noctx // only its body is taken
	r.Body, r.ContentLength, r.GetBody = other.Body, other.ContentLength, other.GetBody
}

// TestLargeRequestsAreRefused in the dialect's own words.
func TestLargeRequestsAreRefused(t *testing.T) {
	a := newTenant(t).in("east").send(t, "PutSecretValue", []byte(`{"SecretId":"`+strings.Repeat("x", 300<<10)+`"}`))
	if a.status != http.StatusBadRequest || a.kind != "InvalidParameterException" {
		t.Errorf("answer %d %s", a.status, a.body)
	}
}

// TestPoliciesDecide what a key may do, as in every dialect.
func TestPoliciesDecide(t *testing.T) {
	tenant := newTenant(t)
	tenant.in("east").ok(t, "CreateSecret", m{"Name": "a", "SecretString": "one", "ClientRequestToken": token(1)})
	c := tenant.Client(shared.Region("east").Control())
	made, err := c.CreatePrincipal(t.Context(), connect.NewRequest(&lifeboatv1.CreatePrincipalRequest{
		Name: "reader", Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD, Roles: []string{"readers"},
	}))
	must(t, err)
	_, err = c.PutPolicy(t.Context(), connect.NewRequest(&lifeboatv1.PutPolicyRequest{
		Name: "readers", Text: `permit (principal in Role::"readers", action == Action::"GetSecretValue", resource) when { context.method == "signature" };`,
	}))
	must(t, err)
	key, err := c.CreateAccessKey(t.Context(), connect.NewRequest(&lifeboatv1.CreateAccessKeyRequest{Principal: made.Msg.GetPrincipal().GetId()}))
	must(t, err)
	k := tenant.in("east")
	k.key.AccessKeyID, k.key.SecretAccessKey = key.Msg.GetCredential().GetId(), key.Msg.GetSecretAccessKey()
	k.ok(t, "GetSecretValue", m{"SecretId": "a"})
	for operation, body := range map[string]m{
		"DescribeSecret": {"SecretId": "a"}, "ListSecrets": {}, "GetRandomPassword": {},
		"PutSecretValue": {"SecretId": "a", "SecretString": "x", "ClientRequestToken": token(2)},
		"DeleteSecret":   {"SecretId": "a", "ForceDeleteWithoutRecovery": true},
	} {
		k.fails(t, operation, body, "AccessDeniedException", "")
	}
	_, err = c.RevokeCredential(t.Context(), connect.NewRequest(&lifeboatv1.RevokeCredentialRequest{CredentialId: k.key.AccessKeyID}))
	must(t, err)
	k.fails(t, "GetSecretValue", m{"SecretId": "a"}, "UnrecognizedClientException", "")
}

// TestAHostThatIsCutOffStillReads; what it cannot pass on it says in a way that
// clients try again.
func TestAHostThatIsCutOffStillReads(t *testing.T) {
	k, east := newTenant(t).in("east"), shared.Region("east")
	k.ok(t, "CreateSecret", m{"Name": "a", "SecretString": "one", "ClientRequestToken": token(1)})
	east.CutOff(0)
	defer func() {
		east.Heal(0)
		must(t, east.WaitReady(t.Context()))
	}()
	for operation, body := range map[string]m{"GetSecretValue": {"SecretId": "a"}, "DescribeSecret": {"SecretId": "a"}, "ListSecrets": {}} {
		k.ok(t, operation, body)
	}
	a := k.do(t, "PutSecretValue", m{"SecretId": "a", "SecretString": "two", "ClientRequestToken": token(2)})
	if a.status != http.StatusInternalServerError || a.kind != "InternalServiceError" {
		t.Errorf("a write on a host that is cut off: %d %s", a.status, a.body)
	}
}
