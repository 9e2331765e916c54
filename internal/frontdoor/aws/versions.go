package aws

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type listVersionsIn struct {
	SecretId          *string //nolint:revive // the API's names, as those of all members
	IncludeDeprecated bool
	MaxResults        *int64
	NextToken         *string
}

type versionOut struct {
	CreatedDate      epoch
	KmsKeyIds        []string //nolint:revive // see above
	LastAccessedDate epoch    `json:",omitzero"`
	VersionId        string   //nolint:revive // see above
	VersionStages    []string `json:",omitzero"`
}

type listVersionsOut struct {
	ARN       string
	Name      string
	NextToken string `json:",omitzero"`
	Versions  []versionOut
}

const versionTokenPrefix = "versions:"

func (d *Dialect) listSecretVersionIDs(ctx context.Context, in *listVersionsIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	size, err := maxResults(in.MaxResults, 100, 100)
	if err != nil {
		return nil, err
	}
	after, err := versionToken(in.NextToken)
	if err != nil {
		return nil, err
	}
	found, err := d.Service.DescribeSecret(ctx, ref, service.RevisionToken{})
	if err != nil {
		return nil, err
	}
	s := found.Secret
	out := &listVersionsOut{ARN: d.arnOf(s), Name: s.Name, Versions: []versionOut{}}
	var last uint64
	for i := range s.Versions {
		v := &s.Versions[i]
		of := labels(s, v.ID)
		if v.Number <= after || len(of) == 0 && !in.IncludeDeprecated {
			continue
		}
		if len(out.Versions) == size {
			out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(versionTokenPrefix + strconv.FormatUint(last, 10)))
			break
		}
		last = v.Number
		out.Versions = append(out.Versions, versionOut{
			CreatedDate: epochOf(v.CreatedAt), KmsKeyIds: []string{"DefaultEncryptionKey"},
			LastAccessedDate: epochOf(found.Accessed.Of(v.ID)), VersionId: string(v.ID), VersionStages: of,
		})
	}
	return out, nil
}

func versionToken(token *string) (after uint64, err error) {
	if token == nil {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(*token)
	if err == nil {
		number, ok := strings.CutPrefix(string(b), versionTokenPrefix)
		if after, err = strconv.ParseUint(number, 10, 64); ok && err == nil {
			return after, nil
		}
	}
	return 0, badNextToken()
}

func badNextToken() error {
	return faultf(secret.CodeInvalid, "InvalidNextTokenException", "The NextToken value is invalid.")
}

// maxResults returns how many entries a page is to have.
func maxResults(n *int64, most, otherwise int) (int, error) {
	switch {
	case n == nil:
		return otherwise, nil
	case *n < 1 || *n > int64(most):
		return 0, broken("'"+strconv.FormatInt(*n, 10)+"'", "maxResults", "have value between 1 and %d", most)
	}
	return int(*n), nil
}

type moveStageIn struct {
	SecretId, VersionStage, MoveToVersionId, RemoveFromVersionId *string //nolint:revive // see above
}

func (d *Dialect) updateSecretVersionStage(ctx context.Context, in *moveStageIn) (any, error) {
	ref, err := d.ref(in.SecretId)
	if err != nil {
		return nil, err
	}
	if in.VersionStage == nil {
		return nil, broken("null", "versionStage", "not be null")
	}
	stage, err := stageOf(*in.VersionStage)
	if err != nil {
		return nil, err
	}
	mv := service.StageMove{Stage: stage, WaitCleared: true}
	if in.MoveToVersionId != nil {
		mv.To = secret.VersionID(*in.MoveToVersionId)
	}
	if in.RemoveFromVersionId != nil {
		mv.From = secret.VersionID(*in.RemoveFromVersionId)
	}
	if mv.To == "" && mv.From == "" {
		return nil, invalidParameter("You must provide MoveToVersionId, RemoveFromVersionId, or both.")
	}
	ref.Check = func(s *secret.Secret) error { return checkMove(s, mv, *in.VersionStage) }
	mv.SecretRef = ref
	if stage == secret.Pending && mv.To == "" {
		return d.takePending(ctx, mv)
	}
	o, err := d.Service.MoveStage(ctx, mv)
	if err != nil {
		return nil, err
	}
	return &namedOut{ARN: d.arnOf(o.Secret), Name: o.Secret.Name}, nil
}

// checkMove checks what the API asks of a move: that the caller says where the
// label is now.
func checkMove(s *secret.Secret, mv service.StageMove, label string) error {
	if err := writable(s); err != nil {
		return err
	}
	at := s.Stages[mv.Stage]
	for _, id := range []secret.VersionID{mv.To, mv.From} {
		if id != "" && s.Version(id) == nil {
			return faultf(secret.CodeNotFound, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", id)
		}
	}
	switch {
	case at != "" && mv.From == "" && at != mv.To:
		return faultf(secret.CodeStale, "InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached "+
			"to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, at)
	case mv.From != "" && at != mv.From:
		return faultf(secret.CodeStale, "InvalidParameterException", "The staging label %s is not attached to version %s.", label, mv.From)
	case mv.Stage == secret.Current && mv.To == "":
		return faultf(secret.CodeWrongState, "InvalidParameterException", "You can't remove the staging label AWSCURRENT; move it to another version.")
	}
	return nil
}

// takePending takes AWSPENDING off a version. Here it goes by itself when the
// version becomes current, after which rotators take it off to be sure.
func (d *Dialect) takePending(ctx context.Context, mv service.StageMove) (any, error) {
	check, from := mv.Check, mv.From
	mv.Check = func(s *secret.Secret) error {
		if s.Stages[secret.Pending] == "" && s.Stages[secret.Current] == from {
			return writable(s)
		}
		return check(s)
	}
	mv.From = "" // checked above
	o, err := d.Service.MoveStage(ctx, mv)
	if err != nil {
		return nil, err
	}
	return &namedOut{ARN: d.arnOf(o.Secret), Name: o.Secret.Name}, nil
}
