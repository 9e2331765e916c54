package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// measureAWS compares the CPU time of a read through the API of AWS Secrets Manager,
// with its signature, with that of the same native read, in JSON and in binary.
func measureAWS(ctx context.Context, b *bench) error {
	c, err := b.region(ctx, spread, small)
	if err != nil {
		return err
	}
	signed, err := c.awsLoad(ctx)
	if err != nil {
		return err
	}
	defer signed.close()
	for _, against := range []struct{ name, contentType string }{{"aws_read_cpu_ratio", jsonType}, {"aws_read_vs_proto_cpu_ratio", protoType}} {
		native, err := c.readLoad(c.hosts[0], small, against.contentType, false)
		if err != nil {
			return err
		}
		err = b.compare(ctx, against.name, native, signed, func(r rates) float64 { return r.perCPUSecond })
		native.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// awsLoad reads values with requests that are signed beforehand; they are good for
// five minutes.
func (c *cluster) awsLoad(ctx context.Context) (*load, error) {
	made, err := c.api.accounts.CreateAccessKey(ctx, auth(c.admin, &lifeboatv1.CreateAccessKeyRequest{Principal: "app"}))
	if err != nil {
		return nil, err
	}
	key := aws.Credentials{AccessKeyID: made.Msg.GetCredential().GetId(), SecretAccessKey: made.Msg.GetSecretAccessKey()}
	bodies := make([][]byte, small)
	headers := make(map[string]http.Header, small)
	for i := range bodies {
		if bodies[i], err = json.Marshal(map[string]string{"SecretId": secretName(i)}); err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.hosts[0].address+"/", nil)
		if err != nil {
			return nil, err
		}
		r.ContentLength = int64(len(bodies[i]))
		r.Header = http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"secretsmanager.GetSecretValue"}}
		digest := sha256.Sum256(bodies[i])
		if err := v4.NewSigner().SignHTTP(ctx, key, r, hex.EncodeToString(digest[:]), "secretsmanager", "bench", time.Now()); err != nil {
			return nil, err
		}
		headers[string(bodies[i])] = r.Header
	}
	l, err := newLoad(c.hosts[0], c.path("ca.pem"), false, nil, anyOf("/", bodies))
	if err == nil {
		l.headers = func(body []byte) http.Header { return headers[string(body)] }
	}
	return l, err
}
