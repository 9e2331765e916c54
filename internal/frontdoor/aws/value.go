package aws

import (
	"context"
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// content is a value as requests carry it.
type content struct {
	SecretString *string
	SecretBinary *[]byte
}

// value returns what a request carries; nothing if it carries none.
func (c content) value() (p secret.Plaintext, binary, given bool, err error) {
	var b []byte
	member := "secretString"
	switch {
	case c.SecretString != nil && c.SecretBinary != nil:
		return p, false, false, invalidParameter(textBoth)
	case c.SecretString != nil:
		b = []byte(*c.SecretString)
	case c.SecretBinary != nil:
		b, member, binary = *c.SecretBinary, "secretBinary", true
	default:
		return p, false, false, nil
	}
	switch n := len(b); {
	case n == 0:
		return p, false, false, broken("", member, "have length greater than or equal to 1")
	case n > secret.MaxValueBytes:
		return p, false, false, broken("", member, "have length less than or equal to %d", secret.MaxValueBytes)
	}
	return secret.NewPlaintext(b), binary, true, nil
}

type getSecretValueIn struct {
	SecretId, VersionId, VersionStage *string //nolint:revive // the API's names, as those of all members
}

// valueOut is the answer that is given most often, so it encodes itself.
type valueOut struct {
	arn, name, versionID string
	created              epoch
	value                []byte
	// binary says that the value is answered as bytes.
	binary bool
	labels []string
}

// MarshalJSONTo implements json.MarshalerTo.
func (v *valueOut) MarshalJSONTo(e *jsontext.Encoder) error {
	b, err := v.append(nil)
	if err != nil {
		return err
	}
	defer clear(b)
	return e.WriteValue(b)
}

func (v *valueOut) append(b []byte) (_ []byte, err error) {
	member := func(name string) { b = append(append(append(b, '"'), name...), `":`...) }
	text := func(name, value string) {
		member(name)
		if err == nil {
			b, err = jsontext.AppendQuote(b, value)
		}
		b = append(b, ',')
	}
	b = append(b, '{')
	text("ARN", v.arn)
	member("CreatedDate")
	b = append(strconv.AppendFloat(b, float64(v.created), 'f', -1, 64), ',')
	text("Name", v.name)
	if v.binary {
		member("SecretBinary")
		b = append(base64.StdEncoding.AppendEncode(append(b, '"'), v.value), `",`...)
	} else {
		member("SecretString")
		if err == nil {
			b, err = jsontext.AppendQuote(b, v.value)
		}
		b = append(b, ',')
	}
	text("VersionId", v.versionID)
	if len(v.labels) > 0 {
		member("VersionStages")
		for i, label := range v.labels {
			b = append(b, "[,"[min(i, 1)])
			if err == nil {
				b, err = jsontext.AppendQuote(b, label)
			}
		}
		b = append(b, "],"...)
	}
	b[len(b)-1] = '}'
	return b, err
}

func (d *Dialect) getSecretValue(ctx context.Context, in *getSecretValueIn) (any, error) {
	return d.read(ctx, in)
}

func (d *Dialect) read(ctx context.Context, in *getSecretValueIn) (*valueOut, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	v := service.ValueRef{}
	label := "AWSCURRENT"
	if in.VersionStage != nil {
		label = *in.VersionStage
	}
	stage, err := stageOf(label)
	if err != nil {
		return nil, err
	}
	if in.VersionId != nil {
		if *in.VersionId == "" {
			return nil, broken("''", "versionId", "have length greater than or equal to 1")
		}
		v.VersionID = secret.VersionID(*in.VersionId)
	} else {
		v.Stage = stage
	}
	ref.Check = func(s *secret.Secret) error {
		if s.State == secret.PendingDeletion {
			return faultf(secret.CodeWrongState, "InvalidRequestException", textDeleted)
		}
		switch {
		case v.VersionID == "" && s.VersionAt(stage) == nil:
			return faultf(secret.CodeNotFound, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", label)
		case v.VersionID != "" && s.Version(v.VersionID) == nil:
			return faultf(secret.CodeNotFound, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", v.VersionID)
		case v.VersionID != "" && in.VersionStage != nil && s.Stages[stage] != v.VersionID:
			return faultf(secret.CodeStale, "InvalidRequestException", textStage)
		}
		return nil
	}
	v.SecretRef = ref
	got, err := d.Service.GetSecretValue(ctx, v)
	if err != nil {
		return nil, err
	}
	return d.valueOf(got), nil
}

// valueOf answers text as a string unless it was given as bytes.
func (d *Dialect) valueOf(v service.Value) *valueOut {
	b := v.Plaintext.Reveal()
	return &valueOut{
		arn: d.arnOf(v.Secret), name: v.Secret.Name, created: epochOf(v.Version.CreatedAt),
		versionID: string(v.Version.ID), labels: labels(v.Secret, v.Version.ID), value: b, binary: v.Version.Binary || !utf8.Valid(b),
	}
}

type putSecretValueIn struct {
	SecretId, ClientRequestToken, RotationToken *string //nolint:revive // see above
	content
	VersionStages []string
}

type putOut struct {
	ARN           string
	Name          string
	VersionId     string   `json:",omitzero"` //nolint:revive // see above
	VersionStages []string `json:",omitzero"`
}

func (d *Dialect) putSecretValue(ctx context.Context, in *putSecretValueIn) (any, error) {
	if in.RotationToken != nil {
		return nil, invalidParameter("RotationToken: rotators of other accounts are not known in this region.")
	}
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	token, err := checkToken(in.ClientRequestToken)
	if err != nil {
		return nil, err
	}
	value, binary, given, err := in.value()
	if err == nil && !given {
		err = invalidRequest(textNeither)
	}
	if err != nil {
		return nil, err
	}
	stages, err := stagesOf(in.VersionStages)
	if err != nil {
		return nil, err
	}
	if in.VersionStages != nil && (len(stages) == 0 || len(stages) > secret.MaxLabelsPerVersion) {
		return nil, broken("", "versionStages", "have length between 1 and %d", secret.MaxLabelsPerVersion)
	}
	return d.put(ctx, service.NewValue{SecretRef: ref, Value: value, Binary: binary, Stages: stages, VersionID: token})
}

// put adds a version whose ID is the request's token.
func (d *Dialect) put(ctx context.Context, n service.NewValue) (*putOut, error) {
	var arn string
	n.Check = func(s *secret.Secret) error {
		arn = d.arnOf(s)
		return writable(s)
	}
	n.RequestToken, n.WaitCleared = string(n.VersionID), true
	o, err := d.Service.PutSecretVersion(ctx, n)
	switch secret.CodeOf(err) {
	case "":
	case secret.CodeTokenReused, secret.CodeExists:
		return nil, faultf(secret.CodeTokenReused, "ResourceExistsException",
			"You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", n.VersionID, arn)
	default:
		return nil, err
	}
	return &putOut{ARN: d.arnOf(o.Secret), Name: o.Secret.Name, VersionId: string(o.Version.ID), VersionStages: labels(o.Secret, o.Version.ID)}, nil
}

// writable refuses mutations of a secret that is scheduled for deletion.
func writable(s *secret.Secret) error {
	if s.State == secret.PendingDeletion {
		return faultf(secret.CodeWrongState, "InvalidRequestException", textDeleted)
	}
	return nil
}
