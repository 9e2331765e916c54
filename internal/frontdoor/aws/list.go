package aws

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type listSecretsIn struct {
	Filters                []filter
	IncludePlannedDeletion bool
	MaxResults             *int64
	NextToken              *string
	SortBy, SortOrder      string
}

type listEntry struct {
	described
	SecretVersionsToStages map[string][]string `json:",omitzero"`
}

type listSecretsOut struct {
	NextToken  string `json:",omitzero"`
	SecretList []listEntry
}

// maxSorted bounds a list in an order for which it is read as a whole.
const maxSorted = 10_000

func (d *Dialect) listSecrets(ctx context.Context, in *listSecretsIn) (any, error) {
	size, err := maxResults(in.MaxResults, 100, 100)
	if err != nil {
		return nil, err
	}
	q, err := d.query(in)
	if err != nil {
		return nil, err
	}
	var items []service.ListItem
	out := &listSecretsOut{SecretList: []listEntry{}}
	if in.SortOrder == "desc" || in.SortBy == "last-changed-date" || in.SortBy == "last-accessed-date" {
		items, out.NextToken, err = d.sorted(ctx, in, q, size)
	} else {
		q.PageSize = size
		items, out.NextToken, err = d.page(ctx, q, in.NextToken)
	}
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		out.SecretList = append(out.SecretList, listEntry{described: d.describe(item.Secret, item.Description, item.Accessed), SecretVersionsToStages: labelled(item.Secret)})
	}
	return out, nil
}

// query returns what lists the secrets that a request asks for.
func (d *Dialect) query(in *listSecretsIn) (service.ListQuery, error) {
	q := service.ListQuery{Vault: d.Vault, ByCreation: in.SortBy != "name", Describe: true}
	switch in.SortBy {
	case "", "created-date", "last-accessed-date", "last-changed-date", "name":
	default:
		return q, broken("", "sortBy", "satisfy enum value set: [created-date, last-accessed-date, last-changed-date, name]")
	}
	switch in.SortOrder {
	case "", "asc", "desc":
	default:
		return q, broken("", "sortOrder", "satisfy enum value set: [asc, desc]")
	}
	match, err := d.matching(in.Filters)
	if err != nil {
		return q, err
	}
	q.Match = func(item *service.ListItem) bool {
		return (in.IncludePlannedDeletion || item.Secret.State != secret.PendingDeletion) && match(item)
	}
	q.States = []secret.State{secret.Creating, secret.Active, secret.Updating, secret.PendingDeletion, secret.Failed}
	q.Selection = selection(in)
	return q, nil
}

func selection(in *listSecretsIn) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%q %t %q %q", in.Filters, in.IncludePlannedDeletion, in.SortBy, in.SortOrder)
	return strconv.FormatUint(h.Sum64(), 36)
}

// page answers a page of a list in its natural order.
func (d *Dialect) page(ctx context.Context, q service.ListQuery, token *string) ([]service.ListItem, string, error) {
	if token != nil {
		q.PageToken = *token
	}
	page, err := d.Service.ListSecrets(ctx, q)
	if e, ok := asError(err); ok {
		switch {
		case e.Code == secret.CodeInvalid && e.Field == "page_token":
			err = badNextToken()
		case e.Code == secret.CodeNotFound && e.Field == "vault":
			return nil, "", nil // an account without the vault has no secrets here
		}
	}
	return page.Items, page.NextPageToken, err
}

// sorted answers a page of a list in another order: all of it is read.
func (d *Dialect) sorted(ctx context.Context, in *listSecretsIn, q service.ListQuery, size int) ([]service.ListItem, string, error) {
	q.PageSize = service.MaxPageSize
	var all []service.ListItem
	for token := ""; ; {
		items, next, err := d.page(ctx, q, &token)
		if err != nil {
			return nil, "", err
		}
		if all = append(all, items...); len(all) > maxSorted {
			return nil, "", faultf(secret.CodeLimit, "LimitExceededException", "More than %d secrets match, which this region lists only by created-date or name, ascending: narrow the filters.", maxSorted)
		}
		if token = next; token == "" {
			break
		}
	}
	key := func(item *service.ListItem) string {
		switch in.SortBy {
		case "name":
			return item.Secret.Name
		case "last-accessed-date":
			return fmt.Sprintf("%020d", max(0, item.Accessed.At().Unix())) + string(item.Secret.ID)
		case "last-changed-date":
			return fmt.Sprintf("%020d", item.Secret.UpdatedAt.UnixNano()) + string(item.Secret.ID)
		}
		return string(item.Secret.ID)
	}
	sign := 1
	if in.SortOrder == "desc" {
		sign = -1
	}
	slices.SortFunc(all, func(a, b service.ListItem) int { return sign * cmp.Compare(key(&a), key(&b)) })
	if in.NextToken != nil && *in.NextToken != "" {
		after, err := sortedToken(*in.NextToken, q.Selection)
		if err != nil {
			return nil, "", err
		}
		i := slices.IndexFunc(all, func(item service.ListItem) bool { return sign*cmp.Compare(key(&item), after) > 0 })
		if i < 0 {
			i = len(all)
		}
		all = all[i:]
	}
	if len(all) <= size {
		return all, "", nil
	}
	all = all[:size]
	return all, base64.RawURLEncoding.EncodeToString([]byte("sorted:" + q.Selection + ":" + key(&all[size-1]))), nil
}

func sortedToken(token, selection string) (after string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	after, ok := strings.CutPrefix(string(b), "sorted:"+selection+":")
	if err != nil || !ok {
		return "", badNextToken()
	}
	return after, nil
}

type batchIn struct {
	Filters      []filter
	MaxResults   *int64
	NextToken    *string
	SecretIdList []string //nolint:revive // the API's name
}

type batchError struct {
	SecretId, ErrorCode, Message string //nolint:revive // the API's name
}

type batchOut struct {
	Errors       []batchError
	NextToken    string `json:",omitzero"`
	SecretValues []*valueOut
}

// maxBatch bounds the secrets of one batch.
const maxBatch = 20

func (d *Dialect) batchGetSecretValue(ctx context.Context, in *batchIn) (any, error) {
	ids := in.SecretIdList
	out := &batchOut{Errors: []batchError{}, SecretValues: []*valueOut{}}
	switch {
	case (len(ids) > 0) == (len(in.Filters) > 0):
		return nil, invalidParameter("You must provide either SecretIdList or Filters, but not both.")
	case len(ids) > maxBatch:
		return nil, broken("", "secretIdList", "have length less than or equal to %d", maxBatch)
	case len(ids) > 0 && (in.MaxResults != nil || in.NextToken != nil):
		return nil, invalidParameter("MaxResults and NextToken go with Filters only.")
	case len(ids) == 0:
		size, err := maxResults(in.MaxResults, maxBatch, maxBatch)
		if err != nil {
			return nil, err
		}
		q, err := d.query(&listSecretsIn{Filters: in.Filters})
		if err != nil {
			return nil, err
		}
		q.PageSize = size
		items, next, err := d.page(ctx, q, in.NextToken)
		if err != nil {
			return nil, err
		}
		out.NextToken = next
		for _, item := range items {
			ids = append(ids, item.Secret.Name)
		}
	}
	for _, id := range ids {
		value, err := d.read(ctx, &getSecretValueIn{SecretId: &id})
		switch secret.CodeOf(err) {
		case "":
			out.SecretValues = append(out.SecretValues, value)
		case secret.CodeAuditUnavailable, secret.CodeUnauthenticated:
			return nil, err
		default:
			of, text := d.typeOf(err)
			out.Errors = append(out.Errors, batchError{SecretId: id, ErrorCode: of, Message: text})
		}
	}
	return out, nil
}
