package aws

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Options of the dialect. Service, Region and TypeOf are required.
type Options struct {
	Service *service.Service
	// Region is this one.
	Region secret.RegionName
	// RegionNames are what regions are called in ARNs and signatures, where that is
	// not their own name.
	RegionNames map[secret.RegionName]string
	// Vault is the name of the vault, in each account, that is the account's
	// namespace.
	Vault string
	// TypeOf maps an error to the API's type of error.
	TypeOf func(error) string
	// Replicas tells how far the replicas of a secret are, which the caller was
	// permitted to know of, in the order of their regions.
	Replicas func(*secret.Secret) ([]Replica, error)
	// Rotator reports whether this region has a rotator of that name.
	Rotator func(name string) bool
}

// Replica is a copy of a secret in another region.
type Replica struct {
	Region secret.RegionName
	// Failure is why the region refuses it, nil if it does not.
	Failure *secret.Error
	// InSync is set if the region has committed the secret as it is.
	InSync bool
}

// Dialect serves the API. It is safe for concurrent use.
type Dialect struct {
	Options
	// region is what this one is called.
	region     string
	operations map[string]operation
	buffers    sync.Pool // of *[]byte
}

// maxPooled bounds the buffers that are kept for later requests.
const maxPooled = 32 << 10

// New returns the dialect.
func New(o Options) *Dialect {
	d := &Dialect{Options: o}
	d.region = d.nameOf(o.Region)
	d.operations = operations()
	d.buffers.New = func() any { b := make([]byte, 0, 4<<10); return &b }
	return d
}

// ARN returns what a secret is called.
func (d *Dialect) ARN(s *secret.Secret) string { return d.arnOf(s) }

// nameOf returns what a region is called in the API.
func (d *Dialect) nameOf(region secret.RegionName) string {
	if name, ok := d.RegionNames[region]; ok {
		return name
	}
	return string(region)
}

// Matches reports whether a request is one of this dialect.
func Matches(r *http.Request) bool {
	return r.URL.Path == "/" && (r.Header.Get("X-Amz-Target") != "" || strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-") ||
		strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-amz-json"))
}

const (
	contentType  = "application/x-amz-json-1.1"
	targetPrefix = "secretsmanager."
)

// operation is one of the API's.
type operation struct {
	// mutates says that it needs a control process.
	mutates bool
	serve   func(ctx context.Context, d *Dialect, body []byte) (any, error)
}

func reads[In any](serve func(*Dialect, context.Context, *In) (any, error)) operation {
	return operation{serve: func(ctx context.Context, d *Dialect, body []byte) (any, error) {
		in := new(In)
		if err := decode(body, in); err != nil {
			return nil, err
		}
		return serve(d, ctx, in)
	}}
}

func mutates[In any](serve func(*Dialect, context.Context, *In) (any, error)) operation {
	o := reads(serve)
	o.mutates = true
	return o
}

func operations() map[string]operation {
	return map[string]operation{
		"BatchGetSecretValue":  reads((*Dialect).batchGetSecretValue),
		"CreateSecret":         mutates((*Dialect).createSecret),
		"DeleteSecret":         mutates((*Dialect).deleteSecret),
		"DescribeSecret":       reads((*Dialect).describeSecret),
		"GetRandomPassword":    reads((*Dialect).getRandomPassword),
		"GetSecretValue":       reads((*Dialect).getSecretValue),
		"ListSecretVersionIds": reads((*Dialect).listSecretVersionIDs),
		"ListSecrets":          reads((*Dialect).listSecrets),
		"PutSecretValue":       mutates((*Dialect).putSecretValue),
		"RestoreSecret":        mutates((*Dialect).restoreSecret),

		"ReplicateSecretToRegions":     mutates((*Dialect).replicateSecretToRegions),
		"RemoveRegionsFromReplication": mutates((*Dialect).removeRegionsFromReplication),
		"StopReplicationToReplica":     mutates((*Dialect).stopReplicationToReplica),
		"PutResourcePolicy":            mutates((*Dialect).putResourcePolicy),
		"GetResourcePolicy":            reads((*Dialect).getResourcePolicy),
		"DeleteResourcePolicy":         mutates((*Dialect).deleteResourcePolicy),
		"ValidateResourcePolicy":       reads((*Dialect).validateResourcePolicy),
		"RotateSecret":                 mutates((*Dialect).rotateSecret),
		"CancelRotateSecret":           mutates((*Dialect).cancelRotateSecret),

		"TagResource":              mutates((*Dialect).tagResource),
		"UntagResource":            mutates((*Dialect).untagResource),
		"UpdateSecret":             mutates((*Dialect).updateSecret),
		"UpdateSecretVersionStage": mutates((*Dialect).updateSecretVersionStage),
	}
}

// Action implements frontdoor.Protocol.
func (d *Dialect) Action(r *http.Request) string {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	if _, known := d.operations[name]; ok && known {
		return name
	}
	return "UnknownOperation"
}

// ReadOnly reports whether a request changes nothing, so that a data-plane host can
// serve it itself.
func (d *Dialect) ReadOnly(r *http.Request) bool { return !d.operations[d.Action(r)].mutates }

// Authenticate implements frontdoor.Protocol: before the body is there, which the
// signature covers, it tells whether there is such an access key.
func (d *Dialect) Authenticate(r *http.Request, _ *service.Request) func(record.View, time.Time) (authn.Caller, error) {
	header := r.Header.Get("Authorization")
	return func(view record.View, now time.Time) (authn.Caller, error) {
		a, err := parseAuthorization(header)
		if err != nil {
			return authn.Caller{}, err
		}
		return d.Service.KnownAccessKey(view, a.key, now)
	}
}

// ServeHTTP implements http.Handler.
func (d *Dialect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	buffer := d.buffers.Get().(*[]byte)
	defer func() {
		clear((*buffer)[:cap(*buffer)]) // it held a value in the clear
		if cap(*buffer) <= maxPooled {
			d.buffers.Put(buffer)
		}
	}()
	answer, err := d.serve(r, buffer)
	if err != nil {
		if request := service.RequestFrom(r.Context()); request != nil && !request.Audited() {
			if auditErr := d.Service.Refuse(request, d.Action(r), secret.CodeOf(err)); auditErr != nil {
				err = auditErr
			}
		}
		d.WriteError(w, r, err)
		return
	}
	body, err := encode((*buffer)[:0], answer)
	if err != nil {
		d.WriteError(w, r, err)
		return
	}
	if cap(body) > cap(*buffer) {
		clear(*buffer)
		*buffer = body
	}
	d.write(w, r, http.StatusOK, body)
}

// serve verifies what of the signature needs no record, and carries the request out.
func (d *Dialect) serve(r *http.Request, buffer *[]byte) (any, error) {
	region := d.region
	if request := service.RequestFrom(r.Context()); request.FromRegion != "" {
		region = d.nameOf(request.FromRegion) // for which the client signed, and whose link this is
	}
	s, err := signatureOf(r, region, d.Service.Now())
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodPost || r.URL.RawQuery != "" {
		return nil, faultf(secret.CodeInvalid, "UnknownOperationException", "requests are POST / without a query")
	}
	o, ok := d.operations[d.Action(r)]
	if !ok {
		return nil, faultf(secret.CodeInvalid, "UnknownOperationException", "the operation is not one of AWS Secrets Manager")
	}
	body, err := readAll(r, buffer)
	if err != nil {
		return nil, secret.Invalid("body", "cannot be read to its end")
	}
	if err := s.cover(r, body); err != nil {
		return nil, err
	}
	ctx := r.Context()
	sig := &service.Signature{Key: s.key, Scope: s.date, Derive: s.derive, Verify: s.verify}
	service.RequestFrom(ctx).Authenticate = func(view record.View, now time.Time) (authn.Caller, error) {
		caller, err := d.Service.Signed(ctx, view, sig, now)
		if _, typed := errors.AsType[wireType](err); !typed && secret.HasCode(err, secret.CodeUnauthenticated) {
			err = faultf(secret.CodeUnauthenticated, "UnrecognizedClientException", "The security token included in the request is invalid.")
		}
		return caller, err
	}
	return o.serve(ctx, d, body)
}

// readAll reads the body into the buffer, which may be replaced by a larger one.
func readAll(r *http.Request, buffer *[]byte) ([]byte, error) {
	if n := r.ContentLength; n > int64(cap(*buffer)) {
		*buffer = make([]byte, 0, n)
	}
	body := bytes.NewBuffer((*buffer)[:0])
	_, err := body.ReadFrom(r.Body)
	*buffer = body.Bytes()
	return *buffer, err
}
