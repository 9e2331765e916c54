// Package awskms is the key service driver for AWS KMS.
//
// Its principal needs kms:Encrypt, kms:Decrypt and kms:DescribeKey on the master
// keys.
package awskms

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/credential"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/remote"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Driver is the name of this driver.
const Driver = "aws-kms"

// Causes of this driver's own errors, for errors.Is.
var (
	// ErrCredentials means that there are no credentials or that the service does
	// not accept them at all, for instance since they expired. It is around
	// kms.ErrFault and not kms.ErrWrongKey, so that data keys in use go on working
	// meanwhile. To cut a region off at once, disable the key or deny its use.
	ErrCredentials = errors.New("the credentials are not accepted")
	// ErrUnfitKey means that a key is there but is not one that the driver would
	// use: it must be symmetric and for encryption.
	ErrUnfitKey = errors.New("key is not fit to be a master key")
)

// Defaults and limits of Options.
const (
	DefaultTimeout = 10 * time.Second
	maxTimeout     = time.Minute
	maxKeyBytes    = 2048 // KeyId in the API reference of AWS KMS
	maxOlderKeys   = 100
	// credentialsFor is how long credentials of a file are used until it is read
	// again.
	credentialsFor = time.Minute
	// idleConnections are kept, since a start unwraps many data keys at once.
	idleConnections = 16
)

// Options say where the service and its keys are.
type Options struct {
	// Key is the active master key: an ARN, ID, alias (alias/NAME) or alias ARN;
	// required. An alias may be pointed at another key of the same account, which
	// then wraps.
	Key string
	// OlderKeys are the ARNs of at most 100 keys of other accounts that still
	// unwrap. Those of the active key's account need not be named.
	OlderKeys []string
	// Region of AWS; if empty, that of an ARN, else that of the SDK's
	// configuration.
	Region string
	// Endpoint is a URL in place of AWS's own; plain http is for the loopback
	// alone.
	Endpoint string
	// CredentialsFile is a file like ~/.aws/credentials, read again every minute.
	// See credential.Read for who may read it. If it is empty, credentials come
	// from the default chain of the SDK: environment, shared files, web identity,
	// container, instance.
	CredentialsFile string
	// Profile of the files; the default one if empty.
	Profile string
	// Timeout bounds one call of the driver, which may be several requests:
	// DefaultTimeout if 0, at most 1 minute.
	Timeout time.Duration
	// Now is for tests; time.Now if nil.
	Now func() time.Time
}

// check returns a secret.CodeInvalid error that names the field and its limit.
func (o Options) check() error {
	if n := len(o.Key); n == 0 || n > maxKeyBytes {
		return secret.Invalid("key", "must have 1 to %d bytes, has %d", maxKeyBytes, n)
	}
	if o.Timeout < 0 || o.Timeout > maxTimeout {
		return secret.Invalid("timeout", "is %s; allowed are 0 to %s", o.Timeout, maxTimeout)
	}
	if o.Endpoint != "" {
		if err := remote.CheckURL("endpoint", o.Endpoint); err != nil {
			return err
		}
	}
	if len(o.OlderKeys) > maxOlderKeys {
		return secret.Invalid("older_keys", "has %d entries; the limit is %d", len(o.OlderKeys), maxOlderKeys)
	}
	for i, key := range o.OlderKeys {
		if a, ok := keyARN(key); !ok || len(key) > maxKeyBytes {
			return secret.Invalid(fmt.Sprintf("older_keys[%d]", i), "is not the ARN of a key")
		} else if o.Region != "" && a.Region != o.Region {
			return secret.Invalid(fmt.Sprintf("older_keys[%d]", i), "is of the region %q, not %q", a.Region, o.Region)
		}
	}
	return nil
}

// keyARN parses the ARN of a key, not of an alias.
func keyARN(s string) (arn.ARN, bool) {
	a, err := arn.Parse(s)
	return a, err == nil && a.Service == "kms" && strings.HasPrefix(a.Resource, "key/")
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if a, err := arn.Parse(o.Key); err == nil && o.Region == "" {
		o.Region = a.Region
	}
	return o
}

// client returns the SDK's client and what closes its connections. It does not
// retry: the keyring does.
func (o Options) client(ctx context.Context) (*kms.Client, *http.Transport, error) {
	buildable := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = idleConnections })
	load := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithHTTPClient(buildable),
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	switch {
	case o.CredentialsFile != "":
		load = append(load, config.WithCredentialsProvider(aws.NewCredentialsCache(fileCredentials(o))))
	case o.Profile != "":
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	c, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, nil, err
	}
	if c.Region == "" {
		return nil, nil, secret.Invalid("region", "is neither given nor known from the key or the SDK's configuration")
	}
	if b, ok := c.HTTPClient.(*awshttp.BuildableClient); ok {
		buildable = b // with the authorities of AWS_CA_BUNDLE
	}
	transport := buildable.GetTransport() // a copy, which only this client uses
	c.HTTPClient = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	c.Credentials = namedErrors(c.Credentials)
	return kms.NewFromConfig(c, func(k *kms.Options) {
		if o.Endpoint != "" {
			k.BaseEndpoint = aws.String(o.Endpoint)
		}
	}), transport, nil
}

// namedErrors makes a *credentialsError of each error.
func namedErrors(p aws.CredentialsProvider) aws.CredentialsProviderFunc {
	return func(ctx context.Context) (aws.Credentials, error) {
		c, err := p.Retrieve(ctx)
		if err != nil {
			return aws.Credentials{}, &credentialsError{err}
		}
		return c, nil
	}
}

// fileCredentials reads the file whenever it is asked, which the SDK's cache does
// once the credentials expire.
func fileCredentials(o Options) aws.CredentialsProviderFunc {
	profile := o.Profile
	if profile == "" {
		profile = config.DefaultSharedConfigProfile
	}
	return func(ctx context.Context) (aws.Credentials, error) {
		if err := credential.Check(o.CredentialsFile); err != nil {
			return aws.Credentials{}, err
		}
		shared, err := config.LoadSharedConfigProfile(ctx, profile, func(l *config.LoadSharedConfigOptions) {
			l.CredentialsFiles, l.ConfigFiles = []string{o.CredentialsFile}, []string{}
		})
		if err != nil {
			return aws.Credentials{}, err
		}
		c := shared.Credentials
		if !c.HasKeys() {
			return aws.Credentials{}, fmt.Errorf("profile %q of %s has no access key", profile, o.CredentialsFile)
		}
		c.CanExpire, c.Expires = true, time.Now().Add(credentialsFor)
		return c, nil
	}
}
