package service

import (
	"testing"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const someID = secret.ID("01ARZ3NDEKTSV4RRFFQ69G5FAV.01BX5ZZKBKACTAV9WEVGEMMVRZ")

func revisionToken(seq uint64) RevisionToken {
	return RevisionToken{
		Secret: someID, Incarnation: "0123456789abcdef",
		Order: secret.Order{Epoch: secret.Epoch{Counter: 3, Region: "east"}, Seq: seq},
	}
}

func TestTokensSurviveTheirOpaqueForm(t *testing.T) {
	for _, want := range []RevisionToken{{}, revisionToken(1), revisionToken(1<<64 - 1)} {
		if got, err := ParseRevisionToken(want.String()); err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
	point := resumePoint{incarnation: "i", revision: 1 << 62, at: time.Unix(1_800_000_000, 0)}
	if got, err := parseResumePoint(point.String()); err != nil || got != point {
		t.Errorf("%+v became %+v, %v", point, got, err)
	}
	page := pageToken{query: "q", last: "a/b c"}
	if got, err := parsePageToken(page.String(), "q"); err != nil || got != page.last {
		t.Errorf("%+v became %q, %v", page, got, err)
	}
}

func TestOneKindOfTokenIsNotTakenForAnother(t *testing.T) {
	revision, point, page := revisionToken(1).String(), resumePoint{incarnation: "i"}.String(), pageToken{query: "q", last: "l"}.String()
	for _, s := range []string{point, page} {
		if _, err := ParseRevisionToken(s); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{revision, page, ""} {
		if _, err := parseResumePoint(s); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{revision, point} {
		if _, err := parsePageToken(s, "q"); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, err := parsePageToken(page, "another"); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("a token of another list: %v", err)
	}
}

// FuzzTokens: whatever a caller sends as a token is refused as invalid, or means
// the same after another round.
func FuzzTokens(f *testing.F) {
	f.Add(revisionToken(7).String())
	f.Add(resumePoint{incarnation: "i", revision: 9, at: time.Unix(1, 0)}.String())
	f.Add(pageToken{query: "q", last: "l"}.String())
	f.Add(encodeOpaque(revisionTokenFormat, "x", "", "", "", "-1"))
	f.Add("")
	f.Add("!")
	f.Fuzz(func(t *testing.T, s string) {
		check := func(err error, same bool) {
			if err != nil && !secret.HasCode(err, secret.CodeInvalid) {
				t.Fatalf("%q: %v", s, err)
			}
			if err == nil && !same {
				t.Fatalf("%q does not mean the same in its own form", s)
			}
		}
		token, err := ParseRevisionToken(s)
		again, _ := ParseRevisionToken(token.String())
		check(err, token == again)
		point, err := parseResumePoint(s)
		samePoint, _ := parseResumePoint(point.String())
		check(err, point == samePoint)
		last, err := parsePageToken(s, "q")
		sameLast, _ := parsePageToken(pageToken{query: "q", last: last}.String(), "q")
		check(err, last == sameLast)
	})
}
