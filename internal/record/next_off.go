//go:build !nextformat

package record

import "github.com/lifeboat-secrets/lifeboat/internal/secret"

// next returns the kind as the next release will have it: as it is.
func next(k Kind[secret.Secret]) Kind[secret.Secret] { return k }
