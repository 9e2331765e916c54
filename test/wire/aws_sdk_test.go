package wire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// sdk returns the SDK's client of a tenant in a region.
func (k *tenant) sdk(region string) *secretsmanager.Client {
	r := shared.Region(region)
	host := r.Host(0)
	return secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(host.URL()), Region: region, HTTPClient: r.Client(host, "").HTTP,
		Credentials: credentials.NewStaticCredentialsProvider(k.key.AccessKeyID, k.key.SecretAccessKey, ""), RetryMaxAttempts: 1,
	})
}

// isFault reports whether an error is of a type of the SDK.
func isFault[T error](t testing.TB, err error) T {
	t.Helper()
	fault, ok := errors.AsType[T](err)
	if !ok {
		t.Errorf("the error is %v, want %T", err, fault)
	}
	return fault
}

func TestGoSDK(t *testing.T) {
	tenant := newTenant(t)
	c, ctx := tenant.sdk("east"), t.Context()
	made, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("db/password"), SecretString: aws.String("one"), Description: aws.String("of the database"),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
	})
	must(t, err)
	put, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: made.ARN, SecretBinary: []byte{0, 255}})
	must(t, err)
	got, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: made.Name})
	must(t, err)
	if *got.VersionId != *put.VersionId || !slices.Equal(got.SecretBinary, []byte{0, 255}) || got.SecretString != nil || !slices.Equal(got.VersionStages, []string{"AWSCURRENT"}) {
		t.Errorf("read %+v", got)
	}
	old, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: made.Name, VersionStage: aws.String("AWSPREVIOUS")})
	must(t, err)
	if *old.SecretString != "one" || *old.VersionId != *made.VersionId {
		t.Errorf("read %+v", old)
	}
	_, err = c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: made.ARN, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: made.VersionId, RemoveFromVersionId: put.VersionId,
	})
	must(t, err)
	about, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: made.ARN})
	must(t, err)
	if *about.Description != "of the database" || *about.Tags[0].Value != "blue" || about.CreatedDate.IsZero() || about.RotationEnabled != nil ||
		!slices.Equal(about.VersionIdsToStages[*made.VersionId], []string{"AWSCURRENT"}) || !slices.Equal(about.VersionIdsToStages[*put.VersionId], []string{"AWSPREVIOUS"}) {
		t.Errorf("described as %+v", about)
	}
	_, err = c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: made.Name, SecretString: aws.String("x")})
	isFault[*types.ResourceExistsException](t, err)
	_, err = c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("other")})
	if fault := isFault[*types.ResourceNotFoundException](t, err); fault != nil && fault.ErrorMessage() != notFound {
		t.Errorf("the message is %q", fault.ErrorMessage())
	}
	_, err = c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: made.ARN, RecoveryWindowInDays: aws.Int64(7)})
	must(t, err)
	_, err = c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: made.ARN})
	isFault[*types.InvalidRequestException](t, err)
	_, err = c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: made.ARN})
	must(t, err)
	_, err = c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: made.ARN, ForceDeleteWithoutRecovery: aws.Bool(true)})
	must(t, err)
	password, err := c.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(40), ExcludePunctuation: aws.Bool(true)})
	must(t, err)
	if len(*password.RandomPassword) != 40 {
		t.Errorf("the password has %d characters", len(*password.RandomPassword))
	}
}

// TestLists: pages hold each secret once, in every order; filters choose.
func TestLists(t *testing.T) {
	tenant := newTenant(t)
	c, ctx := tenant.sdk("east"), t.Context()
	var names []string
	for i := range 7 {
		name := fmt.Sprintf("app/%c", 'g'-i) // made in the reverse order of their names
		names = append(names, name)
		_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String(name), SecretString: aws.String("v"), Description: aws.String("number " + fmt.Sprint(i))})
		must(t, err)
	}
	_, err := c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("app/a")})
	must(t, err)
	live, sorted := names[:6], slices.Sorted(slices.Values(names[:6]))
	reversed := func(s []string) []string { s = slices.Clone(s); slices.Reverse(s); return s }
	for _, l := range []struct {
		in   secretsmanager.ListSecretsInput
		want []string
	}{
		{secretsmanager.ListSecretsInput{}, live},
		{secretsmanager.ListSecretsInput{SortOrder: types.SortOrderTypeDesc}, reversed(live)},
		{secretsmanager.ListSecretsInput{SortBy: types.SortByTypeName}, sorted},
		{secretsmanager.ListSecretsInput{SortBy: types.SortByTypeName, SortOrder: types.SortOrderTypeDesc}, reversed(sorted)},
		{secretsmanager.ListSecretsInput{SortBy: types.SortByTypeLastChangedDate}, live},
		{secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)}, names},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{"!app/g"}}}}, live[1:]},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: types.FilterNameStringTypeDescription, Values: []string{"NUMBER 3"}}}}, live[3:4]},
	} {
		l.in.MaxResults = aws.Int32(2)
		var got []string
		for pages := secretsmanager.NewListSecretsPaginator(c, &l.in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			must(t, err)
			if len(page.SecretList) > 2 {
				t.Errorf("a page has %d secrets", len(page.SecretList))
			}
			for _, s := range page.SecretList {
				got = append(got, *s.Name)
			}
		}
		if !slices.Equal(got, l.want) {
			t.Errorf("%+v lists %v, want %v", l.in, got, l.want)
		}
	}
	batch, err := c.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"app/g", "none", "app/a"}})
	must(t, err)
	if len(batch.SecretValues) != 1 || len(batch.Errors) != 2 || *batch.Errors[0].ErrorCode != "ResourceNotFoundException" || *batch.Errors[1].ErrorCode != "InvalidRequestException" {
		t.Errorf("the batch is %+v", batch)
	}
	n := 0
	for pages := secretsmanager.NewBatchGetSecretValuePaginator(c, &secretsmanager.BatchGetSecretValueInput{
		Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{"app/"}}}, MaxResults: aws.Int32(4),
	}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		must(t, err)
		n += len(page.SecretValues)
	}
	if n != len(live) {
		t.Errorf("batches hold %d values, want %d", n, len(live))
	}
}

// TestVersions: deprecated versions are listed when asked for; labels stay.
func TestVersions(t *testing.T) {
	tenant := newTenant(t)
	c, ctx, name := tenant.sdk("east"), t.Context(), aws.String("a")
	_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: name})
	must(t, err)
	for i := range 5 {
		in := &secretsmanager.PutSecretValueInput{SecretId: name, SecretString: aws.String(fmt.Sprint(i))}
		if i == 1 {
			in.VersionStages = []string{"blue", "AWSCURRENT"}
		}
		_, err := c.PutSecretValue(ctx, in)
		must(t, err)
	}
	for _, l := range []struct {
		deprecated bool
		want       [][]string
	}{
		{false, [][]string{{"blue"}, {"AWSPREVIOUS"}, {"AWSCURRENT"}}},
		{true, [][]string{nil, {"blue"}, nil, {"AWSPREVIOUS"}, {"AWSCURRENT"}}},
	} {
		var got [][]string
		for pages := secretsmanager.NewListSecretVersionIdsPaginator(c, &secretsmanager.ListSecretVersionIdsInput{
			SecretId: name, IncludeDeprecated: &l.deprecated, MaxResults: aws.Int32(2),
		}); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			must(t, err)
			for _, v := range page.Versions {
				got = append(got, v.VersionStages)
			}
		}
		if !slices.EqualFunc(got, l.want, slices.Equal) {
			t.Errorf("versions have %v, want %v", got, l.want)
		}
	}
	blue, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: name, VersionStage: aws.String("blue")})
	must(t, err)
	if *blue.SecretString != "1" {
		t.Errorf("blue is %s", *blue.SecretString)
	}
}

// TestReadLoop is how operators that copy secrets into clusters read: a list by
// tag, and values again and again; what was written before is always seen.
func TestReadLoop(t *testing.T) {
	tenant := newTenant(t)
	c, ctx := tenant.sdk("east"), t.Context()
	_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("app/token"), SecretString: aws.String("0"), Tags: []types.Tag{{Key: aws.String("sync"), Value: aws.String("yes")}},
	})
	must(t, err)
	for i := range 10 {
		_, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("app/token"), SecretString: aws.String(fmt.Sprint(i))})
		must(t, err)
		if got := synced(ctx, t, c); got["app/token"] != fmt.Sprint(i) {
			t.Fatalf("after %d was written the loop reads %v", i, got)
		}
	}
}

// synced returns what the loop finds.
func synced(ctx context.Context, t testing.TB, c *secretsmanager.Client) map[string]string {
	found := map[string]string{}
	list, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: types.FilterNameStringTypeTagKey, Values: []string{"sync"}}}})
	must(t, err)
	for _, s := range list.SecretList {
		about, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: s.ARN})
		must(t, err)
		for id, stages := range about.VersionIdsToStages {
			if !slices.Contains(stages, "AWSCURRENT") {
				continue
			}
			value, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: s.ARN, VersionId: aws.String(id)})
			must(t, err)
			found[*s.Name] = *value.SecretString
		}
	}
	return found
}
