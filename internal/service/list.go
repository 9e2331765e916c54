package service

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Page sizes of lists; a list without filters returns full pages.
const (
	DefaultPageSize = 100
	MaxPageSize     = 1000
	// maxExamined bounds the records that one page with filters looks at, so that
	// a rare tag costs many short requests instead of one long one.
	maxExamined = 20_000
)

func pageSize(n, limit int) (int, error) {
	switch {
	case n == 0:
		return DefaultPageSize, nil
	case n < 0 || n > limit:
		return 0, secret.Invalid("page_size", "is %d; allowed are 1 to %d, or 0 for %d", n, limit, DefaultPageSize)
	}
	return n, nil
}

// ListQuery selects secrets of a vault.
type ListQuery struct {
	Vault      string
	NamePrefix string
	// Tags must all be there; an empty value matches any.
	Tags map[string]string
	// States are those to show; none means all but PENDING_DELETION.
	States []secret.State
	// ByCreation lists in the order in which the secrets were made, instead of that
	// of their names; NamePrefix then only chooses.
	ByCreation bool
	// Describe opens the description of each secret that the caller is permitted to
	// describe.
	Describe bool
	// Match, if set, chooses further. Selection says in a few bytes how, so that a
	// page token is of use for the same list only.
	Match     func(*ListItem) bool
	Selection string
	PageSize  int
	PageToken string
}

// fingerprint ties a page token to its query.
func (q ListQuery) fingerprint(vault secret.VaultID) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%q %q %q %t %q", vault, q.NamePrefix, q.States, q.ByCreation, q.Selection)
	for _, k := range slices.Sorted(maps.Keys(q.Tags)) {
		_, _ = fmt.Fprintf(h, " %q=%q", k, q.Tags[k])
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

func (q ListQuery) check() error {
	if q.NamePrefix != "" {
		if err := secret.CheckName("name_prefix", q.NamePrefix); err != nil {
			return err
		}
	}
	return secret.CheckTags("tags", q.Tags)
}

// ListItem is one secret of a list, without its sealed fields.
type ListItem struct {
	Secret      *secret.Secret
	State       secret.State
	StateReason string
	// Description is empty unless it was asked for and may be told.
	Description secret.Plaintext
	// Accessed is when values were last read.
	Accessed Accessed
}

// ListPage is one page of a list.
type ListPage struct {
	Items         []ListItem
	NextPageToken string
	Freshness     Freshness
}

// ListSecrets answers a page of a vault's secrets in the order of their names.
// Pages are stable: a secret that exists during the whole walk is shown exactly
// once. A page of a filtered list may be short, even empty, and still have a
// next one.
func (s *Service) ListSecrets(ctx context.Context, q ListQuery) (ListPage, error) {
	c, err := s.begin(ctx, authz.ListSecrets, false)
	if err != nil {
		return ListPage{}, c.end(err)
	}
	var page ListPage
	var ownership secret.Ownership
	fresh, err := s.read(ctx, func(view record.View) error {
		if err := c.authenticate(view); err != nil {
			return err
		}
		vault, _, err := c.vault(view, q.Vault)
		if err != nil {
			return err
		}
		if err := c.authorize(view, vaultResource(vault)); err != nil {
			return err
		}
		ownership = vault.Ownership
		walk := listWalk{ListQuery: q, vault: vault, view: view}
		if q.Describe {
			walk.describe = c.describer(ctx, view, vault)
		}
		page, err = walk.page()
		return err
	})
	page.Freshness = s.freshnessOf(fresh, ownership)
	if err = c.end(err); err != nil {
		return ListPage{}, err
	}
	return page, nil
}

// listWalk is a list being read.
type listWalk struct {
	ListQuery
	vault *secret.Vault
	view  record.View
	// describe returns the description of a secret, if the caller may know it.
	describe func(*secret.Secret) (secret.Plaintext, error)
}

// keys are the prefix of the keys to walk, and of what a page token says the rest.
func (q *listWalk) keys() (prefix, under string) {
	if q.ByCreation {
		under = record.SecretPrefix + string(q.vault.ID) + "/"
		return under, under
	}
	return string(record.SecretNameKey(q.vault.ID, q.NamePrefix)), string(record.SecretNameKey(q.vault.ID, ""))
}

func (q *listWalk) page() (ListPage, error) {
	if err := q.check(); err != nil {
		return ListPage{}, err
	}
	size, err := pageSize(q.PageSize, MaxPageSize)
	if err != nil {
		return ListPage{}, err
	}
	fingerprint := q.fingerprint(q.vault.ID)
	last, err := parsePageToken(q.PageToken, fingerprint)
	if err != nil {
		return ListPage{}, err
	}
	prefix, under := q.keys()
	start := record.Key(prefix)
	if last != "" {
		start = record.Key(under+last) + "\x00"
	}
	var page ListPage
	examined := 0
	var visitErr error
	err = q.view.Scan(start, record.PrefixEnd(prefix), func(stored record.Stored) bool {
		if len(page.Items) == size || examined == maxExamined {
			page.NextPageToken = pageToken{query: fingerprint, last: last}.String()
			return false
		}
		examined++
		var item *ListItem
		if item, visitErr = q.item(stored); visitErr != nil {
			return false
		}
		if item != nil {
			page.Items = append(page.Items, *item)
		}
		last = string(stored.Key)[len(under):]
		return true
	})
	if err == nil {
		err = visitErr
	}
	return page, err
}

// secretAt loads the secret that is stored, or that an index entry names; nil if
// it is gone.
func (q *listWalk) secretAt(entry record.Stored) (*secret.Secret, error) {
	if q.ByCreation {
		sec, err := record.Secrets.Decode(entry.Value)
		if err != nil || sec.State == secret.Deleted || !strings.HasPrefix(sec.Name, q.NamePrefix) {
			return nil, err
		}
		return sec, nil
	}
	id, err := record.DecodeReference(entry.Value)
	if err != nil {
		return nil, err
	}
	sec, _, err := load(q.view, record.Secrets, record.SecretKey(secret.ID(id)), "secret", "secret")
	if secret.HasCode(err, secret.CodeNotFound) {
		return nil, nil // purged between two reads of a view of the store
	}
	return sec, err
}

// item returns what is stored as an item of the list; nil if the query leaves it out.
func (q *listWalk) item(entry record.Stored) (*ListItem, error) {
	sec, err := q.secretAt(entry)
	if err != nil || sec == nil {
		return nil, err
	}
	for k, want := range q.Tags {
		if got, ok := sec.Tags[k]; !ok || want != "" && got != want {
			return nil, nil
		}
	}
	state, reason, err := progress(q.view, sec)
	if err != nil {
		return nil, err
	}
	if len(q.States) == 0 && state == secret.PendingDeletion || len(q.States) > 0 && !slices.Contains(q.States, state) {
		return nil, nil
	}
	item := &ListItem{Secret: sec, State: state, StateReason: reason}
	if item.Accessed, err = accessedOf(q.view, sec.ID); err != nil {
		return nil, err
	}
	if q.describe != nil {
		if item.Description, err = q.describe(sec); err != nil {
			return nil, err
		}
	}
	if q.Match != nil && !q.Match(item) {
		return nil, nil
	}
	return item, nil
}

// walk visits the records with a key prefix a page at a time, in the order of
// their keys, and returns the token of the next page.
func walk(view record.View, prefix string, size int, token string, visit func(record.Stored) error) (string, error) {
	size, err := pageSize(size, DefaultPageSize)
	if err != nil {
		return "", err
	}
	last, err := parsePageToken(token, prefix)
	if err != nil {
		return "", err
	}
	start := record.Key(prefix)
	if last != "" {
		start = record.Key(prefix+last) + "\x00"
	}
	var next string
	var visitErr error
	seen := 0
	err = view.Scan(start, record.PrefixEnd(prefix), func(stored record.Stored) bool {
		if seen == size {
			next = pageToken{query: prefix, last: last}.String()
			return false
		}
		seen++
		last = string(stored.Key)[len(prefix):]
		visitErr = visit(stored)
		return visitErr == nil
	})
	return next, firstError(err, visitErr)
}

// listRecords answers a page of the records with a key prefix.
func listRecords[T any](view record.View, kind record.Kind[T], prefix string, size int, token string) (items []*T, next string, err error) {
	next, err = walk(view, prefix, size, token, func(stored record.Stored) error {
		item, err := kind.Decode(stored.Value)
		items = append(items, item)
		return err
	})
	return items, next, err
}

// listNamed answers a page of what the index entries with a key prefix name.
func listNamed[T any](view record.View, prefix string, size int, token string, get func(id string) (*T, error)) (items []*T, next string, err error) {
	next, err = walk(view, prefix, size, token, func(stored record.Stored) error {
		id, err := record.DecodeReference(stored.Value)
		if err != nil {
			return err
		}
		item, err := get(id)
		if secret.HasCode(err, secret.CodeNotFound) {
			return nil // deleted between two reads of a view of the store
		}
		items = append(items, item)
		return err
	})
	return items, next, err
}
