package follow

import (
	"fmt"
	"strings"
)

// Ref says which value is meant: NAME[:STAGE][#FIELD].
type Ref struct {
	// Name is a secret's name or ID.
	Name string
	// Stage is a stage or label; empty means CURRENT.
	Stage string
	// Field is that of a value that is a JSON object; empty means all of it.
	Field string
}

// ParseRef parses NAME[:STAGE][#FIELD]. Neither colon nor hash can be part of a
// name.
func ParseRef(s string) (Ref, error) {
	var r Ref
	rest, field, hasField := strings.Cut(s, "#")
	name, stage, hasStage := strings.Cut(rest, ":")
	r = Ref{Name: name, Stage: stage, Field: field}
	if name == "" || hasField && field == "" || hasStage && stage == "" {
		return Ref{}, fmt.Errorf("%q is not of the form NAME[:STAGE][#FIELD]", s)
	}
	return r, nil
}

// String returns NAME[:STAGE][#FIELD].
func (r Ref) String() string {
	s := r.Name
	if r.Stage != "" {
		s += ":" + r.Stage
	}
	if r.Field != "" {
		s += "#" + r.Field
	}
	return s
}
