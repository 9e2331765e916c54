package aws

import (
	"slices"
	"strings"
	"unicode"

	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// filter chooses secrets: those for which one of its values matches.
type filter struct {
	Key    string
	Values []string
}

const (
	maxFilters      = 10
	maxFilterValues = 10
	maxFilterValue  = 512
)

var filterKeys = []string{"all", "description", "name", "owning-service", "primary-region", "tag-key", "tag-value"}

// matching returns what all filters choose.
func (d *Dialect) matching(filters []filter) (func(*service.ListItem) bool, error) {
	if len(filters) > maxFilters {
		return nil, broken("", "filters", "have length less than or equal to %d", maxFilters)
	}
	for _, f := range filters {
		if !slices.Contains(filterKeys, f.Key) {
			return nil, broken("", "filters.member.key", "satisfy enum value set: [%s]", strings.Join(filterKeys, ", "))
		}
		if n := len(f.Values); n == 0 || n > maxFilterValues {
			return nil, broken("", "filters.member.values", "have length between 1 and %d", maxFilterValues)
		}
		for _, v := range f.Values {
			if len(v) > maxFilterValue {
				return nil, broken("", "filters.member.values", "have members of length less than or equal to %d", maxFilterValue)
			}
		}
	}
	return func(item *service.ListItem) bool {
		for _, f := range filters {
			if !slices.ContainsFunc(f.Values, func(v string) bool { return d.matches(item, f.Key, v) }) {
				return false
			}
		}
		return true
	}, nil
}

// matches reports whether a value of a filter chooses a secret; one that begins with
// an exclamation mark chooses all others.
func (d *Dialect) matches(item *service.ListItem, key, value string) bool {
	value, negated := strings.CutPrefix(value, "!")
	return d.has(item, key, value) != negated
}

func (d *Dialect) has(item *service.ListItem, key, value string) bool {
	s := item.Secret
	begins := func(text string) bool { return strings.HasPrefix(text, value) }
	switch key {
	case "description":
		text := string(item.Description.Reveal())
		return text != "" && strings.HasPrefix(strings.ToLower(text), strings.ToLower(value))
	case "name":
		return begins(s.Name)
	case "primary-region":
		return replicated(s, d.Region) && begins(d.nameOf(s.Ownership.Home))
	case "tag-key", "tag-value":
		for k, v := range s.Tags {
			if key == "tag-key" && begins(k) || key == "tag-value" && begins(v) {
				return true
			}
		}
		return false
	case "all":
		text := words(s.Name + " " + string(item.Description.Reveal()))
		for k, v := range s.Tags {
			text = append(text, words(k+" "+v)...)
		}
		return !slices.ContainsFunc(words(value), func(word string) bool {
			return !slices.ContainsFunc(text, func(have string) bool { return strings.HasPrefix(have, word) })
		})
	}
	return false // no secret is owned by another service
}

// words splits a text where it has neither a letter nor a digit.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
