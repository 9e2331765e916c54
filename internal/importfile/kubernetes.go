package importfile

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Tags that a secret from a manifest gets.
const (
	TagKubernetesType      = "kubernetes-type"
	TagKubernetesNamespace = "kubernetes-namespace"
)

// maxDocuments bounds the documents of a file, and the items of a list.
const maxDocuments = 10_000

// ParseKubernetes reads manifests of Kubernetes Secrets, as YAML of one or more
// documents or as JSON, single or in lists. Each key becomes an entry
// SECRET/KEY; type and namespace become tags, and the media type is set where the
// type says what a key holds. As in Kubernetes, stringData goes before data.
// Other kinds of objects, unknown fields, keys given twice, aliases and values
// that are not base64 are refused.
func ParseKubernetes(r io.Reader) ([]Entry, error) {
	b, err := read(r)
	if err != nil {
		return nil, err
	}
	loader, err := yaml.NewLoader(bytes.NewReader(b), yaml.WithUniqueKeys())
	if err != nil {
		return nil, err
	}
	p := manifestParser{}
	for range maxDocuments {
		var document yaml.Node
		if err := loader.Load(&document); errors.Is(err, io.EOF) {
			return p.found.list, nil
		} else if err != nil {
			// The cause may quote the file.
			return nil, invalid(1+p.line, "is not valid YAML or JSON, or names a key twice; the error is in the document that begins about there")
		}
		p.line = document.Line
		if err := p.document(&document); err != nil {
			return nil, err
		}
	}
	return nil, secret.Invalid("file", "has more than %d documents", maxDocuments)
}

type manifestParser struct {
	found entries
	line  int
}

func (p *manifestParser) document(n *yaml.Node) error {
	for n.Kind == yaml.DocumentNode {
		if len(n.Content) == 0 {
			return nil
		}
		n = n.Content[0]
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil // nothing between two separators
	}
	return p.object(n)
}

// object takes a Secret, or the items of a list.
func (p *manifestParser) object(n *yaml.Node) error {
	fields, err := mapping(n, "an object")
	if err != nil {
		return err
	}
	kind, err := text(fields["kind"], n, "kind")
	if err != nil {
		return err
	}
	if version, err := text(fields["apiVersion"], n, "apiVersion"); err != nil || version != "v1" {
		return invalid(n.Line, "apiVersion must be v1")
	}
	switch kind {
	case "Secret":
		return p.secret(n, fields)
	case "List", "SecretList":
		items := fields["items"]
		if items == nil || items.Kind != yaml.SequenceNode || len(items.Content) > maxDocuments {
			return invalid(n.Line, "items must be a list of at most %d objects", maxDocuments)
		}
		for _, item := range items.Content {
			if err := p.object(item); err != nil {
				return err
			}
		}
		return nil
	}
	return invalid(n.Line, "the object is of another kind than Secret and List; only Secrets can be imported")
}

var secretFields = []string{"apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"}

func (p *manifestParser) secret(n *yaml.Node, fields map[string]*yaml.Node) error {
	for field := range fields {
		if !slices.Contains(secretFields, field) {
			return invalid(fields[field].Line, "a Secret has no such field")
		}
	}
	metadata, err := mapping(fields["metadata"], "metadata")
	if err != nil {
		return at(err, n)
	}
	name, err := text(metadata["name"], n, "metadata.name")
	if err != nil {
		return err
	}
	tags := map[string]string{}
	for tag, field := range map[string]*yaml.Node{TagKubernetesType: fields["type"], TagKubernetesNamespace: metadata["namespace"]} {
		if field == nil {
			continue
		}
		if tags[tag], err = text(field, n, tag); err != nil {
			return err
		}
	}
	if err := secret.CheckTags("tags", tags); err != nil {
		return invalid(n.Line, "type and namespace cannot be tags: %s", err)
	}
	return p.values(n, fields, name, tags)
}

// values takes data and stringData, in the order of the file.
func (p *manifestParser) values(n *yaml.Node, fields map[string]*yaml.Node, name string, tags map[string]string) error {
	plain := map[string]bool{}
	for _, source := range []struct {
		field  string
		base64 bool
	}{{"stringData", false}, {"data", true}} {
		node := fields[source.field]
		if node == nil || node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
			continue
		}
		if node.Kind != yaml.MappingNode {
			return invalid(node.Line, "%s must be an object", source.field)
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i].Value, node.Content[i+1]
			if plain[key] {
				continue // stringData goes before
			}
			plain[key] = !source.base64
			content, err := text(value, n, "the value of key "+quoted(key))
			if err != nil {
				return err
			}
			decoded := []byte(content)
			if source.base64 {
				if decoded, err = base64.StdEncoding.Strict().DecodeString(content); err != nil {
					return invalid(value.Line, "the value of key %s is not base64", quoted(key))
				}
			}
			if err := p.add(name+"/"+key, decoded, value.Line, quoted(key), tags); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *manifestParser) add(name string, value []byte, line int, key string, tags map[string]string) error {
	if err := p.found.add(name, value, line); err != nil {
		return secret.Invalid("key "+key, "%s", err.Error())
	}
	e := &p.found.list[len(p.found.list)-1]
	e.Tags, e.ContentType = tags, contentType(tags[TagKubernetesType], name[strings.LastIndexByte(name, '/')+1:])
	return nil
}

// contentType is what the type of a Secret says of a key.
func contentType(kind, key string) string {
	switch kind + " " + key {
	case "kubernetes.io/tls tls.crt", "kubernetes.io/tls tls.key", "kubernetes.io/tls ca.crt", "kubernetes.io/ssh-auth ssh-privatekey":
		return "application/x-pem-file"
	case "kubernetes.io/dockerconfigjson .dockerconfigjson", "kubernetes.io/dockercfg .dockercfg":
		return "application/json"
	}
	return ""
}

// quoted shows a key, which a manifest keeps in the clear.
func quoted(key string) string {
	if len(key) > 100 {
		key = strings.ToValidUTF8(key[:100], "") + "…"
	}
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, key) + `"`
}

func mapping(n *yaml.Node, what string) (map[string]*yaml.Node, error) {
	if n == nil {
		return nil, secret.Invalid(what, "is missing")
	}
	if n.Kind != yaml.MappingNode {
		return nil, invalid(n.Line, "%s must be an object", what)
	}
	fields := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return nil, invalid(key.Line, "the name of a field must be text")
		}
		if fields[key.Value] != nil {
			return nil, invalid(key.Line, "a field is given twice")
		}
		fields[key.Value] = n.Content[i+1]
	}
	return fields, nil
}

// text returns a scalar that is a string. A number is not taken for one, as
// Kubernetes does not.
func text(n, parent *yaml.Node, what string) (string, error) {
	if n == nil {
		return "", invalid(parent.Line, "%s is missing", what)
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		return "", invalid(n.Line, "%s must be text: quote it", what)
	}
	return n.Value, nil
}

// at gives an error without a line that of a node.
func at(err error, n *yaml.Node) error {
	if e, ok := errors.AsType[*secret.Error](err); ok && !strings.HasPrefix(e.Field, "line ") {
		return invalid(n.Line, "%s %s", e.Field, e.Message)
	}
	return err
}
