package importsource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/lifeboat-secrets/lifeboat/internal/kms/remote"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// maxAnswerBytes bounds an answer of the source.
	maxAnswerBytes = 8 << 20
	// attempts bounds how often a request is made that the source is too busy for.
	attempts = 5
	// maxDepth bounds how deep folders are nested.
	maxDepth = 64
)

// VaultOptions say where a Vault or OpenBao is and what to read there.
type VaultOptions struct {
	// Address is a URL; plain http is for the loopback alone.
	Address   string
	Token     secret.Plaintext
	Namespace string
	// Mount of the KV secrets engine; "secret" if empty.
	Mount string
	// Path is a folder of it; empty means all.
	Path string
	// KV is the version of the engine, 1 or 2; 0 means ask.
	KV int
	// Versions is how many of each secret's versions to read, 1 to 100; 0 means 1.
	Versions int
	// Rate bounds the requests a second; 0 means DefaultRate.
	Rate float64
	// Client is used for requests; its redirects are not followed.
	Client *http.Client
}

// Vault is a KV secrets engine of Vault or OpenBao.
type Vault struct {
	options VaultOptions
	pace    pace
	http    http.Client
}

var _ Source = (*Vault)(nil)

// OpenVault finds out how to read the engine. Errors: secret.CodeInvalid for
// options, else those of the source.
func OpenVault(ctx context.Context, o VaultOptions) (*Vault, error) {
	o.Address = strings.TrimRight(o.Address, "/")
	if err := remote.CheckURL("address", o.Address); err != nil {
		return nil, err
	}
	o.Mount, o.Path = strings.Trim(o.Mount, "/"), strings.Trim(o.Path, "/")
	if o.Mount == "" {
		o.Mount = "secret"
	}
	if o.Versions == 0 {
		o.Versions = 1
	}
	switch {
	case o.Token.Len() == 0:
		return nil, secret.Invalid("token", "is missing")
	case o.KV < 0 || o.KV > 2:
		return nil, secret.Invalid("kv", "is %d; allowed are 1 and 2", o.KV)
	case o.Versions < 1 || o.Versions > secret.MaxVersions:
		return nil, secret.Invalid("versions", "is %d; allowed are 1 to %d", o.Versions, secret.MaxVersions)
	}
	v := &Vault{options: o}
	var err error
	if v.pace, err = newPace(o.Rate); err != nil {
		return nil, err
	}
	if o.Client != nil {
		v.http = *o.Client
	}
	// A token must not go where it was not meant to.
	v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if o.KV == 0 {
		err = v.detect(ctx)
	}
	return v, err
}

// detect asks which version the engine is.
func (v *Vault) detect(ctx context.Context) error {
	var answer struct {
		Data struct {
			Type    string            `json:"type"`
			Options map[string]string `json:"options"`
		} `json:"data"`
	}
	if err := v.get(ctx, "sys/internal/ui/mounts/"+escape(v.options.Mount), nil, &answer); err != nil {
		return fmt.Errorf("find out what is mounted at %s: %w", v.options.Mount, err)
	}
	switch {
	case answer.Data.Type != "kv" && answer.Data.Type != "generic":
		return secret.Invalid("mount", "is of type %q, not kv", answer.Data.Type)
	case answer.Data.Options["version"] == "2":
		v.options.KV = 2
	default:
		v.options.KV = 1
	}
	return nil
}

// path returns the path of a request; operation counts for version 2 only.
func (v *Vault) path(operation, name string) string {
	p := escape(v.options.Mount) + "/"
	if v.options.KV == 2 {
		p += operation + "/"
	}
	return p + escape(name)
}

func escape(path string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// Names implements Source: the paths below the mount, folder by folder.
func (v *Vault) Names(ctx context.Context, visit func(name string) error) error {
	folders := []string{v.options.Path}
	for len(folders) > 0 {
		folder := folders[len(folders)-1]
		folders = folders[:len(folders)-1]
		var answer struct {
			Data struct {
				Keys []string `json:"keys"`
			} `json:"data"`
		}
		err := v.get(ctx, v.path("metadata", folder), url.Values{"list": {"true"}}, &answer)
		if r, ok := errors.AsType[*vaultError](err); ok && r.status == http.StatusNotFound {
			if folder == v.options.Path {
				return secret.Errorf(secret.CodeNotFound, "there is nothing at %s", strings.TrimSuffix(v.options.Mount+"/"+folder, "/"))
			}
			continue // it was deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", v.options.Mount+"/"+folder, err)
		}
		for _, key := range answer.Data.Keys {
			name := strings.TrimPrefix(folder+"/"+key, "/")
			if !strings.HasSuffix(key, "/") {
				if err := visit(name); err != nil {
					return err
				}
				continue
			}
			if strings.Count(name, "/") > maxDepth {
				return secret.Errorf(secret.CodeLimit, "%s is nested deeper than %d folders", name, maxDepth)
			}
			folders = append(folders, strings.TrimSuffix(name, "/"))
		}
	}
	return nil
}

// Get implements Source: the value is a JSON object of what the secret holds.
func (v *Vault) Get(ctx context.Context, name string) (Item, error) {
	if v.options.KV == 1 {
		return v.first(ctx, name)
	}
	return v.second(ctx, name)
}

func (v *Vault) item(versions []Version, name string) Item {
	return Item{
		Versions: versions, ContentType: "application/json",
		Metadata: map[string]string{MetadataSource: "vault:" + v.options.Mount + "/" + name},
	}
}

func (v *Vault) first(ctx context.Context, name string) (Item, error) {
	var answer struct {
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := v.get(ctx, v.path("", name), nil, &answer); err != nil {
		return Item{}, refused(err)
	}
	value, err := object(answer.Data)
	if err != nil {
		return Item{}, err
	}
	return v.item([]Version{{ID: "current", Value: value}}, name), nil
}

type vaultVersion struct {
	CreatedTime  string `json:"created_time"`
	DeletionTime string `json:"deletion_time"`
	Destroyed    bool   `json:"destroyed"`
}

// gone says why a version cannot be read, empty if it can. A time of deletion in
// the future is only planned.
func (m vaultVersion) gone() string {
	deleted, err := time.Parse(time.RFC3339Nano, m.DeletionTime)
	switch {
	case m.Destroyed:
		return "destroyed"
	case m.DeletionTime != "" && (err != nil || time.Now().After(deleted)):
		return "deleted"
	}
	return ""
}

func (v *Vault) second(ctx context.Context, name string) (Item, error) {
	var about struct {
		Data struct {
			Current  int                     `json:"current_version"`
			Versions map[string]vaultVersion `json:"versions"`
			Custom   map[string]string       `json:"custom_metadata"`
		} `json:"data"`
	}
	if err := v.get(ctx, v.path("metadata", name), nil, &about); err != nil {
		return Item{}, refused(err)
	}
	current, ok := about.Data.Versions[strconv.Itoa(about.Data.Current)]
	if !ok {
		return Item{}, &Refusal{"it has no current version"}
	}
	if why := current.gone(); why != "" {
		return Item{}, &Refusal{"its current version is " + why}
	}
	var numbers []int
	for text, m := range about.Data.Versions {
		if n, err := strconv.Atoi(text); err == nil && m.gone() == "" {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	numbers = numbers[max(0, len(numbers)-v.options.Versions):]
	var versions []Version
	for _, n := range numbers {
		var answer struct {
			Data struct {
				Data map[string]json.RawMessage `json:"data"`
			} `json:"data"`
		}
		if err := v.get(ctx, v.path("data", name), url.Values{"version": {strconv.Itoa(n)}}, &answer); err != nil {
			return Item{}, refused(err)
		}
		value, err := object(answer.Data.Data)
		if err != nil {
			return Item{}, err
		}
		// Numbers begin anew if a secret was deleted with all that it had.
		versions = append(versions, Version{ID: strconv.Itoa(n) + "@" + about.Data.Versions[strconv.Itoa(n)].CreatedTime, Value: value})
	}
	item := v.item(versions, name)
	for key, text := range about.Data.Custom {
		item.Metadata[key] = text
	}
	return item, nil
}

// object returns what a secret holds as JSON, always in the same form.
func object(data map[string]json.RawMessage) (secret.Plaintext, error) {
	if len(data) == 0 {
		return secret.Plaintext{}, &Refusal{"it holds nothing"}
	}
	b, err := json.Marshal(data) // sorted by key, and compact
	if err != nil {
		return secret.Plaintext{}, &Refusal{"what it holds is not JSON"}
	}
	return secret.NewPlaintext(b), nil
}

// refused turns answers about one secret into a *Refusal.
func refused(err error) error {
	if r, ok := errors.AsType[*vaultError](err); ok {
		switch r.status {
		case http.StatusNotFound:
			return &Refusal{"it is gone"}
		case http.StatusForbidden:
			return &Refusal{"the token may not read it"}
		}
	}
	return err
}

// vaultError is an answer other than success.
type vaultError struct {
	status int
	reason string
}

func (e *vaultError) Error() string {
	s := fmt.Sprintf("the source answered with status %d", e.status)
	if e.status >= 300 && e.status < 400 {
		s += " (a redirect, which is not followed: give the address of the active node)"
	}
	if e.reason != "" {
		s += ": " + strconv.Quote(e.reason)
	}
	return s
}

// get decodes a successful answer. It waits and tries again while the source is
// too busy or not there.
func (v *Vault) get(ctx context.Context, path string, query url.Values, answer any) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 200*time.Millisecond, 5*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := v.getOnce(ctx, path, query, answer)
		if r, ok := errors.AsType[*vaultError](err); ok && r.status != http.StatusTooManyRequests && r.status < 500 {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(attempts))
	return err
}

func (v *Vault) getOnce(ctx context.Context, path string, query url.Values, answer any) error {
	if err := v.pace.wait(ctx); err != nil {
		return backoff.Permanent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	u := v.options.Address + "/v1/" + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return backoff.Permanent(err)
	}
	request.Header.Set("X-Vault-Token", string(v.options.Token.Reveal()))
	request.Header.Set("X-Vault-Request", "true")
	if v.options.Namespace != "" {
		request.Header.Set("X-Vault-Namespace", v.options.Namespace)
	}
	response, err := v.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return err
	case len(body) > maxAnswerBytes:
		return backoff.Permanent(fmt.Errorf("the answer has more than %d bytes", maxAnswerBytes))
	case response.StatusCode != http.StatusOK:
		return refusalOf(response.StatusCode, body)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return backoff.Permanent(errors.New("the answer is not JSON of the expected form")) // the cause may quote it
	}
	return nil
}

// refusalOf reads {"errors": [...]}, which quotes no values.
func refusalOf(status int, body []byte) error {
	var answer struct {
		Errors []string `json:"errors"`
	}
	_ = json.Unmarshal(body, &answer)
	reason := strings.Join(answer.Errors, "; ")
	if len(reason) > 200 {
		reason = strings.ToValidUTF8(reason[:200], "") + "…"
	}
	return &vaultError{status: status, reason: reason}
}
