package secret

import (
	"strings"
	"unicode/utf8"
)

const (
	letters        = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits         = "0123456789"
	nameChars      = letters + digits + "/_+=.@!-"
	containerChars = letters + digits + "_.-"
	labelChars     = letters + digits + "/_+=.@!-:"
)

func checkChars(field, s string, limit int, allowed, readable string) error {
	switch {
	case s == "":
		return Invalid(field, "must not be empty")
	case len(s) > limit:
		return Invalid(field, "is %d bytes long; the limit is %d", len(s), limit)
	}
	for _, c := range s {
		if !strings.ContainsRune(allowed, c) {
			return Invalid(field, "has the character %q; allowed are %s", c, readable)
		}
	}
	return nil
}

// CheckName checks the name of a secret: 1 to MaxNameBytes letters, digits and
// any of /_+=.@!- (the set that AWS Secrets Manager allows). Slashes have no
// meaning of their own. A name may not look like an ID, since references to
// secrets accept either.
func CheckName(field, name string) error {
	if err := checkChars(field, name, MaxNameBytes, nameChars, "letters, digits and /_+=.@!-"); err != nil {
		return err
	}
	if ID(name).Valid() {
		return Invalid(field, "has the form of a secret's ID, which references would take it for")
	}
	return nil
}

// CheckContainerName checks the name of an account, vault, principal, role or
// policy: 1 to MaxContainerNameBytes letters, digits and any of _.- A name may
// not look like an ID, since references accept either, nor be . or .. which
// have a meaning in paths.
func CheckContainerName(field, name string) error {
	err := checkChars(field, name, MaxContainerNameBytes, containerChars, "letters, digits and _.-")
	switch {
	case err != nil:
		return err
	case ValidULID(name):
		return Invalid(field, "has the form of an ID, which references would take it for")
	case name == "." || name == "..":
		return Invalid(field, "must not be %q", name)
	}
	return nil
}

// CheckVersionID checks a version ID chosen by a caller.
func CheckVersionID(field string, id VersionID) error {
	return checkChars(field, string(id), MaxVersionIDBytes, containerChars, "letters, digits and _.-")
}

// CheckRequestToken checks an idempotency token; empty means none.
func CheckRequestToken(field, token string) error {
	if token == "" {
		return nil
	}
	return checkChars(field, token, MaxRequestTokenBytes, containerChars, "letters, digits and _.-")
}

// CheckRegionName checks the name of a region.
func CheckRegionName(field string, name RegionName) error {
	return checkChars(field, string(name), 32, "abcdefghijklmnopqrstuvwxyz0123456789-", "lower-case letters, digits and -")
}

// CheckText checks free text: valid UTF-8 of at most limit bytes.
func CheckText(field, s string, limit int) error {
	switch {
	case len(s) > limit:
		return Invalid(field, "is %d bytes long; the limit is %d", len(s), limit)
	case !utf8.ValidString(s):
		return Invalid(field, "is not valid UTF-8")
	}
	return nil
}

// CheckTags checks tags: at most MaxTags, keys not empty, sizes within limits.
func CheckTags(field string, tags map[string]string) error {
	if len(tags) > MaxTags {
		return Invalid(field, "has %d entries; the limit is %d", len(tags), MaxTags)
	}
	for k, v := range tags {
		if k == "" {
			return Invalid(field, "has an empty key")
		}
		if err := CheckText(field+" key", k, MaxTagKeyBytes); err != nil {
			return err
		}
		if err := CheckText(field+"["+k+"]", v, MaxTagValueBytes); err != nil {
			return err
		}
	}
	return nil
}

// CheckValue checks the size of a value: 1 to MaxValueBytes bytes.
func CheckValue(field string, value Plaintext) error {
	switch n := value.Len(); {
	case n == 0:
		return Invalid(field, "must not be empty")
	case n > MaxValueBytes:
		return Invalid(field, "is %d bytes long; the limit is %d", n, MaxValueBytes)
	}
	return nil
}

// CheckRoles checks the roles of a principal.
func CheckRoles(field string, roles []string) error {
	if len(roles) > MaxRoles {
		return Invalid(field, "has %d entries; the limit is %d", len(roles), MaxRoles)
	}
	for _, r := range roles {
		if err := CheckContainerName(field, r); err != nil {
			return err
		}
	}
	return nil
}
