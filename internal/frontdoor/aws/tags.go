package aws

import (
	"context"
	"maps"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

type tag struct {
	Key, Value *string
}

type tagOut struct {
	Key, Value string
}

// tagsOf returns tags as a map. A key twice is refused: one of the two would be lost.
func tagsOf(list []tag) (map[string]string, error) {
	var tags map[string]string
	for i, t := range list {
		if t.Key == nil || *t.Key == "" {
			return nil, broken("", "tags.member.key", "have length greater than or equal to 1")
		}
		if i == 0 {
			tags = make(map[string]string, len(list))
		}
		if _, twice := tags[*t.Key]; twice {
			return nil, invalidParameter("The tag key %s is given twice.", *t.Key)
		}
		tags[*t.Key] = ""
		if t.Value != nil {
			tags[*t.Key] = *t.Value
		}
	}
	return tags, secretTags(tags)
}

func secretTags(tags map[string]string) error { return secret.CheckTags("Tags", tags) }

func tagList(tags map[string]string) []tagOut {
	var list []tagOut
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, tagOut{Key: key, Value: tags[key]})
	}
	return list
}

type tagResourceIn struct {
	SecretId *string //nolint:revive // the API's name
	Tags     []tag
}

type untagResourceIn struct {
	SecretId *string //nolint:revive // the API's name
	TagKeys  []string
}

type nothingOut struct{}

func (d *Dialect) tagResource(ctx context.Context, in *tagResourceIn) (any, error) {
	if in.Tags == nil {
		return nil, broken("null", "tags", "not be null")
	}
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	return d.retag(ctx, in.SecretId, service.Update{SetTags: tags})
}

func (d *Dialect) untagResource(ctx context.Context, in *untagResourceIn) (any, error) {
	if in.TagKeys == nil {
		return nil, broken("null", "tagKeys", "not be null")
	}
	return d.retag(ctx, in.SecretId, service.Update{RemoveTags: in.TagKeys})
}

func (d *Dialect) retag(ctx context.Context, secretID *string, u service.Update) (any, error) {
	ref, err := d.ref(secretID)
	if err != nil {
		return nil, err
	}
	u.SecretRef, u.WaitCleared = ref, true
	u.Check = writable
	if _, err := d.Service.UpdateSecret(ctx, u); err != nil {
		return nil, err
	}
	return nothingOut{}, nil
}
