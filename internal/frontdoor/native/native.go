// Package native is the front door's own dialect: the protobuf API lifeboat.v1
// over Connect, gRPC, gRPC-Web and plain JSON. It is strict: a field or an enum
// value that it does not know is refused.
package native

import (
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1/lifeboatv1connect"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// Options of the dialect. Service and Operations are required.
type Options struct {
	Service    *service.Service
	Operations Operations
	// Replication is nil where its service is not served: in a process that forwards
	// what is asked of it.
	Replication Replication
	// Ownership goes with Replication.
	Ownership Ownership
	Region    secret.RegionName
	// StatusOf maps a typed error to the protocol's code.
	StatusOf func(error) connect.Code
	// MaxMessageBytes bounds a decoded message.
	MaxMessageBytes int
}

// New returns the handler of all services of the API.
func New(o Options) http.Handler {
	d := dialect{Options: o}
	options := connect.WithHandlerOptions(
		connect.WithInterceptors(decoded{d}),
		connect.WithCodec(strictProto{}), connect.WithCodec(strictJSON{name: "json"}), connect.WithCodec(strictJSON{name: "json; charset=utf-8"}),
		connect.WithReadMaxBytes(o.MaxMessageBytes),
		// Values are small and often random: compressing them costs time and
		// leaks lengths.
		connect.WithCompressMinBytes(1<<30),
	)
	mux := http.NewServeMux()
	mux.Handle(lifeboatv1connect.NewSecretServiceHandler(secretHandler{d}, options))
	mux.Handle(lifeboatv1connect.NewVaultServiceHandler(vaultHandler{d}, options))
	mux.Handle(lifeboatv1connect.NewAccountServiceHandler(accountHandler{d}, options))
	mux.Handle(lifeboatv1connect.NewOperatorServiceHandler(operatorHandler{d}, options))
	mux.Handle(lifeboatv1connect.NewKeyServiceHandler(keyHandler{d}, options))
	mux.Handle(lifeboatv1connect.NewIdentityServiceHandler(identityHandler{d}, options))
	if o.Replication != nil {
		mux.Handle(lifeboatv1connect.NewReplicationServiceHandler(replicationHandler{d}, options))
		mux.Handle(lifeboatv1connect.NewOwnershipServiceHandler(ownershipHandler{d}, options))
	}
	return newUnary(d, mux)
}

type dialect struct{ Options }

// PathPrefix is how the paths of the API's methods begin.
const PathPrefix = "/lifeboat.v1."

// ReadOnly returns a function that says whether a path of the API changes
// nothing, so that a data-plane host can serve it itself.
func ReadOnly() func(path string) bool {
	paths := map[string]bool{
		lifeboatv1connect.SecretServiceGenerateValueProcedure:   true,
		lifeboatv1connect.SecretServiceWatchSecretsProcedure:    true,
		lifeboatv1connect.IdentityServiceExchangeTokenProcedure: true,
	}
	for _, file := range []protoreflect.FileDescriptor{
		lifeboatv1.File_lifeboat_v1_secret_proto, lifeboatv1.File_lifeboat_v1_vault_proto, lifeboatv1.File_lifeboat_v1_account_proto,
		lifeboatv1.File_lifeboat_v1_identity_proto,
		lifeboatv1.File_lifeboat_v1_key_proto,
	} {
		for i := range file.Services().Len() {
			addReadOnly(paths, file.Services().Get(i))
		}
	}
	paths[lifeboatv1connect.OperatorServiceGetStatusProcedure] = true
	return func(path string) bool { return paths[path] || !strings.HasPrefix(path, PathPrefix) }
}

// IsWatch reports whether a path of the API starts a watch.
func IsWatch(path string) bool { return path == lifeboatv1connect.SecretServiceWatchSecretsProcedure }

func addReadOnly(paths map[string]bool, s protoreflect.ServiceDescriptor) {
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		options, ok := m.Options().(*descriptorpb.MethodOptions)
		if ok && options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
			paths["/"+string(s.FullName())+"/"+string(m.Name())] = true
		}
	}
}
