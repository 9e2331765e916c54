package wire_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/skiptest"
)

// environment is what a shell sets to use a region with AWS's tools.
func (k *tenant) environment(region string) []string {
	r := shared.Region(region)
	return append(os.Environ(),
		"AWS_ENDPOINT_URL_SECRETS_MANAGER="+r.Host(0).URL(), "AWS_ACCESS_KEY_ID="+k.key.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+k.key.SecretAccessKey,
		"AWS_REGION="+region, "AWS_DEFAULT_REGION="+region, "AWS_CA_BUNDLE="+r.CAFile(), "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_SESSION_TOKEN=",
	)
}

func TestBoto3(t *testing.T) {
	t.Parallel()
	python := ""
	for _, candidate := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), candidate, "-c", "import boto3").Run() == nil {
			python = candidate
			break
		}
	}
	if python == "" {
		skiptest.Missing(t, "boto3", "apt-get install awscli python3-boto3")
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/boto3_client.py")
	cmd.Env = newTenant(t).environment("east")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAWSCLI(t *testing.T) {
	t.Parallel() // each run takes a second, most of it to start
	if exec.CommandContext(t.Context(), "aws", "--version").Run() != nil {
		skiptest.Missing(t, "the AWS CLI", "apt-get install awscli python3-boto3")
	}
	tenant := newTenant(t)
	run := func(args ...string) (stdout, stderr string, err error) {
		cmd := exec.CommandContext(t.Context(), "aws", append([]string{
			"--endpoint-url", shared.Region("east").Host(0).URL(), "--output", "json", "secretsmanager",
		}, args...)...)
		cmd.Env = tenant.environment("east")
		var out, fail bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &fail
		err = cmd.Run()
		return out.String(), fail.String(), err
	}
	ok := func(args ...string) (answer map[string]any) {
		t.Helper()
		out, fail, err := run(args...)
		if err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, fail)
		}
		must(t, json.Unmarshal([]byte(out), &answer))
		return answer
	}
	ok("create-secret", "--name", "cli/a", "--secret-string", "one", "--description", "text")
	if got := ok("get-secret-value", "--secret-id", "cli/a"); got["SecretString"] != "one" {
		t.Errorf("read %v", got)
	}
	if _, fail, err := run("get-secret-value", "--secret-id", "cli/b"); err == nil || !strings.Contains(fail, "(ResourceNotFoundException)") ||
		!strings.Contains(fail, notFound) {
		t.Errorf("%v: %s", err, fail)
	}
}
