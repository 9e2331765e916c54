package wire_test

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/rotation"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	rotatorName    = "arn:aws:lambda:east:000000000000:function:rotator"
	foreignRotator = "arn:aws:lambda:east:000000000001:function:rotator" // of some other account
)

// rotator is the one of the shared regions: an HTTP server that does what tests say.
var rotator = &rotators{secrets: map[string]func(context.Context, step) error{}}

type rotators struct {
	server *httptest.Server
	key    string

	mu      sync.Mutex
	secrets map[string]func(context.Context, step) error
}

// step is what a rotator is asked.
type step struct{ Step, SecretId, ClientRequestToken string } //nolint:revive // the contract's names

// start starts the server and returns how regions find it.
func (r *rotators) start(dir string) (func(string, *config.Config), error) {
	r.key = "a key that signs what rotators are asked"
	file := filepath.Join(dir, "rotator-key")
	r.server = httptest.NewServer(r)
	return func(_ string, c *config.Config) {
		if c.Process.Has(config.Control) {
			c.Rotators = []config.Rotator{{Name: rotatorName, URL: r.server.URL, KeyFile: file}, {Name: foreignRotator, URL: r.server.URL, KeyFile: file}}
		}
	}, os.WriteFile(file, []byte(r.key+"\n"), 0o600)
}

func (r *rotators) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	want := rotation.Sign(secret.NewPlaintext([]byte(r.key)), q.Header.Get(rotation.HeaderTimestamp), body)
	if err != nil || !hmac.Equal([]byte(want), []byte(q.Header.Get(rotation.HeaderSignature))) {
		http.Error(w, "who asks?", http.StatusForbidden)
		return
	}
	var s step
	if err := json.Unmarshal(body, &s); err != nil {
		http.Error(w, "what?", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	do := r.secrets[s.SecretId]
	r.mu.Unlock()
	if do == nil {
		http.Error(w, "which?", http.StatusNotFound)
		return
	}
	if err := do(q.Context(), s); err != nil {
		http.Error(w, "no", http.StatusInternalServerError)
	}
}

func (r *rotators) on(secretID string, do func(context.Context, step) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[secretID] = do
}

// rotate does a step as rotators for AWS do, with the SDK.
func rotate(ctx context.Context, c *secretsmanager.Client, s step) error {
	id, token := aws.String(s.SecretId), aws.String(s.ClientRequestToken)
	switch s.Step {
	case "createSecret":
		_, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: id, ClientRequestToken: token, SecretString: aws.String("made for " + s.ClientRequestToken), VersionStages: []string{"AWSPENDING"},
		})
		return err
	case "setSecret", "testSecret":
		_, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id, VersionId: token, VersionStage: aws.String("AWSPENDING")})
		return err
	case "finishSecret":
		about, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: id})
		if err != nil {
			return err
		}
		for version, stages := range about.VersionIdsToStages {
			if version == s.ClientRequestToken || !slices.Contains(stages, "AWSCURRENT") {
				continue
			}
			if _, err = c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
				SecretId: id, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: token, RemoveFromVersionId: aws.String(version),
			}); err != nil {
				return err
			}
		}
		_, err = c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String("AWSPENDING"), RemoveFromVersionId: token})
		return err
	}
	return errors.New("unknown step " + s.Step)
}

// TestRotation: a rotator as it is written for AWS replaces a value, over a crash of
// the control process in the middle of a step.
func TestRotation(t *testing.T) {
	tenant := newTenant(t)
	k, c, east := tenant.in("east"), tenant.sdk("east"), shared.Region("east")
	arn := k.ok(t, "CreateSecret", m{"Name": "a", "SecretString": "old", "ClientRequestToken": token(1)}).members["ARN"].(string)
	var mu sync.Mutex
	var steps []string
	crashed := false
	killed := make(chan error, 1)
	rotator.on(arn, func(ctx context.Context, s step) error {
		mu.Lock()
		steps = append(steps, s.Step)
		first := s.Step == "testSecret" && !crashed
		crashed = crashed || first
		mu.Unlock()
		if first { // the process that asked dies before it hears the answer
			killed <- east.Control().Kill()
			<-ctx.Done()
			return ctx.Err()
		}
		return rotate(ctx, c, s)
	})
	k.ok(t, "RotateSecret", m{
		"SecretId": "a", "ClientRequestToken": token(2), "RotationLambdaARN": rotatorName, "RotationRules": m{"ScheduleExpression": "cron(0 8 * * ? *)", "Duration": "3h"},
	}).has(t, "ARN", "Name", "VersionId")
	must(t, <-killed)
	must(t, east.Control().Start(t.Context()))
	must(t, east.WaitReady(t.Context()))
	eventually(t, func() error {
		got := k.ok(t, "GetSecretValue", m{"SecretId": "a"})
		if got.members["SecretString"] != "made for "+token(2) {
			return fmt.Errorf("the value is %s", got.body)
		}
		return nil
	})
	about := k.ok(t, "DescribeSecret", m{"SecretId": "a"})
	eventually(t, func() error {
		if about = k.ok(t, "DescribeSecret", m{"SecretId": "a"}); about.members["LastRotatedDate"] == nil {
			return fmt.Errorf("described as %s", about.body)
		}
		return nil
	})
	about.has(t, "ARN", "CreatedDate", "LastChangedDate", "LastRotatedDate", "Name", "NextRotationDate", "RotationEnabled", "RotationLambdaARN", "RotationRules", "VersionIdsToStages")
	if stages := fmt.Sprint(about.members["VersionIdsToStages"]); stages != fmt.Sprintf("map[%s:[AWSPREVIOUS] %s:[AWSCURRENT]]", token(1), token(2)) {
		t.Errorf("the stages are %s", stages)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"createSecret", "setSecret", "testSecret", "finishSecret"}; !slices.Equal(slices.Compact(steps), want) {
		t.Errorf("the steps were %v, want %v", steps, want)
	}
	k.ok(t, "CancelRotateSecret", m{"SecretId": "a"}).has(t, "ARN", "Name")
	if about = k.ok(t, "DescribeSecret", m{"SecretId": "a"}); about.members["RotationEnabled"] != false || about.members["RotationLambdaARN"] != rotatorName {
		t.Errorf("after it was cancelled: %s", about.body)
	}
}

// TestRotationsThatAreRefused change nothing.
func TestRotationsThatAreRefused(t *testing.T) {
	k := newTenant(t).in("east")
	k.ok(t, "CreateSecret", m{"Name": "a", "SecretString": "old", "ClientRequestToken": token(1)})
	for _, name := range []string{rotatorName + "2", foreignRotator} {
		k.fails(t, "RotateSecret", m{"SecretId": "a", "ClientRequestToken": token(2), "RotationLambdaARN": name}, "AccessDeniedException", "")
	}
	for _, rules := range []m{
		{"AutomaticallyAfterDays": 0}, {"AutomaticallyAfterDays": 1, "ScheduleExpression": "rate(4 hours)"}, {"ScheduleExpression": "rate(1 hour)"},
		{"ScheduleExpression": "daily"}, {"AutomaticallyAfterDays": 1, "Duration": "25h"}, {"AutomaticallyAfterDays": 1, "Duration": "3"},
	} {
		if a := k.do(t, "RotateSecret", m{"SecretId": "a", "ClientRequestToken": token(2), "RotationLambdaARN": rotatorName, "RotationRules": rules}); a.status != http.StatusBadRequest {
			t.Errorf("%v: %s", rules, a.body)
		}
	}
	k.ok(t, "DescribeSecret", m{"SecretId": "a"}).has(t, "ARN", "CreatedDate", "LastChangedDate", "Name", "VersionIdsToStages")
}

// TestARotationThatIsNotDoneKeepsOthersOut until it is cancelled.
func TestARotationThatIsNotDoneKeepsOthersOut(t *testing.T) {
	k := newTenant(t).in("east")
	arn := k.ok(t, "CreateSecret", m{"Name": "a", "SecretString": "old", "ClientRequestToken": token(1)}).members["ARN"].(string)
	rotator.on(arn, func(context.Context, step) error { return errors.New("down") })
	k.ok(t, "RotateSecret", m{"SecretId": "a", "ClientRequestToken": token(2), "RotationLambdaARN": rotatorName, "RotationRules": m{"AutomaticallyAfterDays": 30}})
	k.ok(t, "RotateSecret", m{"SecretId": "a", "ClientRequestToken": token(2), "RotationLambdaARN": rotatorName, "RotationRules": m{"AutomaticallyAfterDays": 30}})
	k.fails(t, "RotateSecret", m{"SecretId": "a", "ClientRequestToken": token(3)}, "InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
	k.ok(t, "CancelRotateSecret", m{"SecretId": "a"}).has(t, "ARN", "Name", "VersionId")
	k.ok(t, "RotateSecret", m{"SecretId": "a", "ClientRequestToken": token(3), "RotateImmediately": false}).has(t, "ARN", "Name")
}

// TestARotatorIsTriedOut when nothing is to be rotated at once: testSecret alone, with
// a version at AWSPENDING that goes afterwards.
func TestARotatorIsTriedOut(t *testing.T) {
	tenant := newTenant(t)
	k, c := tenant.in("east"), tenant.sdk("east")
	arn := k.ok(t, "CreateSecret", m{"Name": "a", "SecretString": "old", "ClientRequestToken": token(1)}).members["ARN"].(string)
	asked := make(chan step, 8)
	rotator.on(arn, func(ctx context.Context, s step) error {
		got, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.SecretId, VersionId: &s.ClientRequestToken, VersionStage: aws.String("AWSPENDING")})
		if err == nil && *got.SecretString != "old" {
			err = fmt.Errorf("the copy is %s", *got.SecretString)
		}
		if err == nil {
			asked <- s
		}
		return err
	})
	rotate := m{"SecretId": "a", "ClientRequestToken": token(2), "RotationLambdaARN": rotatorName, "RotationRules": m{"AutomaticallyAfterDays": 30}, "RotateImmediately": false}
	k.ok(t, "RotateSecret", rotate).has(t, "ARN", "Name")
	if s := <-asked; s.Step != "testSecret" || s.ClientRequestToken != token(2) {
		t.Errorf("the rotator was asked %+v", s)
	}
	eventually(t, func() error {
		about := k.ok(t, "DescribeSecret", m{"SecretId": "a"})
		if stages := fmt.Sprint(about.members["VersionIdsToStages"]); stages != fmt.Sprintf("map[%s:[AWSCURRENT]]", token(1)) || about.members["RotationEnabled"] != true {
			return fmt.Errorf("described as %s", about.body)
		}
		return nil
	})
	versions, err := c.ListSecretVersionIds(t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &arn, IncludeDeprecated: aws.Bool(true)})
	must(t, err)
	if len(versions.Versions) != 1 || len(asked) > 0 {
		t.Errorf("it left %d versions, and asked %d times more", len(versions.Versions), len(asked))
	}
}
