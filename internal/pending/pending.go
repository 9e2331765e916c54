//go:build pending

package pending

import (
 _ "go.etcd.io/etcd/server/v3/embed"
 _ "go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
 _ "go.etcd.io/etcd/client/v3"
 _ "connectrpc.com/connect"
 _ "github.com/cedar-policy/cedar-go"
 _ "github.com/spf13/cobra"
 _ "go.yaml.in/yaml/v4"
 _ "github.com/prometheus/client_golang/prometheus/promhttp"
 _ "github.com/vbauerster/mpb/v8"
 _ "pgregory.net/rapid"
 _ "github.com/anishathalye/porcupine"
 _ "go.uber.org/goleak"
 _ "github.com/rogpeppe/go-internal/testscript"
 _ "github.com/oklog/ulid/v2"
 _ "golang.org/x/term"
 _ "golang.org/x/sync/errgroup"
 _ "github.com/cenkalti/backoff/v5"
 _ "golang.org/x/time/rate"
 _ "github.com/failsafe-go/failsafe-go/adaptivelimiter"
)
import (
_ "google.golang.org/grpc"
_ "go.uber.org/zap"
_ "golang.org/x/net/http2"
)
