package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const canary = "canary-4711"

// wantNoCanary fails if text holds the canary in any form that a printer of
// bytes may give it.
func wantNoCanary(t *testing.T, how, text string) {
	t.Helper()
	decimals := strings.Trim(fmt.Sprint([]byte(canary)), "[]")
	for _, form := range []string{
		canary, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))),
		fmt.Sprintf("% x", canary), base64.StdEncoding.EncodeToString([]byte(canary)),
		decimals, strings.ReplaceAll(decimals, " ", ","), "0x63, 0x61",
	} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the content: %s", how, text)
		}
	}
}

type holder struct {
	Exported   secret.Plaintext
	unexported secret.Plaintext
	Pointer    *secret.Plaintext
	List       []secret.Plaintext
	Map        map[string]secret.Plaintext
	Any        any
}

func holders() map[string]any {
	p := secret.NewPlaintext([]byte(canary))
	h := holder{p, p, &p, []secret.Plaintext{p}, map[string]secret.Plaintext{"k": p}, p}
	return map[string]any{
		"value": p, "pointer": &p, "struct": h, "pointer to struct": &h, "list": []secret.Plaintext{p},
		"list of structs": []holder{h}, "map": map[string]any{"k": h}, "any": []any{p, &p},
	}
}

func TestPlaintextIsRedactedByFmt(t *testing.T) {
	for name, v := range holders() {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "% x", "%#x", "%q", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%20s", "%z"} {
			wantNoCanary(t, verb+" of "+name, fmt.Sprintf(verb, v))
		}
		wantNoCanary(t, "Sprint of "+name, fmt.Sprint(v))
		wantNoCanary(t, "Errorf of "+name, fmt.Errorf("wrapped: %v", v).Error())
	}
	p := secret.NewPlaintext([]byte(canary))
	if got := fmt.Sprintf("%v %s %x %#v %s", p, p, p, p, p.String()); got != strings.TrimSpace(strings.Repeat("[redacted] ", 5)) {
		t.Errorf("prints as %s", got)
	}
}

func TestPlaintextIsRedactedByEncoders(t *testing.T) {
	encoders := map[string]func(any) ([]byte, error){
		"json": json.Marshal,
		"yaml": func(v any) ([]byte, error) { return yaml.Marshal(v) },
		"slog text": func(v any) ([]byte, error) {
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).With("with", v).Info("message", "key", v, slog.Group("group", "key", v))
			return b.Bytes(), nil
		},
		"slog json": func(v any) ([]byte, error) {
			var b bytes.Buffer
			slog.New(slog.NewJSONHandler(&b, nil)).With("with", v).Info("message", "key", v, slog.Group("group", "key", v))
			return b.Bytes(), nil
		},
	}
	for how, encode := range encoders {
		for name, v := range holders() {
			b, err := encode(v)
			if err != nil {
				t.Errorf("%s of %s: %v", how, name, err)
			}
			wantNoCanary(t, how+" of "+name, string(b))
			if !bytes.Contains(b, []byte("[redacted]")) {
				t.Errorf("%s of %s does not say that it is redacted: %s", how, name, b)
			}
		}
	}
}

func TestPlaintextContent(t *testing.T) {
	p := secret.NewPlaintext([]byte(canary))
	var zero secret.Plaintext
	if string(p.Reveal()) != canary || p.Len() != len(canary) || zero.Reveal() != nil || zero.Len() != 0 {
		t.Error("content is lost")
	}
	for _, c := range []struct {
		a, b  secret.Plaintext
		equal bool
	}{
		{p, secret.NewPlaintext([]byte(canary)), true},
		{p, secret.NewPlaintext([]byte("other-canar")), false},
		{p, zero, false},
		{zero, secret.NewPlaintext(nil), true},
	} {
		if c.a.Equal(c.b) != c.equal {
			t.Errorf("equal is %t", !c.equal)
		}
	}
	if !secret.MAC("a").Equal(secret.MAC("a")) || secret.MAC("a").Equal(secret.MAC("b")) {
		t.Error("MACs compare wrongly")
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("cause")
	e := secret.Wrap(secret.CodeUnavailable, cause, "the store does not answer")
	wrapped := fmt.Errorf("put: %w", e)
	cases := []struct {
		err  error
		code secret.Code
		text string
	}{
		{e, secret.CodeUnavailable, "the store does not answer: cause"},
		{wrapped, secret.CodeUnavailable, "put: the store does not answer: cause"},
		{secret.Invalid("name", "has %d bytes", 3), secret.CodeInvalid, "name: has 3 bytes"},
		{secret.Errorf(secret.CodeLimit, "more than %d", 7).WithHint("less"), secret.CodeLimit, "more than 7"},
		{cause, secret.CodeInternal, "cause"},
		{secret.Wrap(secret.CodeCorrupt, e, "outer"), secret.CodeCorrupt, "outer: the store does not answer: cause"},
	}
	for _, c := range cases {
		if got := secret.CodeOf(c.err); got != c.code || c.err.Error() != c.text {
			t.Errorf("code %q, text %q; want %q, %q", got, c.err, c.code, c.text)
		}
		if !secret.HasCode(c.err, c.code) || secret.HasCode(c.err, secret.CodeThrottled) {
			t.Errorf("HasCode of %v", c.err)
		}
	}
	if secret.CodeOf(nil) != "" || secret.HasCode(nil, "") {
		t.Error("nil has a code")
	}
	if !errors.Is(wrapped, cause) || !errors.Is(wrapped, &secret.Error{Code: secret.CodeUnavailable}) ||
		errors.Is(wrapped, &secret.Error{Code: secret.CodeLimit}) || errors.Is(wrapped, &secret.Error{Code: secret.CodeUnavailable, Message: "x"}) {
		t.Error("errors.Is")
	}
	if secret.Errorf(secret.CodeLimit, "x").WithHint("hint").Hint != "hint" {
		t.Error("the hint is lost")
	}
}
