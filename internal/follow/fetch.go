package follow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// batchSize is the API's limit on values in one answer.
const batchSize = 100

// Client is what is needed of the SDK's.
type Client interface {
	BatchGetSecretValues(ctx context.Context, in *lifeboatv1.BatchGetSecretValuesRequest) (*lifeboatv1.BatchGetSecretValuesResponse, error)
}

// Values are what references mean at one moment.
type Values map[Ref]secret.Plaintext

// Equal reports whether the same references have the same values.
func (v Values) Equal(w Values) bool {
	return maps.EqualFunc(v, w, func(a, b secret.Plaintext) bool { return a.Equal(b) })
}

// Missing says why values cannot be read. The reasons hold no value.
type Missing map[Ref]*client.Error

// Err returns an error that names all of them, or nil if there are none. Its code
// is not_found if one does not exist.
func (m Missing) Err() error {
	if len(m) == 0 {
		return nil
	}
	err := &MissingError{}
	for ref, why := range m {
		if err.cause == nil || why.Code == client.CodeNotFound {
			err.cause = why
		}
		err.Reasons = append(err.Reasons, ref.String()+": "+why.Message)
	}
	slices.Sort(err.Reasons)
	return err
}

// MissingError lists why each value that could not be read is missing.
type MissingError struct {
	// Reasons are of the form REF: reason, sorted.
	Reasons []string
	cause   *client.Error
}

// Error implements error.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%d values cannot be read\n  %s", len(e.Reasons), strings.Join(e.Reasons, "\n  "))
}

// Unwrap gives the code of the API.
func (e *MissingError) Unwrap() error { return e.cause }

// Fetch reads the values of all references. If one cannot be read it returns a
// *MissingError that names all of those, and no values.
func Fetch(ctx context.Context, cl Client, vault string, refs []Ref) (Values, error) {
	values, missing, err := Read(ctx, cl, vault, refs)
	if err == nil {
		err = missing.Err()
	}
	if err != nil {
		return nil, err
	}
	return values, nil
}

// Read reads the values of those references that can be read: each is either
// among the values or missing.
func Read(ctx context.Context, cl Client, vault string, refs []Ref) (Values, Missing, error) {
	byStage := map[string]map[string][]Ref{}
	for _, r := range refs {
		if byStage[r.Stage] == nil {
			byStage[r.Stage] = map[string][]Ref{}
		}
		byStage[r.Stage][r.Name] = append(byStage[r.Stage][r.Name], r)
	}
	values, missing := Values{}, Missing{}
	for stage, wanted := range byStage {
		for names := range slices.Chunk(slices.Sorted(maps.Keys(wanted)), batchSize) {
			answer, err := cl.BatchGetSecretValues(ctx, &lifeboatv1.BatchGetSecretValuesRequest{Vault: vault, Secrets: names, Stage: stage})
			if err != nil {
				return nil, nil, err
			}
			values.take(answer, wanted, missing)
		}
	}
	for _, r := range refs {
		if _, ok := values[r]; !ok && missing[r] == nil {
			missing[r] = &client.Error{Code: client.CodeInternal, Message: "the region did not answer"}
		}
	}
	return values, missing, nil
}

// take adds what an answer holds for the references that were asked for.
func (v Values) take(answer *lifeboatv1.BatchGetSecretValuesResponse, wanted map[string][]Ref, missing Missing) {
	for _, got := range answer.GetValues() {
		// Both the name and the ID may have been asked for.
		for _, r := range slices.Concat(wanted[got.GetName()], wanted[got.GetSecretId()]) {
			value := got.GetValue()
			if r.Field != "" {
				var err error
				if value, err = field(value, r.Field); err != nil {
					missing[r] = &client.Error{Code: client.CodeInvalid, Message: err.Error()}
					continue
				}
			}
			v[r] = secret.NewPlaintext(value)
		}
	}
	for _, e := range answer.GetErrors() {
		for _, r := range wanted[e.GetSecret()] {
			missing[r] = &client.Error{Code: client.Code(e.GetCode()), Message: e.GetMessage()}
		}
	}
}

var (
	errNoObject = errors.New("the value is not a JSON object")
	errNoField  = errors.New("the value has no such field")
)

// field returns a field of a JSON object: a string as it is, anything else as
// compact JSON. Names given twice are refused, as is text after the object. Errors
// quote nothing of the value.
func field(value []byte, name string) ([]byte, error) {
	decoder := jsontext.NewDecoder(bytes.NewReader(value))
	all, err := decoder.ReadValue()
	if err != nil || all.Kind() != '{' {
		return nil, errNoObject
	}
	all = all.Clone()
	if _, err := decoder.ReadToken(); err == nil {
		return nil, errNoObject
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(all, &fields); err != nil {
		return nil, errNoObject
	}
	raw, ok := fields[name]
	if !ok {
		return nil, errNoField
	}
	if len(raw) > 0 && raw[0] == '"' {
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return nil, errNoObject
		}
		return text, nil
	}
	compact := jsontext.Value(slices.Clone(raw))
	if err := compact.Compact(); err != nil {
		return nil, errNoObject
	}
	return compact, nil
}
