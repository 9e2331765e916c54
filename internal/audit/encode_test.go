package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// worstEntry has every field and all of them as long as s.
func worstEntry(s string) *Entry {
	return &Entry{
		Time: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), Duration: math.MaxInt64,
		RequestID: s, Principal: secret.PrincipalID(s), PrincipalName: s, Account: secret.AccountID(s + "a"),
		Credential: secret.CredentialID(s), Method: s, Proof: s, Source: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"),
		ForwardedFor: s, Action: s, Resource: Resource{Kind: s, ID: s, Name: s, Vault: secret.VaultID(s + "v"), Account: secret.AccountID(s)},
		Decision: Allow, Policies: []string{s, s, s}, Outcome: secret.Code(s), Version: secret.VersionID(s),
		Order:      secret.Order{Epoch: secret.Epoch{Counter: math.MaxUint64, Region: secret.RegionName(s)}, Seq: math.MaxUint64},
		BreakGlass: true,
	}
}

func worstIdentity() []byte {
	return identity(secret.RegionName(strings.Repeat("r", 32)), strings.Repeat("p", MaxIdentityBytes-32))
}

func decode(t interface{ Fatalf(string, ...any) }, line []byte) map[string]any {
	if len(line) > MaxLineBytes {
		t.Fatalf("%d bytes: %s", len(line), line)
	}
	if bytes.IndexByte(line, '\n') != len(line)-1 {
		t.Fatalf("not exactly one line: %q", line)
	}
	if !utf8.Valid(line) {
		t.Fatalf("not UTF-8: %q", line)
	}
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	return m
}

func TestFloorsFit(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 5000), strings.Repeat("\x00", 5000), strings.Repeat("\"", 900), strings.Repeat("\U0001F512", 300)} {
		c := encoder{}
		m := decode(t, c.encode(worstIdentity(), worstEntry(s)))
		if len(m) != 25 {
			t.Errorf("%d keys, want 25: %v", len(m), m)
		}
	}
}

// TestIdentifiersStayWhole shows that however long the names are, the IDs of a
// request that passed validation are not cut.
func TestIdentifiersStayWhole(t *testing.T) {
	e := testEntry()
	e.Resource.Name = strings.Repeat("n", secret.MaxNameBytes)
	e.PrincipalName = strings.Repeat("p", secret.MaxContainerNameBytes)
	e.Policies = []string{strings.Repeat("a", 128), strings.Repeat("b", 128), strings.Repeat("c", 128)}
	e.Resource.Account = "01JABCDEFGHJKMNPQRSTVWXYZ9"
	e.Version = secret.VersionID(strings.Repeat("v", secret.MaxVersionIDBytes))
	c := encoder{}
	m := decode(t, c.encode(worstIdentity(), e))
	for key, want := range map[string]string{
		"request": e.RequestID, "principal": string(e.Principal), "account": string(e.Account), "credential": string(e.Credential),
		"id": e.Resource.ID, "owner": string(e.Resource.Account), "order": "1:east:42", "outcome": "ok", "action": e.Action,
		"version": string(e.Version),
	} {
		if m[key] != want {
			t.Errorf("%s = %v, want %s", key, m[key], want)
		}
	}
	digest := sha256.Sum256([]byte(e.Resource.Name))
	if name := m["name"].(string); !strings.HasPrefix(name, "nnnnnnn~") || !strings.HasSuffix(name, "~"+hex.EncodeToString(digest[:6])) {
		t.Errorf("name = %s", name)
	}
}

// hostile draws strings that are hard to encode: long, escaped, broken.
func hostile() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		unit := rapid.OneOf(
			rapid.Just("\x00"), rapid.Just("\""), rapid.Just("\\"), rapid.Just("\n"), rapid.Just("\x7f"), rapid.Just("\xff"),
			rapid.Just("\u2028"), rapid.Just("\U0001F512"), rapid.Just("\xe2\x80"), rapid.Just("~"), rapid.String(),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }),
		)
		parts := rapid.SliceOfN(unit, 0, 6).Draw(t, "parts")
		return strings.Repeat(strings.Join(parts, ""), rapid.IntRange(1, 300).Draw(t, "times"))
	})
}

func drawEntry(t *rapid.T) *Entry {
	s := hostile()
	e := worstEntry("")
	e.RequestID, e.PrincipalName, e.ForwardedFor, e.Action = s.Draw(t, "request"), s.Draw(t, "principal name"), s.Draw(t, "forwarded"), s.Draw(t, "action")
	e.Principal, e.Account = secret.PrincipalID(s.Draw(t, "principal")), secret.AccountID(s.Draw(t, "account"))
	e.Credential, e.Outcome = secret.CredentialID(s.Draw(t, "credential")), secret.Code(s.Draw(t, "outcome"))
	e.Resource = Resource{s.Draw(t, "kind"), s.Draw(t, "id"), s.Draw(t, "name"), secret.VaultID(s.Draw(t, "vault")), secret.AccountID(s.Draw(t, "owner"))}
	e.Policies = rapid.SliceOfN(s, 0, 5).Draw(t, "policies")
	e.Version, e.Order.Epoch.Region = secret.VersionID(s.Draw(t, "version")), secret.RegionName(s.Draw(t, "region"))
	e.Time = time.Unix(rapid.Int64().Draw(t, "seconds"), 0)
	e.Decision = Decision(rapid.Byte().Draw(t, "decision"))
	return e
}

func TestAnyEntryIsOneBoundedJSONLine(t *testing.T) {
	c := encoder{} // one for all, as from the pool
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		line := c.encode(worstIdentity(), e)
		m := decode(t, line)
		want := strings.ToValidUTF8(fixEach(e.Resource.Name), "\uFFFD")
		got, _ := m["name"].(string)
		if got != want {
			checkCut(t, e.Resource.Name, want, got)
		}
	})
}

// fixEach replaces each byte that is not UTF-8 by U+FFFD, as encoding/json does.
func fixEach(s string) string { return string([]rune(s)) }

func checkCut(t *rapid.T, whole, want, got string) {
	i := strings.LastIndexByte(got, '~')
	digest := sha256.Sum256([]byte(whole))
	if i < 0 || got[i+1:] != hex.EncodeToString(digest[:6]) || !strings.HasPrefix(want, got[:i]) {
		t.Fatalf("name %q was cut to %q", whole, got)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("prod/db/password", "deployer", "deployers-read", 3)
	f.Add(strings.Repeat("\u2028\"\\", 200), "\xff\xfe", "\x00", 40)
	f.Add("~", strings.Repeat("p", 789), "", 0)
	f.Fuzz(func(t *testing.T, name, principal, policy string, n int) {
		e := testEntry()
		e.Resource.Name, e.PrincipalName = name, principal
		for range n % 64 {
			e.Policies = append(e.Policies, policy)
		}
		c := encoder{}
		m := decode(t, c.encode(worstIdentity(), e))
		if m["id"] != e.Resource.ID {
			t.Fatalf("the ID was cut: %v", m["id"])
		}
	})
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	c := encoder{buf: make([]byte, 0, 2*MaxLineBytes)}
	e := testEntry()
	e.Policies = []string{"one", "two"}
	if n := testing.AllocsPerRun(100, func() { c.encode(nil, e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever the order of the lines, each has its own time as the standard library
// writes it.
func TestTimesAreThoseOfTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c encoder
		base := rapid.Int64Range(-62135596800, 253402300799-2).Draw(t, "second") // the years 1 to 9999
		for range rapid.IntRange(1, 10).Draw(t, "lines") {
			nanos := rapid.OneOf(rapid.Just(int64(0)), rapid.Map(rapid.Int64Range(0, 999), func(ms int64) int64 { return ms * 1e6 }), rapid.Int64Range(0, 999_999_999)).Draw(t, "nanos")
			at := time.Unix(base+rapid.Int64Range(0, 2).Draw(t, "later"), nanos).In(time.FixedZone("", 3600))
			if got, want := string(c.time(nil, at)), at.UTC().Format(time.RFC3339Nano); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	})
}

// Eight bytes are looked at together: each may stand at any place among them.
func TestEachByteIsPlainOrEscaped(t *testing.T) {
	for c := range 256 {
		for at := range 16 {
			text := []byte("abcdefghijklmnop")
			text[at] = byte(c)
			run := len(text)
			if !plain(byte(c)) {
				run = at
			}
			if got := plainRun(text, len(text)); got != run {
				t.Errorf("byte %#x at %d: a run of %d, want %d", c, at, got, run)
			}
			if got := plainRun(string(text), at); got != min(run, at) {
				t.Errorf("byte %#x at %d: a run of %d within %d", c, at, got, at)
			}
		}
	}
}
