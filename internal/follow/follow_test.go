package follow_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/follow"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestParseRef(t *testing.T) {
	for text, want := range map[string]follow.Ref{
		"db/password":         {Name: "db/password"},
		"a=b@c:PREVIOUS":      {Name: "a=b@c", Stage: "PREVIOUS"},
		"db#user":             {Name: "db", Field: "user"},
		"db:blue#user:name#x": {Name: "db", Stage: "blue", Field: "user:name#x"},
		"01J.01K":             {Name: "01J.01K"},
	} {
		got, err := follow.ParseRef(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q is %+v (%s), %v; want %+v", text, got, got, err, want)
		}
	}
	for _, text := range []string{"", ":", "#", "a:", "a#", "#f", ":S", "a:#f"} {
		if got, err := follow.ParseRef(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

// region answers batches from a map of name and stage to value.
type region struct {
	values map[[2]string]string
	calls  int
}

func (r *region) BatchGetSecretValues(_ context.Context, in *lifeboatv1.BatchGetSecretValuesRequest) (*lifeboatv1.BatchGetSecretValuesResponse, error) {
	r.calls++
	if len(in.GetSecrets()) > 100 {
		return nil, errors.New("too many")
	}
	answer := &lifeboatv1.BatchGetSecretValuesResponse{}
	for _, name := range in.GetSecrets() {
		if v, ok := r.values[[2]string{name, in.GetStage()}]; ok {
			answer.Values = append(answer.Values, &lifeboatv1.GetSecretValueResponse{Name: name, SecretId: "id." + name, Value: []byte(v)})
		} else {
			answer.Errors = append(answer.Errors, &lifeboatv1.BatchError{Secret: name, Code: "not_found", Message: "there is no such secret"})
		}
	}
	return answer, nil
}

func TestFetch(t *testing.T) {
	r := &region{values: map[[2]string]string{
		{"plain", ""}: "value", {"plain", "PREVIOUS"}: "older", {"object", ""}: `{"text": "a\"b", "list": [1, 2], "null": null}`,
		{"twice", ""}: `{"a": 1, "a": 2}`, {"more", ""}: `{"a": 1} {}`, {"list", ""}: `[1]`,
	}}
	for text, want := range map[string]string{
		"plain": "value", "plain:PREVIOUS": "older", "object#text": `a"b`, "object#list": "[1,2]", "object#null": "null",
		"object": `{"text": "a\"b", "list": [1, 2], "null": null}`,
	} {
		ref, _ := follow.ParseRef(text)
		got, err := follow.Fetch(t.Context(), r, "v", []follow.Ref{ref, ref})
		if err != nil || string(got[ref].Reveal()) != want {
			t.Errorf("%s is %q, %v; want %q", text, got[ref].Reveal(), err, want)
		}
	}
	var refs []follow.Ref
	for _, text := range []string{"plain", "plain#f", "object#x", "twice#a", "more#a", "list#a", "gone", "plain:blue"} {
		ref, _ := follow.ParseRef(text)
		refs = append(refs, ref)
	}
	got, err := follow.Fetch(t.Context(), r, "v", refs)
	missing, ok := errors.AsType[*follow.MissingError](err)
	if got != nil || !ok || len(missing.Reasons) != 7 || client.CodeOf(err) != client.CodeNotFound {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFetchOfManyTakesSeveralBatches(t *testing.T) {
	r := &region{values: map[[2]string]string{}}
	var refs []follow.Ref
	for i := range 250 {
		name := fmt.Sprint("s", i)
		r.values[[2]string{name, ""}] = "x" + name
		refs = append(refs, follow.Ref{Name: name})
	}
	got, err := follow.Fetch(t.Context(), r, "v", refs)
	if err != nil || len(got) != 250 || r.calls != 3 || string(got[refs[249]].Reveal()) != "xs249" {
		t.Errorf("%d values in %d calls, %v", len(got), r.calls, err)
	}
}

func FuzzField(f *testing.F) {
	f.Add([]byte(`{"a": "b"}`), "a")
	f.Add([]byte(`{"a": {"b": [1, 2]}, "c": 1e400}`), "c")
	f.Add([]byte("{\"a\": \"\\ud800\"}"), "a")
	f.Fuzz(func(t *testing.T, value []byte, name string) {
		ref := follow.Ref{Name: "n", Field: name}
		if name == "" {
			return
		}
		r := &region{values: map[[2]string]string{{"n", ""}: string(value)}}
		_, err := follow.Fetch(t.Context(), r, "v", []follow.Ref{ref})
		if err != nil && len(value) > 12 && strings.Contains(err.Error(), string(value)) && !strings.Contains(name, string(value)) {
			t.Fatalf("the error quotes the value: %v", err)
		}
	})
}

// events is a watch that yields what is sent on it.
type events struct {
	next   chan *lifeboatv1.WatchSecretsResponse
	failed error
	begun  atomic.Int64
}

func (e *events) WatchSecrets(ctx context.Context, _ *lifeboatv1.WatchSecretsRequest) iter.Seq2[*lifeboatv1.WatchSecretsResponse, error] {
	return func(yield func(*lifeboatv1.WatchSecretsResponse, error) bool) {
		e.begun.Add(1)
		if e.failed != nil {
			yield(nil, e.failed)
			return
		}
		if !yield(&lifeboatv1.WatchSecretsResponse{}, nil) {
			return
		}
		for {
			select {
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			case answer := <-e.next:
				if !yield(answer, nil) {
					return
				}
			}
		}
	}
}

func event(name string) *lifeboatv1.WatchSecretsResponse {
	return &lifeboatv1.WatchSecretsResponse{Event: &lifeboatv1.SecretEvent{Name: name, SecretId: "id." + name}}
}

// watching counts the looks of a watch that concerns the secret "mine".
func watching(t *testing.T, e *events, looks, failing *atomic.Int64) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		follow.Watch(ctx, follow.Options{
			Client: e, Vault: "v", Concerns: func(name, id string) bool { return name == "mine" || id == "id.mine" },
			Changed: func(context.Context) bool {
				looks.Add(1)
				return failing.Load() == 0
			},
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func TestWatchLooksAtWhatConcernsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &events{next: make(chan *lifeboatv1.WatchSecretsResponse)}
		var looks, failing atomic.Int64
		expect := func(what string, want int64) {
			t.Helper()
			synctest.Wait()
			if got := looks.Load(); got != want {
				t.Fatalf("%s: %d looks, want %d", what, got, want)
			}
		}
		watching(t, e, &looks, &failing)
		time.Sleep(5 * time.Second)
		expect("at the beginning, and once more", 2)
		e.next <- event("other")
		e.next <- &lifeboatv1.WatchSecretsResponse{}
		time.Sleep(5 * time.Second)
		expect("what is no concern", 2)
		for range 5 {
			e.next <- event("mine")
		}
		time.Sleep(150 * time.Millisecond)
		expect("five events at once", 3)
		time.Sleep(2 * time.Second)
		expect("and once more", 4)
		failing.Store(1)
		e.next <- event("mine")
		time.Sleep(7 * time.Second) // at 0.1, 2.1 and 6.1 s
		expect("while it fails", 7)
		failing.Store(0)
		time.Sleep(10 * time.Second)
		expect("until it succeeds", 8)
	})
}

func TestWithoutAWatchItLooksNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &events{failed: &client.Error{Code: client.CodeDenied}}
		var looks, failing atomic.Int64
		watching(t, e, &looks, &failing)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := looks.Load(); n < 100 || n > 300 {
			t.Errorf("%d looks in an hour", n)
		}
	})
}

func TestValuesEqual(t *testing.T) {
	a := follow.Values{{Name: "a"}: secret.NewPlaintext([]byte("x"))}
	if !a.Equal(follow.Values{{Name: "a"}: secret.NewPlaintext([]byte("x"))}) || a.Equal(follow.Values{{Name: "a"}: secret.NewPlaintext([]byte("y"))}) ||
		a.Equal(follow.Values{}) {
		t.Error("values compare wrongly")
	}
}
