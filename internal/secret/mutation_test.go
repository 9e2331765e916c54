package secret_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func by(at time.Time) secret.Mutation {
	return secret.Mutation{By: "alice", At: at, Incarnation: "e1"}
}

func newSecret() *secret.Secret {
	return &secret.Secret{ID: testID, Name: "n", State: secret.Active, Ownership: secret.NewOwnership("east", "e1"), CreatedAt: start}
}

func put(t *testing.T, s *secret.Secret, id secret.VersionID, stages ...secret.Stage) secret.PutResult {
	t.Helper()
	result, err := s.PutVersion(by(start), secret.NewVersion{ID: id, Stages: stages, MAC: secret.MAC("mac of " + id)})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func wantCode(t *testing.T, err error, code secret.Code) {
	t.Helper()
	if got := secret.CodeOf(err); got != code {
		t.Fatalf("code %q (%v), want %q", got, err, code)
	}
}

func wantStages(t *testing.T, s *secret.Secret, want map[secret.Stage]secret.VersionID) {
	t.Helper()
	if !reflect.DeepEqual(s.Stages, want) {
		t.Fatalf("stages %v, want %v", s.Stages, want)
	}
}

func TestCurrentLeavesPrevious(t *testing.T) {
	s := newSecret()
	put(t, s, "v1")
	wantStages(t, s, map[secret.Stage]secret.VersionID{secret.Current: "v1"})
	put(t, s, "v2")
	put(t, s, "v3")
	wantStages(t, s, map[secret.Stage]secret.VersionID{secret.Current: "v3", secret.Previous: "v2"})
	if got := s.StagesOf("v1"); !reflect.DeepEqual(got, []secret.Stage{secret.Deprecated}) {
		t.Fatalf("v1 is %v", got)
	}
	if _, err := s.MoveStage(by(start), secret.Current, "v2", "v3"); err != nil {
		t.Fatal(err)
	}
	wantStages(t, s, map[secret.Stage]secret.VersionID{secret.Current: "v2", secret.Previous: "v3"})
	if got := s.StagesOf("v3"); !reflect.DeepEqual(got, []secret.Stage{secret.Latest, secret.Previous}) {
		t.Fatalf("v3 is %v", got)
	}
}

func TestPendingBecomesCurrent(t *testing.T) {
	s := newSecret()
	put(t, s, "v1")
	put(t, s, "v2", secret.Pending)
	wantStages(t, s, map[secret.Stage]secret.VersionID{secret.Current: "v1", secret.Pending: "v2"})
	if _, err := s.MoveStage(by(start), secret.Current, "v2", ""); err != nil {
		t.Fatal(err)
	}
	wantStages(t, s, map[secret.Stage]secret.VersionID{secret.Current: "v2", secret.Previous: "v1"})
}

func TestStagesNamedTogetherDoNotDependOnTheirOrder(t *testing.T) {
	for _, stages := range [][]secret.Stage{{secret.Current, secret.Pending}, {secret.Pending, secret.Current}} {
		s := newSecret()
		put(t, s, "v1", stages...)
		wantStages(t, s, map[secret.Stage]secret.VersionID{secret.Current: "v1", secret.Pending: "v1"})
	}
}

func TestRequestTokens(t *testing.T) {
	s := newSecret()
	s.RequestToken = "creation"
	v1 := secret.NewVersion{ID: "v1", RequestToken: "creation", MAC: secret.MAC("one")}
	if _, err := s.PutVersion(by(start), v1); err != nil {
		t.Fatalf("the creation puts the first version with its own token: %v", err)
	}
	v2 := secret.NewVersion{ID: "v2", RequestToken: "second", MAC: secret.MAC("two")}
	if _, err := s.PutVersion(by(start), v2); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name     string
		put      secret.NewVersion
		code     secret.Code
		replayOf secret.VersionID
	}{
		{"same token, same content, new ID", secret.NewVersion{ID: "v3", RequestToken: "second", MAC: secret.MAC("two")}, "", "v2"},
		{"same token, other content", secret.NewVersion{ID: "v3", RequestToken: "second", MAC: secret.MAC("three")}, secret.CodeTokenReused, ""},
		{"same ID, same content", secret.NewVersion{ID: "v1", MAC: secret.MAC("one")}, "", "v1"},
		{"same ID, other content", secret.NewVersion{ID: "v1", MAC: secret.MAC("three")}, secret.CodeExists, ""},
		{"the token decides before the ID", secret.NewVersion{ID: "v1", RequestToken: "second", MAC: secret.MAC("two")}, "", "v2"},
		{"the creation's token, other content", secret.NewVersion{ID: "v3", RequestToken: "creation", MAC: secret.MAC("three")}, secret.CodeTokenReused, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := s.Clone()
			result, err := s.PutVersion(by(start.Add(time.Hour)), c.put)
			wantCode(t, err, c.code)
			if result.Version.ID != c.replayOf || result.Replayed != (c.replayOf != "") {
				t.Errorf("result %+v", result)
			}
			if !reflect.DeepEqual(s, before) {
				t.Error("the record changed")
			}
		})
	}
}

func TestRequestTokensOfOtherMutations(t *testing.T) {
	s := newSecret()
	s.RequestToken = "creation"
	if _, err := s.PutVersion(by(start), secret.NewVersion{ID: "v1", RequestToken: "put", MAC: secret.MAC("one")}); err != nil {
		t.Fatal(err)
	}
	first := secret.Request{Token: "first", MAC: secret.MAC("update")}
	s.Remember(first)
	s.Remember(secret.Request{})
	for name, c := range map[string]struct {
		request  secret.Request
		repeated bool
		code     secret.Code
	}{
		"the same":                        {request: first, repeated: true},
		"another payload":                 {request: secret.Request{Token: "first", MAC: secret.MAC("move")}, code: secret.CodeTokenReused},
		"another token":                   {request: secret.Request{Token: "second", MAC: secret.MAC("update")}},
		"without a token":                 {request: secret.Request{MAC: secret.MAC("update")}},
		"the creation's token":            {request: secret.Request{Token: "creation", MAC: secret.MAC("update")}, code: secret.CodeTokenReused},
		"a version's token":               {request: secret.Request{Token: "put", MAC: secret.MAC("one")}, code: secret.CodeTokenReused},
		"a token that is not well formed": {request: secret.Request{Token: "a b", MAC: secret.MAC("update")}, code: secret.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			repeated, err := s.Repeats(c.request)
			wantCode(t, err, c.code)
			if repeated != c.repeated {
				t.Errorf("repeated is %t", repeated)
			}
		})
	}
	_, err := s.PutVersion(by(start), secret.NewVersion{ID: "v2", RequestToken: "first", MAC: secret.MAC("two")})
	wantCode(t, err, secret.CodeTokenReused)
	for i := range secret.MaxRequests {
		s.Remember(secret.Request{Token: fmt.Sprint("later-", i)})
	}
	if repeated, err := s.Repeats(first); repeated || err != nil || len(s.Requests) != secret.MaxRequests {
		t.Errorf("the oldest of %d is remembered: %t, %v", len(s.Requests), repeated, err)
	}
}

// What was put with a token stays put, whatever became of the secret.
func TestPutIsAReplayAlsoOnceDeletionIsScheduled(t *testing.T) {
	s := newSecret()
	v1 := secret.NewVersion{ID: "v1", RequestToken: "t", MAC: secret.MAC("one")}
	if _, err := s.PutVersion(by(start), v1); err != nil {
		t.Fatal(err)
	}
	if err := s.ScheduleDeletion(by(start), 0); err != nil {
		t.Fatal(err)
	}
	if result, err := s.PutVersion(by(start), v1); err != nil || !result.Replayed {
		t.Errorf("%+v, %v", result, err)
	}
	_, err := s.PutVersion(by(start), secret.NewVersion{ID: "v1", MAC: secret.MAC("one")})
	wantCode(t, err, secret.CodeWrongState)
}

func TestCreationTokenOfPrunedVersion(t *testing.T) {
	s := newSecret()
	s.RequestToken, s.Retention.MaxVersions = "creation", 1
	if _, err := s.PutVersion(by(start), secret.NewVersion{ID: "v1", RequestToken: "creation", MAC: secret.MAC("one")}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "v2")
	put(t, s, "v3")
	if s.Version("v1") != nil {
		t.Fatal("v1 was not pruned")
	}
	_, err := s.PutVersion(by(start), secret.NewVersion{ID: "v4", RequestToken: "creation", MAC: secret.MAC("one")})
	wantCode(t, err, secret.CodeTokenReused)
}

func TestReplayOfCreate(t *testing.T) {
	s := newSecret()
	s.RequestToken, s.RequestMAC = "token", secret.MAC("mac")
	pending := s.Clone()
	pending.State = secret.PendingDeletion
	cases := []struct {
		name  string
		s     *secret.Secret
		token string
		mac   string
		code  secret.Code
	}{
		{"the same", s, "token", "mac", ""},
		{"the same, scheduled for deletion since", pending, "token", "mac", ""},
		{"other content", s, "token", "other", secret.CodeTokenReused},
		{"other token", s, "other", "mac", secret.CodeExists},
		{"no token", s, "", "mac", secret.CodeExists},
		{"other token, scheduled for deletion", pending, "other", "mac", secret.CodeWrongState},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			wantCode(t, c.s.ReplayOfCreate(c.token, secret.MAC(c.mac)), c.code)
		})
	}
	s.RequestToken = ""
	wantCode(t, s.ReplayOfCreate("", secret.MAC("mac")), secret.CodeExists)
}

func labels(n int) []secret.Stage {
	stages := make([]secret.Stage, n)
	for i := range stages {
		stages[i] = secret.Stage(fmt.Sprintf("label-%d", i))
	}
	return stages
}

func TestLabelsPerVersion(t *testing.T) {
	s := newSecret()
	put(t, s, "v1", append(labels(secret.MaxLabelsPerVersion-1), secret.Current)...)
	_, err := s.MoveStage(by(start), "one-more", "v1", "")
	wantCode(t, err, secret.CodeLimit)
	_, err = s.PutVersion(by(start), secret.NewVersion{ID: "v2", Stages: labels(secret.MaxLabelsPerVersion + 1)})
	wantCode(t, err, secret.CodeInvalid)

	put(t, s, "v2")
	if got := len(s.StagesOf("v1")); got != secret.MaxLabelsPerVersion {
		t.Fatalf("v1 has %d stages and labels", got)
	}
	// CURRENT replaces PREVIOUS there, so the way back is open at the limit.
	if _, err := s.MoveStage(by(start), secret.Current, "v1", "v2"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.Validate(), "")
}

func TestNamedVersionsHaveALimit(t *testing.T) {
	s := newSecret()
	s.Retention.MaxVersions = secret.MaxVersions
	for i := range secret.MaxVersions {
		put(t, s, secret.VersionID(fmt.Sprintf("v%d", i)), secret.Stage(fmt.Sprintf("label-%d", i)))
	}
	before := s.Clone()
	_, err := s.PutVersion(by(start), secret.NewVersion{ID: "more", Stages: []secret.Stage{"more"}})
	wantCode(t, err, secret.CodeLimit)
	if !reflect.DeepEqual(s, before) {
		t.Fatal("the refused version changed the record")
	}
	result := put(t, s, "more", "label-3")
	if want := []secret.VersionID{"v3"}; !reflect.DeepEqual(result.Pruned, want) {
		t.Fatalf("pruned %v, want %v", result.Pruned, want)
	}
}

func TestPruningIsBoundedAndGoesOn(t *testing.T) {
	s := newSecret()
	s.Retention.MaxVersions = secret.MaxVersions
	for i := range secret.MaxVersions {
		put(t, s, secret.VersionID(fmt.Sprintf("v%d", i)))
	}
	if err := s.Update(by(start), secret.Changes{Retention: &secret.Retention{MaxVersions: 3}}); err != nil {
		t.Fatal(err)
	}
	seq := s.Ownership.Order.Seq
	for _, want := range []int{20, 20, 20, 20, 17, 0} {
		if got := len(s.PruneExpired(by(start), start)); got != want {
			t.Fatalf("pruned %d, want %d", got, want)
		}
	}
	if got := s.Ownership.Order.Seq - seq; got != 5 || len(s.Versions) != 3 {
		t.Fatalf("seq rose by %d, %d versions are left", got, len(s.Versions))
	}
}

func TestForbidReuse(t *testing.T) {
	s := newSecret()
	s.Rules.ForbidReuse, s.Retention.MaxVersions = true, 1
	for i := range secret.MaxRetiredMACs + 5 {
		put(t, s, secret.VersionID(fmt.Sprintf("v%d", i)))
	}
	if got := len(s.RetiredMACs); got != secret.MaxRetiredMACs {
		t.Fatalf("%d digests are kept", got)
	}
	for id, code := range map[secret.VersionID]secret.Code{"v104": secret.CodeInvalid, "v50": secret.CodeInvalid, "v1": ""} {
		_, err := s.Clone().PutVersion(by(start), secret.NewVersion{ID: "again", MAC: secret.MAC("mac of " + id)})
		if secret.CodeOf(err) != code {
			t.Errorf("value of %s: %v, want code %q", id, err, code)
		}
	}
}

func TestUpdateRefusalsChangeNothing(t *testing.T) {
	long, text := strings.Repeat("x", secret.MaxContentTypeBytes+1), "text/plain"
	sealed := secret.Sealed("sealed")
	cases := map[string]secret.Changes{
		"tags":                   {SetTags: map[string]string{"": "empty key"}, ContentType: &text, Description: &sealed},
		"content_type":           {ContentType: &long, SetTags: map[string]string{"a": "b"}},
		"rules.version_ttl":      {Rules: &secret.Rules{VersionTTL: -1}, Metadata: &sealed},
		"retention.max_versions": {Retention: &secret.Retention{MaxVersions: -1}, Rules: &secret.Rules{ForbidReuse: true}},
		"retention.max_age":      {Retention: &secret.Retention{MaxAge: time.Minute}},
	}
	for field, changes := range cases {
		t.Run(field, func(t *testing.T) {
			s := newSecret()
			s.Tags = map[string]string{"kept": "yes"}
			before := s.Clone()
			err := s.Update(by(start), changes)
			wantField(t, err, field)
			if !reflect.DeepEqual(s, before) {
				t.Error("the refused update changed the record")
			}
		})
	}
}

func TestUpdateSetsEverythingNamed(t *testing.T) {
	s := newSecret()
	s.Tags = map[string]string{"gone": "1", "kept": "2"}
	text, sealed := "text/plain", secret.Sealed("sealed")
	changes := secret.Changes{
		Description: &sealed, Metadata: &sealed, ContentType: &text,
		SetTags: map[string]string{"new": "3"}, RemoveTags: []string{"gone"},
		Rules: &secret.Rules{ExpiresAt: start}, Retention: &secret.Retention{MaxVersions: 7},
	}
	if err := s.Update(by(start.Add(time.Minute)), changes); err != nil {
		t.Fatal(err)
	}
	want := newSecret()
	want.Tags = map[string]string{"kept": "2", "new": "3"}
	want.Description, want.Metadata, want.ContentType = sealed, sealed, text
	want.Rules, want.Retention = *changes.Rules, *changes.Retention
	want.UpdatedAt = start.Add(time.Minute)
	want.Ownership.Order.Seq = 2
	if !reflect.DeepEqual(s, want) {
		t.Fatalf("record %+v, want %+v", s, want)
	}
}

func TestVersionExpiry(t *testing.T) {
	s := newSecret()
	s.Rules.VersionTTL = time.Hour
	byRule := put(t, s, "v1").Version
	if !byRule.ExpiresAt.Equal(start.Add(time.Hour)) {
		t.Errorf("expires at %s by the rule", byRule.ExpiresAt)
	}
	result, err := s.PutVersion(by(start), secret.NewVersion{ID: "v2", ExpiresAt: start.Add(2 * time.Hour)})
	if err != nil || !result.Version.ExpiresAt.Equal(start.Add(2*time.Hour)) {
		t.Errorf("expires at %s by request, %v", result.Version.ExpiresAt, err)
	}
}

func TestPutVersionRefusesBadInput(t *testing.T) {
	cases := map[string]secret.NewVersion{
		"version_id":    {ID: "with space"},
		"request_token": {ID: "v1", RequestToken: strings.Repeat("t", secret.MaxRequestTokenBytes+1)},
		"stages":        {ID: "v1", Stages: []secret.Stage{secret.Latest}},
	}
	for field, v := range cases {
		s := newSecret()
		before := s.Clone()
		_, err := s.PutVersion(by(start), v)
		wantField(t, err, field)
		if !reflect.DeepEqual(s, before) {
			t.Errorf("%s: the record changed", field)
		}
	}
}
