package region

import (
	"context"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/config"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/awskms"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/file"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/pkcs11"
	"github.com/lifeboat-secrets/lifeboat/internal/kms/transit"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// OpenKeyService opens the key service of the configured driver; the caller closes
// it. It may ask the key service. An error that names a field of the driver's
// options names it as the configuration does. Errors: those of the drivers' Open.
func OpenKeyService(ctx context.Context, c *config.KMS) (w kms.Wrapper, err error) {
	switch c.Driver {
	case file.Driver:
		w, err = file.Open(c.File.Path)
		return w, inSection("kms.file.", err)
	case pkcs11.Driver:
		w, err = pkcs11.Open(ctx, PKCS11Options(c))
		return w, inSection("kms.pkcs11.", err)
	case transit.Driver:
		t := &c.Transit
		w, err = transit.Open(ctx, transit.Options{
			Address: t.Address, Namespace: t.Namespace, Mount: t.Mount, Key: t.Key, OlderKeys: t.OlderKeys,
			TokenFile: t.TokenFile, CAFile: t.CAFile, Timeout: t.Timeout,
		})
		return w, inSection("kms.transit.", err)
	case awskms.Driver:
		a := &c.AWS
		w, err = awskms.Open(ctx, awskms.Options{
			Key: a.Key, OlderKeys: a.OlderKeys, Region: a.Region, Endpoint: a.Endpoint,
			CredentialsFile: a.CredentialsFile, Profile: a.Profile, Timeout: a.Timeout,
		})
		return w, inSection("kms.aws_kms.", err)
	default:
		return nil, secret.Invalid("kms.driver", "%q is not a driver", c.Driver)
	}
}

func inSection(section string, err error) error {
	if e, ok := errors.AsType[*secret.Error](err); ok && e.Field != "" {
		named := *e
		named.Field = section + e.Field
		return &named
	}
	return err
}

// PKCS11Options are those of the section kms.pkcs11.
func PKCS11Options(c *config.KMS) pkcs11.Options {
	p := c.PKCS11
	return pkcs11.Options{
		Module: p.Module, Token: p.Token, PINFile: p.PINFile, Key: p.Key, OlderKeys: p.OlderKeys, Sessions: p.Sessions,
	}
}

// keyCheckTimeout leaves the other checks time while the key service is silent.
const keyCheckTimeout = 500 * time.Millisecond

func (p *Process) checkKeyService(ctx context.Context) check {
	ctx, cancel := context.WithTimeout(ctx, keyCheckTimeout)
	defer cancel()
	return keysCheck(p.checkKeys(ctx))
}

// keyCheckEvery is how often the key service is asked whether it is there, so that
// its failure is known before a data key is due.
const keyCheckEvery = 30 * time.Second

// startKeyCheck asks the key service from time to time; metrics show the answer.
func (p *Process) startKeyCheck(ctx context.Context) error {
	p.run(ctx, "key check", func(ctx context.Context) error {
		for ctx.Err() == nil {
			_ = p.checkKeyService(ctx)
			sleep(ctx, keyCheckEvery)
		}
		return ctx.Err()
	})
	return nil
}

// keysCheck takes a key service that lacks the master key for vital, and one that
// does not answer not: data keys that the process has go on working, and taking
// every process out of service would be the outage that they prevent.
func keysCheck(err error) check {
	silent := errors.Is(err, kms.ErrFault) || errors.Is(err, context.DeadlineExceeded)
	return check{name: "keys", vital: !silent, err: err}
}
