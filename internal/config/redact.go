package config

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Redaction is what stands in place of what may be secret.
const Redaction = "(redacted)"

// shown are the fields of text that hold no secret, by their path; * is any key of
// a map, [] any entry of a list. A field that is not here is not shown, so that one
// that is added later cannot leak before somebody has thought about it.
var shown = regexp.MustCompile(`^(` + strings.Join([]string{
	`region\.name`, `process\.(id|data_dir|roles\[\])`, `listen\.(address|admin_address|peer_address|advertise)`,
	`tls\.(cert_file|key_file|ca_file)`, `tls\.peer\.(cert_file|key_file|ca_file)`,
	`store\.prefix`, `store\.embedded\.(name|client_address|peer_address)`, `store\.embedded\.initial_cluster\.\*`,
	`store\.external\.(endpoints\[\]|ca_file|cert_file|key_file|password_file)`,
	`control\.addresses\[\]`, `kms\.driver`, `kms\.file\.path`, `kms\.pkcs11\.(module|token|pin_file|key|older_keys\[\])`,
	`kms\.transit\.(address|namespace|mount|key|older_keys\[\]|token_file|ca_file)`,
	`kms\.aws_kms\.(key|older_keys\[\]|region|endpoint|credentials_file|profile)`, `kms\.sealed_cache\.(path|key_file)`,
	`replication\.when_no_peer_answers`, `audit\.(paths\[\]|sync)`, `log\.(level|format)`, `traces\.(otlp_endpoint|ca_file)`,
	`rotators\[\]\.(name|url|key_file|ca_file)`, `aws\.vault`, `aws\.region_names\.\*`,
	`peers\[\]\.(region|addresses\[\]|ca_file)`,
}, "|") + `)$`)

// Redacted returns the configuration as YAML for somebody who may not know its
// secrets. The files that it names are not read. Text is shown only in fields that
// are known to hold no secret, URLs without user and query; numbers, durations and
// switches always.
func (c *Config) Redacted() ([]byte, error) {
	data, err := yaml.Marshal(c)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	return yaml.Marshal(redact(tree, ""))
}

// maps are the fields whose keys are not fields.
var maps = map[string]bool{"store.embedded.initial_cluster": true, "aws.region_names": true}

func redact(v any, path string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, below := range v {
			at := key
			if maps[path] {
				at = "*"
			}
			out[key] = redact(below, strings.TrimPrefix(path+"."+at, "."))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, below := range v {
			out[i] = redact(below, path+"[]")
		}
		return out
	case string:
		return redactText(v, path)
	default:
		return v
	}
}

func redactText(v, path string) string {
	if _, err := time.ParseDuration(v); err == nil || v == "" {
		return v
	}
	if !shown.MatchString(path) {
		return Redaction
	}
	if !strings.Contains(v, "://") {
		return v
	}
	u, err := url.Parse(v)
	if err != nil {
		return Redaction
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
