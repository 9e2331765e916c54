package wire_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// TestLastAccessedDate: the day on which values were last read is told by the region in
// which they were, of the secret and of its versions.
func TestLastAccessedDate(t *testing.T) {
	tenant := newTenant(t)
	east, west, ctx := tenant.sdk("east"), tenant.sdk("west"), t.Context()
	made, err := east.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("read"), SecretString: aws.String("one"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("west")}},
	})
	must(t, err)
	_, err = east.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("unread"), SecretString: aws.String("x")})
	must(t, err)
	put, err := east.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: made.Name, SecretString: aws.String("two")})
	must(t, err)
	tenant.in("east").awaitStatus(t, "read", "west", "InSync")
	before := time.Now().UTC().Truncate(24 * time.Hour)
	for range 3 {
		_, err = east.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: made.Name})
		must(t, err)
	}
	after := time.Now().UTC().Truncate(24 * time.Hour)
	isDay := func(at *time.Time) bool { return at != nil && (at.Equal(before) || at.Equal(after)) }
	eventually(t, func() error {
		about, err := east.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: made.Name})
		if err != nil || !isDay(about.LastAccessedDate) {
			return fmt.Errorf("described as %+v, %w", about, err)
		}
		return nil
	})
	versions, err := east.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: made.Name})
	must(t, err)
	for _, v := range versions.Versions {
		if read := *v.VersionId == *put.VersionId; isDay(v.LastAccessedDate) != read || !read && v.LastAccessedDate != nil {
			t.Errorf("version %s was last read %v", *v.VersionId, v.LastAccessedDate)
		}
	}
	list := func(order types.SortOrderType) (names []string) {
		t.Helper()
		page, err := east.ListSecrets(ctx, &secretsmanager.ListSecretsInput{SortBy: types.SortByTypeLastAccessedDate, SortOrder: order})
		must(t, err)
		for _, s := range page.SecretList {
			if names = append(names, *s.Name); isDay(s.LastAccessedDate) != (*s.Name == "read") {
				t.Errorf("%s was last read %v", *s.Name, s.LastAccessedDate)
			}
		}
		return names
	}
	if got := list(types.SortOrderTypeAsc); !slices.Equal(got, []string{"unread", "read"}) {
		t.Errorf("by date of access: %v", got)
	}
	if got := list(types.SortOrderTypeDesc); !slices.Equal(got, []string{"read", "unread"}) {
		t.Errorf("by date of access, the last first: %v", got)
	}
	about, err := west.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: made.Name})
	must(t, err)
	if about.LastAccessedDate != nil {
		t.Errorf("in west, where nobody read it, it was read %s", about.LastAccessedDate)
	}
}
