package canary

import (
	"errors"
	"fmt"
	"testing"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
)

func TestJudge(t *testing.T) {
	answer := func(value string, version uint64) *lifeboatv1.GetSecretValueResponse {
		return &lifeboatv1.GetSecretValueResponse{Value: []byte(value), VersionNumber: version}
	}
	failed := func(code client.Code) error { return fmt.Errorf("call: %w", &client.Error{Code: code}) }
	for _, tt := range []struct {
		name string
		// before is the result so far, seen the newest version that the host showed.
		before string
		seen   uint64
		answer *lifeboatv1.GetSecretValueResponse
		err    error
		want   string
		again  bool
	}{
		{"the value", "", 4, answer("new", 5), nil, OK, true},
		{"one that may have been committed", "", 4, answer("perhaps", 6), nil, OK, true},
		{"the one before", "", 4, answer("old", 4), nil, Late, true},
		{"an older version than before", "", 4, answer("old", 3), nil, WentBack, false},
		{"what nobody wrote", "", 4, answer("other", 5), nil, WrongValue, false},
		{"no answer", "", 4, nil, failed(client.CodeUnavailable), "unavailable", true},
		{"denied", "", 4, nil, failed(client.CodeDenied), "permission_denied", false},
		{"the time is over while it is late", Late, 4, nil, failed(client.CodeCanceled), Late, true},
		{"the time is over before any answer", "", 4, nil, failed(client.CodeCanceled), NoAnswer, true},
		{"the time is over before the answer with the token", OK, 4, nil, failed(client.CodeCanceled), NoAnswer, true},
		{"an error of another kind", "", 4, nil, errors.New("x"), "internal", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Canary{allowed: []string{"new", "perhaps"}, written: []string{"old", "new", "perhaps"}, seen: map[string]uint64{"h": tt.seen}}
			read := Read{Host: "h", Result: tt.before}
			if right := c.judge(&read, tt.answer, tt.err); right != (tt.want == OK) || read.Result != tt.want {
				t.Errorf("judged %v, %s; want %s", right, read.Result, tt.want)
			}
			if read.mayStillCome() != tt.again {
				t.Errorf("asking again: %v", read.mayStillCome())
			}
		})
	}
}

func TestRememberedValuesAreBounded(t *testing.T) {
	c := &Canary{}
	for i := range 2 * mostWritten {
		c.remember(fmt.Sprint(i))
	}
	if len(c.written) != mostWritten || c.written[mostWritten-1] != fmt.Sprint(2*mostWritten-1) {
		t.Errorf("%d values, the last %s", len(c.written), c.written[len(c.written)-1])
	}
}
