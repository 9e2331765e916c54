package wire_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// workload makes a principal with an access key that no policy knows yet.
func (k *tenant) workload(t testing.TB, name string, roles ...string) *raw {
	t.Helper()
	c := k.Client(shared.Region("east").Control())
	made, err := c.CreatePrincipal(t.Context(), connect.NewRequest(&lifeboatv1.CreatePrincipalRequest{
		Name: name, Kind: lifeboatv1.PrincipalKind_PRINCIPAL_KIND_WORKLOAD, Roles: roles,
	}))
	must(t, err)
	key, err := c.CreateAccessKey(t.Context(), connect.NewRequest(&lifeboatv1.CreateAccessKeyRequest{Principal: made.Msg.GetPrincipal().GetId()}))
	must(t, err)
	r := k.in("east")
	r.key.AccessKeyID, r.key.SecretAccessKey = key.Msg.GetCredential().GetId(), key.Msg.GetSecretAccessKey()
	return r
}

func policyOf(statements ...m) string {
	text, _ := json.Marshal(m{"Version": "2012-10-17", "Statement": statements})
	return string(text)
}

// TestResourcePolicies: what has a meaning here decides, the rest is refused.
func TestResourcePolicies(t *testing.T) {
	tenant := newTenant(t)
	admin := tenant.in("east")
	arn := admin.ok(t, "CreateSecret", m{"Name": "a", "SecretString": "one", "ClientRequestToken": token(1)}).members["ARN"].(string)
	admin.ok(t, "CreateSecret", m{"Name": "b", "SecretString": "one", "ClientRequestToken": token(1)})
	account := strings.Split(arn, ":")[4]
	root, user := "arn:aws:iam::"+account+":root", "arn:aws:iam::"+account+":user/app"
	app, clerk := tenant.workload(t, "app"), tenant.workload(t, "clerk", "clerks")
	app.fails(t, "GetSecretValue", m{"SecretId": "a"}, "AccessDeniedException", "")
	admin.ok(t, "GetResourcePolicy", m{"SecretId": "a"}).has(t, "ARN", "Name")

	text := policyOf(
		m{"Effect": "Allow", "Principal": m{"AWS": []string{user}}, "Action": "secretsmanager:GetSecretValue", "Resource": "*"},
		m{"Effect": "Allow", "Principal": m{"AWS": "arn:aws:iam::" + account + ":role/clerks"}, "Action": []string{"secretsmanager:Describe*", "secretsmanager:ListSecretVersionIds"}, "Resource": arn},
	)
	admin.ok(t, "ValidateResourcePolicy", m{"SecretId": "a", "ResourcePolicy": text}).has(t, "PolicyValidationPassed", "ValidationErrors")
	app.fails(t, "PutResourcePolicy", m{"SecretId": "a", "ResourcePolicy": text}, "AccessDeniedException", "")
	admin.ok(t, "PutResourcePolicy", m{"SecretId": "a", "ResourcePolicy": text, "BlockPublicPolicy": true}).has(t, "ARN", "Name")
	if got := admin.ok(t, "GetResourcePolicy", m{"SecretId": "a"}).members["ResourcePolicy"]; got != text {
		t.Errorf("the policy comes back as %v", got)
	}
	app.ok(t, "GetSecretValue", m{"SecretId": "a"})
	app.fails(t, "GetSecretValue", m{"SecretId": "b"}, "AccessDeniedException", "")
	app.fails(t, "DescribeSecret", m{"SecretId": "a"}, "AccessDeniedException", "")
	clerk.ok(t, "DescribeSecret", m{"SecretId": "a"})
	clerk.fails(t, "GetSecretValue", m{"SecretId": "a"}, "AccessDeniedException", "")

	admin.ok(t, "PutResourcePolicy", m{"SecretId": "a", "ResourcePolicy": policyOf(
		m{"Effect": "Allow", "Principal": m{"AWS": root}, "Action": "secretsmanager:*", "Resource": "*"},
		m{"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:DeleteSecret", "Resource": "*"},
	)})
	clerk.ok(t, "GetSecretValue", m{"SecretId": "a"})
	clerk.ok(t, "TagResource", m{"SecretId": "a", "Tags": []m{{"Key": "k", "Value": "v"}}})
	admin.fails(t, "DeleteSecret", m{"SecretId": "a"}, "AccessDeniedException", "")
	admin.ok(t, "DeleteResourcePolicy", m{"SecretId": "a"}).has(t, "ARN", "Name")
	admin.ok(t, "DeleteResourcePolicy", m{"SecretId": "a"})
	app.fails(t, "GetSecretValue", m{"SecretId": "a"}, "AccessDeniedException", "")

	good := func(change m) string {
		s := m{"Effect": "Allow", "Principal": m{"AWS": root}, "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
		for k, v := range change {
			s[k] = v
		}
		return policyOf(s)
	}
	for policy, kind := range map[string]string{
		good(m{"Principal": "*"}): "PublicPolicyException", good(m{"Principal": m{"AWS": "*"}}): "PublicPolicyException",
		good(m{"Principal": m{"Service": "lambda.amazonaws.com"}}):                 "MalformedPolicyDocumentException",
		good(m{"Principal": m{"AWS": "arn:aws:iam::000000000000:root"}}):           "MalformedPolicyDocumentException",
		good(m{"Principal": m{"AWS": "arn:aws:iam::" + account + ":user/nobody"}}): "MalformedPolicyDocumentException",
		good(m{"Principal": m{"AWS": []string{}}}):                                 "MalformedPolicyDocumentException",
		good(m{"Action": "s3:GetObject"}):                                          "MalformedPolicyDocumentException",
		good(m{"Action": "secretsmanager:CreateSecret"}):                           "MalformedPolicyDocumentException",
		good(m{"Action": "secretsmanager:TagResource"}):                            "MalformedPolicyDocumentException",
		good(m{"Resource": strings.Replace(arn, ":a-", ":b-", 1)}):                 "MalformedPolicyDocumentException",
		good(m{"Condition": m{"StringEquals": m{"aws:PrincipalOrgID": "o"}}}):      "MalformedPolicyDocumentException",
		good(m{"NotAction": "secretsmanager:GetSecretValue"}):                      "MalformedPolicyDocumentException",
		good(m{"Effect": "Maybe"}):                                                 "MalformedPolicyDocumentException",
		good(m{"Sid": "x", "Colour": "red"}):                                       "MalformedPolicyDocumentException",
		`{"Version":"2012-10-17"}`:                                                 "MalformedPolicyDocumentException",
		`{"Version":"2008-10-17","Statement":[]}`:                                  "MalformedPolicyDocumentException",
		`{`: "MalformedPolicyDocumentException",
	} {
		admin.fails(t, "PutResourcePolicy", m{"SecretId": "a", "ResourcePolicy": policy}, kind, "")
	}
	admin.ok(t, "GetResourcePolicy", m{"SecretId": "a"}).has(t, "ARN", "Name")
	flaws := admin.ok(t, "ValidateResourcePolicy", m{"SecretId": "a", "ResourcePolicy": good(m{"Principal": "*"})})
	if flaws.members["PolicyValidationPassed"] != false || !strings.Contains(fmt.Sprint(flaws.members["ValidationErrors"]), "PUBLIC_ACCESS") {
		t.Errorf("validated as %s", flaws.body)
	}
}
