package secret_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const testID = secret.ID("01J00000000000000000000000.01J00000000000000000000001")

// model is a second, plainer account of what mutations do to a secret: it keeps
// the labels with the versions they are on, and trusts the clock to go forward.
type model struct {
	versions  []modelVersion
	retired   []string
	state     secret.State
	tags      map[string]string
	rules     secret.Rules
	retention secret.Retention
	seq       uint64
	deleteAt  time.Time
	requests  []secret.Request
}

type modelVersion struct {
	id        secret.VersionID
	value     string
	token     string
	createdAt time.Time
	expiresAt time.Time
	labels    map[secret.Stage]bool
}

func (m *model) find(match func(v modelVersion) bool) *modelVersion {
	if i := slices.IndexFunc(m.versions, match); i >= 0 {
		return &m.versions[i]
	}
	return nil
}

func (m *model) withLabel(stage secret.Stage) *modelVersion {
	return m.find(func(v modelVersion) bool { return v.labels[stage] })
}

func (m *model) detach(stage secret.Stage) {
	for _, v := range m.versions {
		delete(v.labels, stage)
	}
}

func (m *model) attach(stage secret.Stage, id secret.VersionID) {
	to := m.find(func(v modelVersion) bool { return v.id == id })
	if stage == secret.Current && !to.labels[secret.Current] {
		m.detach(secret.Previous)
		if old := m.withLabel(secret.Current); old != nil {
			old.labels[secret.Previous] = true
		}
		delete(to.labels, secret.Pending)
	}
	m.detach(stage)
	to.labels[stage] = true
}

// put returns the code of the refusal and whether it is a replay.
func (m *model) put(at time.Time, v secret.NewVersion, value string) (secret.Code, bool) {
	byToken := m.find(func(p modelVersion) bool { return v.RequestToken != "" && p.token == v.RequestToken })
	switch {
	case byToken != nil && byToken.value == value:
		return "", true
	case m.state == secret.PendingDeletion:
		return secret.CodeWrongState, false
	case byToken != nil || m.request(v.RequestToken) != nil:
		return secret.CodeTokenReused, false
	}
	if prior := m.find(func(p modelVersion) bool { return p.id == v.ID }); prior != nil {
		if prior.value != value {
			return secret.CodeExists, false
		}
		return "", true
	}
	if m.rules.ForbidReuse && (slices.Contains(m.retired, value) ||
		m.find(func(p modelVersion) bool { return p.value == value }) != nil) {
		return secret.CodeInvalid, false
	}
	expires := v.ExpiresAt
	if expires.IsZero() && m.rules.VersionTTL > 0 {
		expires = at.Add(m.rules.VersionTTL)
	}
	m.versions = append(m.versions, modelVersion{
		id: v.ID, value: value, token: v.RequestToken, createdAt: at, expiresAt: expires, labels: map[secret.Stage]bool{},
	})
	stages := v.Stages
	if len(stages) == 0 {
		stages = []secret.Stage{secret.Current}
	}
	if slices.Contains(stages, secret.Current) {
		m.attach(secret.Current, v.ID)
	}
	for _, stage := range stages {
		m.attach(stage, v.ID)
	}
	m.seq++
	m.prune(at)
	return "", false
}

// request returns the one that came with a token.
func (m *model) request(token string) *secret.Request {
	for i := range m.requests {
		if token != "" && m.requests[i].Token == token {
			return &m.requests[i]
		}
	}
	return nil
}

// prune drops the oldest versions that may go: as many as are too many, or all
// that are too old if those are more. It returns how many.
func (m *model) prune(at time.Time) int {
	limit := m.retention.MaxVersions
	if limit == 0 {
		limit = secret.DefaultMaxVersions
	}
	var free, old []secret.VersionID
	for i, v := range m.versions {
		if len(v.labels) > 0 || i == len(m.versions)-1 {
			continue
		}
		free = append(free, v.id)
		if m.retention.MaxAge > 0 && at.Sub(v.createdAt) > m.retention.MaxAge {
			old = append(old, v.id)
		}
	}
	n := max(len(m.versions)-limit, len(old), 0)
	gone := free[:min(n, len(free), secret.MaxPrunedPerMutation)]
	m.versions = slices.DeleteFunc(m.versions, func(v modelVersion) bool {
		if !slices.Contains(gone, v.id) {
			return false
		}
		if m.rules.ForbidReuse {
			m.retired = append(m.retired, v.value)
		}
		return true
	})
	m.retired = m.retired[max(0, len(m.retired)-secret.MaxRetiredMACs):]
	return len(gone)
}

func (m *model) stages() map[secret.Stage]secret.VersionID {
	stages := map[secret.Stage]secret.VersionID{}
	for _, v := range m.versions {
		for stage := range v.labels {
			stages[stage] = v.id
		}
	}
	return stages
}

// machine drives a secret and its model through the same mutations.
type machine struct {
	secret *secret.Secret
	model  *model
	now    time.Time
	made   int
}

func newMachine() *machine {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &machine{
		secret: &secret.Secret{ID: testID, Name: "db/password", State: secret.Active, Ownership: secret.NewOwnership("east", "e1"), CreatedAt: now},
		model:  &model{state: secret.Active, seq: 1, tags: map[string]string{}},
		now:    now,
	}
}

func (c *machine) mutation() secret.Mutation {
	return secret.Mutation{By: "alice", At: c.now, Incarnation: "e1"}
}

// expect compares the outcome with what the model foretold; after an error or
// a replay the record must be what it was.
func (c *machine) expect(t *rapid.T, before *secret.Secret, err error, want secret.Code, changed bool) {
	t.Helper()
	if got := secret.CodeOf(err); got != want {
		t.Fatalf("code %q (%v), want %q", got, err, want)
	}
	if !changed && !reflect.DeepEqual(c.secret, before) {
		t.Fatalf("changed although it reported no change:\n%+v\nbefore:\n%+v", c.secret, before)
	}
	if changed && !c.secret.UpdatedAt.Equal(c.now) {
		t.Fatalf("UpdatedAt is %s, want %s", c.secret.UpdatedAt, c.now)
	}
}

var (
	anyStage = rapid.SampledFrom([]secret.Stage{secret.Current, secret.Current, secret.Pending, "blue", "green", "v1"})
	anyValue = rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("value-%d", rapid.IntRange(0, 40).Draw(t, "value")) })
)

func (c *machine) version(t *rapid.T) secret.VersionID {
	if len(c.model.versions) == 0 || rapid.IntRange(0, 9).Draw(t, "unknown") == 0 {
		return "no-such-version"
	}
	return rapid.SampledFrom(c.model.versions).Draw(t, "version").id
}

func (c *machine) put(t *rapid.T) {
	c.made++
	value := anyValue.Draw(t, "value")
	v := secret.NewVersion{
		ID:     secret.VersionID(fmt.Sprintf("v-%d", c.made)),
		Stages: rapid.SliceOfN(anyStage, 0, 4).Draw(t, "stages"),
		MAC:    secret.MAC(value), Size: len(value),
	}
	if n := len(c.model.versions); n > 0 && rapid.IntRange(0, 5).Draw(t, "same ID") == 0 {
		v.ID = c.model.versions[rapid.IntRange(0, n-1).Draw(t, "of")].id
	}
	if rapid.Bool().Draw(t, "with token") {
		v.RequestToken = fmt.Sprintf("token-%d", rapid.IntRange(0, 30).Draw(t, "token"))
	}
	if rapid.IntRange(0, 4).Draw(t, "with expiry") == 0 {
		v.ExpiresAt = c.now.Add(time.Hour)
	}
	before := c.secret.Clone()
	had := len(c.model.versions)
	code, replay := c.model.put(c.now, v, value)
	result, err := c.secret.PutVersion(c.mutation(), v)
	c.expect(t, before, err, code, code == "" && !replay)
	if result.Replayed != replay {
		t.Fatalf("replayed %t, want %t", result.Replayed, replay)
	}
	if want := had + 1 - len(c.model.versions); code == "" && !replay && len(result.Pruned) != want {
		t.Fatalf("pruned %v, want %d versions", result.Pruned, want)
	}
}

func (c *machine) moveStage(t *rapid.T) {
	stage, to, from := anyStage.Draw(t, "stage"), c.version(t), secret.VersionID("")
	if rapid.IntRange(0, 3).Draw(t, "take off") == 0 {
		to = ""
	}
	if rapid.Bool().Draw(t, "with from") {
		from = c.version(t)
	}
	var at secret.VersionID
	if v := c.model.withLabel(stage); v != nil {
		at = v.id
	}
	target := c.model.find(func(v modelVersion) bool { return v.id == to })
	var want secret.Code
	changed := false
	switch {
	case c.model.state == secret.PendingDeletion:
		want = secret.CodeWrongState
	case from != "" && from != at:
		want = secret.CodeStale
	case to == "" && stage == secret.Current:
		want = secret.CodeInvalid
	case to != "" && target == nil:
		want = secret.CodeNotFound
	case to == at:
	case to == "":
		changed = true
		c.model.detach(stage)
	default:
		changed = true
		c.model.attach(stage, to)
	}
	before := c.secret.Clone()
	got, err := c.secret.MoveStage(c.mutation(), stage, to, from)
	c.expect(t, before, err, want, changed)
	if got != changed {
		t.Fatalf("reported change %t, want %t", got, changed)
	}
	if changed {
		c.model.seq++
	}
}

func (c *machine) update(t *rapid.T) {
	var changes secret.Changes
	var want secret.Code
	next := *c.model
	next.tags = maps.Clone(c.model.tags)
	if rapid.Bool().Draw(t, "tags") {
		changes.SetTags = rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.StringN(0, 3, 10), 0, 3).Draw(t, "set")
		changes.RemoveTags = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2).Draw(t, "remove")
		for _, k := range changes.RemoveTags {
			delete(next.tags, k)
		}
		maps.Copy(next.tags, changes.SetTags)
	}
	if rapid.Bool().Draw(t, "rules") {
		changes.Rules = &secret.Rules{
			VersionTTL:  rapid.SampledFrom([]time.Duration{0, time.Second, 24 * time.Hour, time.Millisecond}).Draw(t, "ttl"),
			ForbidReuse: rapid.Bool().Draw(t, "forbid reuse"),
		}
		next.rules = *changes.Rules
		if changes.Rules.VersionTTL == time.Millisecond {
			want = secret.CodeInvalid
		}
		if !next.rules.ForbidReuse {
			next.retired = nil
		}
	}
	if rapid.Bool().Draw(t, "retention") {
		changes.Retention = &secret.Retention{
			MaxVersions: rapid.SampledFrom([]int{0, 1, 2, 3, 5, secret.MaxVersions, secret.MaxVersions + 1}).Draw(t, "max versions"),
			MaxAge:      rapid.SampledFrom([]time.Duration{0, 0, time.Hour, 72 * time.Hour, time.Minute}).Draw(t, "max age"),
		}
		next.retention = *changes.Retention
		if changes.Retention.MaxVersions > secret.MaxVersions || changes.Retention.MaxAge == time.Minute {
			want = secret.CodeInvalid
		}
	}
	if c.model.state == secret.PendingDeletion {
		want = secret.CodeWrongState
	}
	before := c.secret.Clone()
	err := c.secret.Update(c.mutation(), changes)
	c.expect(t, before, err, want, want == "")
	if want == "" {
		next.seq++
		*c.model = next
	}
}

// repeatable is a mutation with a request token, as its callers put it together.
func (c *machine) repeatable(t *rapid.T) {
	r := secret.Request{
		Token: fmt.Sprintf("token-%d", rapid.IntRange(0, 30).Draw(t, "token")),
		MAC:   secret.MAC(rapid.SampledFrom([]string{"this", "that"}).Draw(t, "payload")),
	}
	var want secret.Code
	prior := c.model.request(r.Token)
	switch {
	case prior != nil && prior.MAC.Equal(r.MAC):
	case prior != nil || c.model.find(func(v modelVersion) bool { return v.token == r.Token }) != nil:
		want = secret.CodeTokenReused
	}
	before := c.secret.Clone()
	repeated, err := c.secret.Repeats(r)
	c.expect(t, before, err, want, false)
	if repeated != (prior != nil && want == "") {
		t.Fatalf("repeated %t, remembered is %v", repeated, prior)
	}
	if err == nil && !repeated && c.model.state == secret.Active {
		c.update(t)
		c.secret.Remember(r)
		c.model.requests = append(c.model.requests, r)
		c.model.requests = c.model.requests[max(0, len(c.model.requests)-secret.MaxRequests):]
	}
}

func (c *machine) pruneExpired(t *rapid.T) {
	before := c.secret.Clone()
	want := c.model.prune(c.now)
	got := c.secret.PruneExpired(c.mutation(), c.now)
	c.expect(t, before, nil, "", want > 0)
	if len(got) != want {
		t.Fatalf("pruned %v, want %d versions", got, want)
	}
	if want > 0 {
		c.model.seq++
	}
}

func (c *machine) scheduleDeletion(t *rapid.T) {
	window := rapid.SampledFrom([]time.Duration{
		0, secret.MinDeletionWindow - 1, secret.MinDeletionWindow, secret.MaxDeletionWindow, secret.MaxDeletionWindow + 1,
	}).Draw(t, "window")
	var want secret.Code
	switch {
	case window == secret.MinDeletionWindow-1 || window == secret.MaxDeletionWindow+1:
		want = secret.CodeInvalid
	case c.model.state == secret.PendingDeletion:
		want = secret.CodeWrongState
	default:
		c.model.state, c.model.deleteAt = secret.PendingDeletion, c.now.Add(window)
		if window == 0 {
			c.model.deleteAt = c.now.Add(30 * 24 * time.Hour)
		}
		c.model.seq++
	}
	before := c.secret.Clone()
	c.expect(t, before, c.secret.ScheduleDeletion(c.mutation(), window), want, want == "")
}

func (c *machine) restore(t *rapid.T) {
	want := c.model.state == secret.PendingDeletion
	if want {
		c.model.state, c.model.deleteAt = secret.Active, time.Time{}
		c.model.seq++
	}
	before := c.secret.Clone()
	got, err := c.secret.Restore(c.mutation())
	c.expect(t, before, err, "", want)
	if got != want {
		t.Fatalf("restored %t, want %t", got, want)
	}
}

// check compares the whole record with the model.
func (c *machine) check(t *rapid.T) {
	s, m := c.secret, c.model
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if want := (secret.Order{Epoch: secret.Epoch{Counter: 1, Region: "east"}, Seq: m.seq}); s.Ownership.Order != want {
		t.Fatalf("order %s, want %s", s.Ownership.Order, want)
	}
	if s.State != m.state || !s.DeleteAt.Equal(m.deleteAt) || s.Rules != m.rules || s.Retention != m.retention || !maps.Equal(s.Tags, m.tags) {
		t.Fatalf("record %+v, model %+v", s, m)
	}
	if !slices.EqualFunc(s.Requests, m.requests, func(a, b secret.Request) bool { return a.Token == b.Token && a.MAC.Equal(b.MAC) }) {
		t.Fatalf("requests %v, want %v", s.Requests, m.requests)
	}
	if !maps.Equal(s.Stages, m.stages()) {
		t.Fatalf("stages %v, want %v", s.Stages, m.stages())
	}
	if len(s.Versions) != len(m.versions) {
		t.Fatalf("%d versions, want %d", len(s.Versions), len(m.versions))
	}
	for i, v := range s.Versions {
		w := m.versions[i]
		if v.ID != w.id || string(v.MAC) != w.value || v.RequestToken != w.token || !v.CreatedAt.Equal(w.createdAt) || !v.ExpiresAt.Equal(w.expiresAt) {
			t.Fatalf("version %+v, want %+v", v, w)
		}
		if n := len(w.labels); n > secret.MaxLabelsPerVersion {
			t.Fatalf("version %s has %d labels", v.ID, n)
		}
	}
	retired := make([]string, 0, len(s.RetiredMACs))
	for _, mac := range s.RetiredMACs {
		retired = append(retired, string(mac))
	}
	if !slices.Equal(retired, m.retired) {
		t.Fatalf("retired %v, want %v", retired, m.retired)
	}
}

func TestMutationsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newMachine()
		t.Repeat(map[string]func(*rapid.T){
			"":          c.check,
			"put":       c.put,
			"put again": c.put,
			"put many": func(t *rapid.T) {
				for range 25 {
					c.put(t)
				}
			},
			"move stage":        c.moveStage,
			"update":            c.update,
			"repeatable":        c.repeatable,
			"repeatable again":  c.repeatable,
			"schedule deletion": c.scheduleDeletion,
			"restore":           c.restore,
			"restore again":     c.restore,
			"prune expired":     c.pruneExpired,
			"time passes": func(t *rapid.T) {
				c.now = c.now.Add(time.Duration(rapid.Int64Range(1, int64(96*time.Hour)).Draw(t, "passes")))
			},
		})
		purge(t, c)
	})
}

// purge ends a history: what is left is the tombstone, which refuses the rest.
func purge(t *rapid.T, c *machine) {
	before := c.secret.Clone()
	gone, err := c.secret.Purge(c.mutation())
	if err != nil {
		t.Fatal(err)
	}
	want := &secret.Secret{
		ID: before.ID, Name: before.Name, State: secret.Deleted, Ownership: before.Ownership,
		CreatedAt: before.CreatedAt, UpdatedAt: c.now, LastNumber: before.LastNumber,
	}
	want.Ownership.Order.Seq++
	if !reflect.DeepEqual(c.secret, want) || len(gone) != len(before.Versions) {
		t.Fatalf("tombstone %+v, want %+v; versions %v", c.secret, want, gone)
	}
	m := c.mutation()
	_, putErr := c.secret.PutVersion(m, secret.NewVersion{ID: "v"})
	_, moveErr := c.secret.MoveStage(m, secret.Current, "v", "")
	_, restoreErr := c.secret.Restore(m)
	_, purgeErr := c.secret.Purge(m)
	for _, err := range []error{putErr, moveErr, restoreErr, purgeErr, c.secret.Update(m, secret.Changes{}), c.secret.ScheduleDeletion(m, 0)} {
		if !secret.HasCode(err, secret.CodeNotFound) {
			t.Fatalf("a tombstone answered %v", err)
		}
	}
	if pruned := c.secret.PruneExpired(m, c.now); pruned != nil || !reflect.DeepEqual(c.secret, want) {
		t.Fatalf("the tombstone changed: %+v", c.secret)
	}
}
