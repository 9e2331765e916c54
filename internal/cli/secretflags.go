package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// creationFlags describe a secret that is made.
type creationFlags struct {
	description, contentType, metadataFile, expires string
	tags                                            []string
	versionTTL, maxAge                              time.Duration
	maxVersions                                     uint32
	forbidReuse                                     bool
}

var creationFlagNames = []string{
	"description", "content-type", "metadata-file", "expires", "tag", "version-ttl", "max-age", "max-versions", "forbid-reuse",
}

func (o *creationFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.description, "description", "", "description, stored encrypted")
	f.StringVar(&o.contentType, "content-type", "", "media type of the value")
	f.StringVar(&o.metadataFile, "metadata-file", "", "JSON object of strings: custom metadata, stored encrypted")
	f.StringArrayVar(&o.tags, "tag", nil, "NAME=VALUE, readable to whoever may list; repeatable")
	f.StringVar(&o.expires, "expires", "", "when the secret can no longer be read: a duration from now, or a time")
	f.DurationVar(&o.versionTTL, "version-ttl", 0, "how long each new version can be read")
	f.BoolVar(&o.forbidReuse, "forbid-reuse", false, "refuse a value that an earlier version had")
	f.Uint32Var(&o.maxVersions, "max-versions", 0, "versions to keep, 1 to 100 (default 20)")
	f.DurationVar(&o.maxAge, "max-age", 0, "prune versions older than this, at least 1h (default no limit)")
}

// given reports whether any of the flags was used.
func (o *creationFlags) given(c *cobra.Command) bool {
	for _, name := range creationFlagNames {
		if c.Flags().Changed(name) {
			return true
		}
	}
	return false
}

func (o *creationFlags) fill(request *lifeboatv1.CreateSecretRequest) (err error) {
	request.Description, request.ContentType = o.description, o.contentType
	if request.Tags, err = parsePairs("tag", o.tags); err != nil {
		return err
	}
	if request.Metadata, err = readMetadata(o.metadataFile); err != nil {
		return err
	}
	expires, err := expiry("expires", o.expires)
	if err != nil {
		return err
	}
	if expires != nil || o.versionTTL != 0 || o.forbidReuse {
		request.Rules = &lifeboatv1.Rules{ExpiresAt: expires, VersionTtl: duration(o.versionTTL), ForbidReuse: o.forbidReuse}
	}
	if o.maxVersions != 0 || o.maxAge != 0 {
		request.Retention = &lifeboatv1.Retention{MaxVersions: o.maxVersions, MaxAge: duration(o.maxAge)}
	}
	return nil
}

func readMetadata(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, withHint(fmt.Errorf("read the metadata: %w", err), "check --metadata-file")
	}
	var m map[string]string
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, usagef("--metadata-file must hold one JSON object of strings")
	}
	return m, nil
}
