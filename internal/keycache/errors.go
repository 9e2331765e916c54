package keycache

import (
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Causes of errors, for errors.Is.
var (
	// ErrKeyFile means that the key file cannot be used.
	ErrKeyFile = errors.New("key file of the sealed key cache cannot be used")
	// ErrOtherKey means that the cache was sealed with another key file.
	ErrOtherKey = errors.New("sealed key cache has another key file")
	// ErrTampered means that the file of the cache was changed or cut off.
	ErrTampered = errors.New("sealed key cache fails its check")
	// ErrForeign means that the file at the cache's path is something else. It is
	// neither changed nor removed.
	ErrForeign = errors.New("file is not a sealed key cache")
	// ErrUnreadable means that the file of the cache cannot be read.
	ErrUnreadable = errors.New("sealed key cache cannot be read")
	// ErrExpired means that entries are too old.
	ErrExpired = errors.New("sealed key cache is too old")
	// ErrEmpty means that there are no entries.
	ErrEmpty = errors.New("sealed key cache is empty")
	// ErrMissing means that there is no entry for a data key.
	ErrMissing = errors.New("data key is not in the sealed key cache")
)

func (c *Cache) tampered(why string) error {
	return secret.Wrap(secret.CodeTampered, ErrTampered, fmt.Sprintf("nothing is used of %s: %s", c.opts.Path, why)).
		WithHint("it is written anew once the key service unwraps a data key; find out who changed it")
}

func (c *Cache) otherKey() error {
	return secret.Wrap(secret.CodeWrongKey, ErrOtherKey, fmt.Sprintf("%s was not sealed with %s", c.opts.Path, c.opts.KeyFile)).
		WithHint("give the process the right key file; with the key service back the cache is written anew")
}

func foreign(path string) error {
	e := secret.Wrap(secret.CodeInvalid, ErrForeign, path).WithHint("name another path, or remove the file")
	e.Field = "kms.sealed_cache.path"
	return e
}

func (c *Cache) unreadable(err error) error {
	return secret.Wrap(secret.CodeKeyUnavailable, errors.Join(ErrUnreadable, err), c.opts.Path)
}

func (c *Cache) tooOld() error {
	return secret.Wrap(secret.CodeKeyUnavailable, ErrExpired, fmt.Sprintf("the key service unwrapped nothing for %s (kms.sealed_cache.max_age)", c.opts.MaxAge.Round(time.Second))).
		WithHint("bring the key service back")
}

func (c *Cache) empty() error {
	return secret.Wrap(secret.CodeKeyUnavailable, ErrEmpty, c.opts.Path)
}

func missing(id ID) error {
	return secret.Wrap(secret.CodeKeyUnavailable, ErrMissing, fmt.Sprintf("%s/%d", id.Scope, id.Generation))
}
