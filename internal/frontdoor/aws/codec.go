package aws

import (
	"errors"
	"regexp"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// place is a JSON pointer that can be told: it has no content.
var place = regexp.MustCompile(`^(/[A-Za-z0-9]{1,64}){1,4}$`)

// decode decodes a request strictly: a member that is unknown or named twice, a
// type that is wrong and text that is not UTF-8 are refused. The error says where,
// never what: that may be a value.
func decode(body []byte, into any) error {
	if len(body) == 0 {
		body = []byte("{}")
	}
	err := json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	what := "the body is not a JSON object as the operation takes it"
	where := jsontext.Pointer("")
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok {
		where = wrong.JSONPointer
		what = "a member has a value of the wrong type"
		if errors.Is(err, json.ErrUnknownName) {
			what = "a member is not known here"
		}
	} else if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		where = wrong.JSONPointer
	}
	if place.MatchString(string(where)) {
		what += ": " + string(where)
	}
	return faultf(secret.CodeInvalid, "SerializationException", "%s", what)
}

// encode appends an answer to b.
func encode(b []byte, answer any) ([]byte, error) {
	if v, ok := answer.(*valueOut); ok {
		return v.append(b)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "encode an answer")
	}
	b = append(b, body...)
	clear(body)
	return b, nil
}

// epoch is a time in seconds since 1970, to the millisecond; 0 is left out.
type epoch float64

func epochOf(t time.Time) epoch {
	if t.IsZero() {
		return 0
	}
	return epoch(float64(t.UnixMilli()) / 1000)
}
