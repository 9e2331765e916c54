//go:build !faultpoints

package chaos_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// TestCheckerFindsBreaches shows that the checker passes a good history and
// finds what is wrong in fabricated bad ones.
func TestCheckerFindsBreaches(t *testing.T) {
	put := func(client int, value string, seq uint64, began, ended time.Duration) operation {
		return operation{secret: "s", put: true, session: true, client: client, value: value, seq: seq, began: began, ended: ended}
	}
	read := func(client int, value string, seq, needs uint64, began, ended time.Duration) operation {
		return operation{secret: "s", client: client, session: true, latest: true, value: value, seq: seq, needs: needs, began: began, ended: ended}
	}
	stale := func(o operation) operation { // without a token it may be old
		o.session, o.latest, o.needs = false, false, 0
		return o
	}
	unanswered := func(o operation) operation {
		o.code, o.seq, o.ended = noAnswer, 0, 0
		return o
	}
	refused := func(o operation) operation {
		o = unanswered(o)
		o.code, o.refused = secret.CodeUnavailable, true
		return o
	}
	good := []operation{
		put(1, "a", 1, 0, 10), read(2, "a", 1, 1, 11, 20), put(1, "b", 2, 15, 30), read(2, "b", 2, 1, 21, 40),
		unanswered(put(1, "c", 0, 50, 0)), read(3, "b", 2, 2, 55, 60), read(3, "c", 3, 2, 61, 70), stale(read(4, "a", 1, 0, 80, 90)),
		put(1, "d", 4, 100, 110), unanswered(put(2, "e", 0, 100, 0)),
	}
	final := map[string]map[uint64]string{"s": {1: "a", 2: "b", 3: "c", 4: "d"}}
	for _, tt := range []struct {
		name  string
		bad   []operation
		final map[uint64]string
		want  string
	}{
		{name: "nothing", want: ""},
		{name: "an acknowledged put is gone", bad: []operation{put(5, "x", 5, 120, 130)}, want: "lost"},
		{name: "an acknowledged put is elsewhere", bad: []operation{put(5, "d", 3, 120, 130)}, want: "lost"},
		{name: "a put is there twice", final: map[uint64]string{5: "d"}, want: "done 2 times"},
		{name: "a refused put is there", bad: []operation{refused(put(5, "f", 0, 120, 0))}, final: map[uint64]string{5: "f"}, want: "although it was refused"},
		{name: "a value that nobody put", bad: []operation{stale(read(5, "x", 2, 0, 120, 130))}, want: "not of the history"},
		{name: "a value of another state", bad: []operation{stale(read(5, "a", 2, 0, 120, 130))}, want: "not of the history"},
		{name: "a value before it was put", bad: []operation{stale(read(5, "d", 4, 0, 80, 90))}, want: "read before it was put"},
		{name: "older than the token", bad: []operation{read(5, "c", 3, 4, 120, 130)}, want: "older than the token"},
		{name: "a session goes back", bad: []operation{read(2, "a", 1, 0, 45, 48)}, want: "went back"},
		{name: "a session misses its own put", bad: []operation{read(1, "c", 3, 0, 120, 130)}, want: "went back"},
		{name: "a register goes back for another client", bad: []operation{read(6, "c", 3, 0, 120, 130)}, want: "not those of a register; after client 1 puts d"},
		{name: "a register shows what came later", bad: []operation{read(6, "c", 3, 0, 11, 12)}, want: "not those of a register"},
		{name: "an unanswered put comes and goes", bad: []operation{read(7, "c", 3, 0, 51, 53)}, want: "not those of a register"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &history{operations: append(append([]operation(nil), good...), tt.bad...)}
			states := map[uint64]string{}
			for _, from := range []map[uint64]string{final["s"], tt.final} {
				for seq, value := range from {
					states[seq] = value
				}
			}
			var found []string
			for _, err := range h.check(map[string]map[uint64]string{"s": states}) {
				found = append(found, err.Error())
			}
			all := strings.Join(found, "\n")
			if tt.want == "" && all != "" || !strings.Contains(all, tt.want) {
				t.Errorf("found %q; want %q", all, tt.want)
			}
		})
	}
}
