package importsource

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/remote"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The stages of AWS Secrets Manager.
const (
	awsCurrent  = "AWSCURRENT"
	awsPrevious = "AWSPREVIOUS"
)

// AWSOptions say which secrets of AWS Secrets Manager to read. Credentials are
// found as the SDK does.
type AWSOptions struct {
	// Region and Profile default to those of the SDK's configuration.
	Region, Profile string
	// Endpoint is a URL in place of AWS's own; plain http is for the loopback alone.
	Endpoint string
	// NamePrefixes and TagKeys choose secrets: those whose names begin with one of
	// the former and that have one of the latter; none means any.
	NamePrefixes, TagKeys []string
	// Previous reads the version AWSPREVIOUS too.
	Previous bool
	// Rate bounds the requests a second; 0 means DefaultRate.
	Rate float64
}

// AWS is AWS Secrets Manager in one region.
type AWS struct {
	options AWSOptions
	client  *secretsmanager.Client
	pace    pace

	mu sync.Mutex
	// listed is what the list said of each secret.
	listed map[string]types.SecretListEntry
}

var _ Source = (*AWS)(nil)

// OpenAWS returns the source. It makes no request.
func OpenAWS(ctx context.Context, o AWSOptions) (*AWS, error) {
	if o.Endpoint != "" {
		if err := remote.CheckURL("endpoint", o.Endpoint); err != nil {
			return nil, err
		}
	}
	a := &AWS{options: o, listed: map[string]types.SecretListEntry{}}
	var err error
	if a.pace, err = newPace(o.Rate); err != nil {
		return nil, err
	}
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(callTimeout))}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	c, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, err
	}
	if c.Region == "" {
		return nil, secret.Invalid("region", "is neither given nor known from the SDK's configuration")
	}
	a.client = secretsmanager.NewFromConfig(c, func(s *secretsmanager.Options) {
		if o.Endpoint != "" {
			s.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	return a, nil
}

func (a *AWS) filters() (filters []types.Filter) {
	if len(a.options.NamePrefixes) > 0 {
		filters = append(filters, types.Filter{Key: types.FilterNameStringTypeName, Values: a.options.NamePrefixes})
	}
	if len(a.options.TagKeys) > 0 {
		filters = append(filters, types.Filter{Key: types.FilterNameStringTypeTagKey, Values: a.options.TagKeys})
	}
	return filters
}

// Names implements Source.
func (a *AWS) Names(ctx context.Context, visit func(name string) error) error {
	pages := secretsmanager.NewListSecretsPaginator(a.client, &secretsmanager.ListSecretsInput{
		Filters: a.filters(), MaxResults: aws.Int32(100), IncludePlannedDeletion: aws.Bool(true),
	})
	for pages.HasMorePages() {
		if err := a.pace.wait(ctx); err != nil {
			return err
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, s := range page.SecretList {
			name := aws.ToString(s.Name)
			a.mu.Lock()
			a.listed[name] = s
			a.mu.Unlock()
			if err := visit(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Get implements Source. The current version must be there, the previous one need
// not.
func (a *AWS) Get(ctx context.Context, name string) (Item, error) {
	a.mu.Lock()
	about := a.listed[name]
	a.mu.Unlock()
	if about.DeletedDate != nil {
		return Item{}, &Refusal{"it is scheduled for deletion since " + about.DeletedDate.UTC().Format(time.RFC3339)}
	}
	item := Item{
		Description: secret.NewPlaintext([]byte(aws.ToString(about.Description))),
		Metadata:    map[string]string{MetadataSource: aws.ToString(about.ARN)},
	}
	for _, t := range about.Tags {
		if item.Tags == nil {
			item.Tags = map[string]string{}
		}
		item.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	stages := []string{awsCurrent}
	if a.options.Previous {
		stages = []string{awsPrevious, awsCurrent}
	}
	for _, stage := range stages {
		version, contentType, err := a.version(ctx, cmp.Or(aws.ToString(about.ARN), name), stage)
		if r := (*Refusal)(nil); stage == awsPrevious && errors.As(err, &r) {
			continue
		}
		if err != nil {
			return Item{}, err
		}
		item.Versions, item.ContentType = append(item.Versions, version), contentType
	}
	return item, nil
}

func (a *AWS) version(ctx context.Context, id, stage string) (Version, string, error) {
	if err := a.pace.wait(ctx); err != nil {
		return Version{}, "", err
	}
	got, err := a.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(id), VersionStage: aws.String(stage)})
	if err != nil {
		return Version{}, "", awsRefused(err)
	}
	v := Version{ID: aws.ToString(got.VersionId)}
	switch {
	case got.SecretString != nil:
		v.Value = secret.NewPlaintext([]byte(*got.SecretString))
		if *got.SecretString != "" && (*got.SecretString)[0] == '{' && json.Valid([]byte(*got.SecretString)) {
			return v, "application/json", nil
		}
		return v, "", nil
	case len(got.SecretBinary) > 0:
		v.Value = secret.NewPlaintext(got.SecretBinary)
		return v, "application/octet-stream", nil
	}
	return Version{}, "", &Refusal{"it holds nothing"}
}

// awsRefused turns answers about one secret into a *Refusal. Their messages quote
// no values.
func awsRefused(err error) error {
	if missing, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return &Refusal{missing.ErrorMessage()}
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "AccessDeniedException", "DecryptionFailure", "InvalidRequestException":
			return &Refusal{api.ErrorCode() + ": " + api.ErrorMessage()}
		}
	}
	return err
}
