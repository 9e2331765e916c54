package importfile_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/lifeboat-secrets/lifeboat/internal/importfile"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

type parser func(io.Reader) ([]importfile.Entry, error)

// show prints entries with their values, as LINE NAME=VALUE.
func show(entries []importfile.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%d %s=%q\n", e.Line, e.Name, e.Value.Reveal())
	}
	return b.String()
}

type goodCase struct{ name, text, want string }

func checkGood(t *testing.T, parse parser, cases []goodCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			entries, err := parse(strings.NewReader(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := show(entries); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

type badCase struct{ name, text, field, part string }

// checkBad wants the whole file refused, the line named, and nothing quoted:
// whatever must not be quoted contains "canary".
func checkBad(t *testing.T, parse parser, cases []badCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			entries, err := parse(strings.NewReader(c.text))
			e, ok := errors.AsType[*secret.Error](err)
			if !ok || e.Code != secret.CodeInvalid || e.Field != c.field || !strings.Contains(e.Message, c.part) || entries != nil {
				t.Fatalf("%v (%d entries), want CodeInvalid for %s with %q", err, len(entries), c.field, c.part)
			}
			if strings.Contains(fmt.Sprintf("%+v %s", err, e.Hint), "canary") {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
}

func TestParseDotenv(t *testing.T) {
	checkGood(t, importfile.ParseDotenv, []goodCase{
		{"empty", "", ""},
		{"only comments", "# one\n\n   \t\n  # two", ""},
		{"plain", "A=b\nC=d", "1 A=\"b\"\n2 C=\"d\"\n"},
		{"blanks around", "  A =  b c \t\n", "1 A=\"b c\"\n"},
		{"export", "export A=b\nexport\tC=d\nexport=e\nexported=f", "1 A=\"b\"\n2 C=\"d\"\n3 export=\"e\"\n4 exported=\"f\"\n"},
		{"comment after a value", "A=b # c\nC=d#e\nE=#f", "1 A=\"b\"\n2 C=\"d#e\"\n3 E=\"#f\"\n"},
		{"equals in a value", "A=b=c==", "1 A=\"b=c==\"\n"},
		{"quote inside a plain value", "A=it's", "1 A=\"it's\"\n"},
		{"single quotes", `A='b \n $X "#" ' # c`, "1 A=\"b \\\\n $X \\\"#\\\" \"\n"},
		{"single quotes over lines", "A='b\nc'\nD=e", "1 A=\"b\\nc\"\n3 D=\"e\"\n"},
		{"escapes", `A="b\n\r\t\\\"\$"`, "1 A=\"b\\n\\r\\t\\\\\\\"$\"\n"},
		{"not expanded", `A="$HOME ${X} 'q'"`, "1 A=\"$HOME ${X} 'q'\"\n"},
		{"double quotes over lines", "A=\"b\n c\n\"# d\nE=f", "1 A=\"b\\n c\\n\"\n4 E=\"f\"\n"},
		{"joined lines", "A=\"b\\\nc\"\nD=e", "1 A=\"bc\"\n3 D=\"e\"\n"},
		{"CRLF", "A=b\r\nC=\"d\r\ne\"\r\nF=g\r\n", "1 A=\"b\"\n2 C=\"d\\ne\"\n4 F=\"g\"\n"},
		{"byte order mark", "\ufeffA=b", "1 A=\"b\"\n"},
		{"not ASCII", "A=bä", "1 A=\"bä\"\n"},
		{"paths as names", "prod/db/password=b", "1 prod/db/password=\"b\"\n"},
		{"value at the limit", "A=" + strings.Repeat("x", secret.MaxValueBytes), fmt.Sprintf("1 A=%q\n", strings.Repeat("x", secret.MaxValueBytes))},
	})
}

func TestParseDotenvRefuses(t *testing.T) {
	checkBad(t, importfile.ParseDotenv, []badCase{
		{"no equals", "A=b\ncanary", "line 2", "no ="},
		{"no value", "A=canary\nB=", "line 2", "must not be empty"},
		{"no value but a comment", "A=  # canary", "line 1", "must not be empty"},
		{"empty quotes", `A=""`, "line 1", "must not be empty"},
		{"no name", "=canary", "line 1", "name is not valid"},
		{"bad name", "A=b\n\nthe canary=x", "line 3", "name is not valid"},
		{"name like an ID", "01J00000000000000000000000.01J00000000000000000000001=canary", "line 1", "form of an ID"},
		{"name twice", "canary=b\nC=d\ncanary=e", "line 3", "on line 1"},
		{"single quote never closed", "A=b\nC='canary\n\n", "line 2", "never closed"},
		{"double quote never closed", "A=b\nC=\"canary\n\n", "line 2", "never closed"},
		{"double quote never closed after a backslash", "A=\"canary\\", "line 1", "never closed"},
		{"text after a quote", "A='b\nc'canary", "line 2", "after the closing quote"},
		{"unknown escape", "A=\"b\nC:\\canary\"", "line 2", "no known escape"},
		{"not UTF-8", "A=b\nC=\xffcanary", "line 2", "not UTF-8"},
		{"value too long", "A=" + strings.Repeat("canary", secret.MaxValueBytes/6+1), "line 1", "the limit is 65536"},
		{"unquoted PEM", "KEY=-----BEGIN EXAMPLE-----\ncanary\n-----END EXAMPLE-----", "line 2", "no ="},
	})
}

func TestParseJSON(t *testing.T) {
	checkGood(t, importfile.ParseJSON, []goodCase{
		{"empty", "{}", ""},
		{"strings", "{\"A\": \"b\",\n\n \"C\":\n\"d\\n\\u00e4\\ud83d\\ude00\"}\n", "1 A=\"b\"\n3 C=\"d\\nä😀\"\n"},
		{"scalars", `{"A": 1.50, "B": true, "C": null, "D": 12345678901234567890123}`, "1 A=\"1.50\"\n1 B=\"true\"\n1 C=\"null\"\n1 D=\"12345678901234567890123\"\n"},
		{"nested", "{\"A\": {\"b\": [1, \"x y\", {}],\n \"a\": 2},\n\"C\": [ ]}", "1 A=\"{\\\"b\\\":[1,\\\"x y\\\",{}],\\\"a\\\":2}\"\n3 C=\"[]\"\n"},
		{"byte order mark and CRLF", "\ufeff{\r\n\"A\": \"b\"\r\n}\r\n", "2 A=\"b\"\n"},
	})
}

func TestParseJSONRefuses(t *testing.T) {
	checkBad(t, importfile.ParseJSON, []badCase{
		{"empty file", "", "line 1", "one JSON object"},
		{"list", "\n[\"canary\"]", "line 2", "one JSON object"},
		{"string", `"canary"`, "line 1", "one JSON object"},
		{"name twice", "{\"canary\": \"b\",\n\"canary\": \"c\"}", "line 2", "twice"},
		{"name twice by an escape", "{\"A\": \"canary\",\n\"\\u0041\": \"c\"}", "line 2", "twice"},
		{"name twice inside", "{\"A\": {\"canary\": 1,\n\"canary\": 2}}", "line 1", "twice"},
		{"trailing data", "{\"A\": \"b\"}\n{\"canary\": 1}", "line 2", "after the JSON object"},
		{"trailing text", "{\"A\": \"b\"}\n\ncanary", "line 3", "after the JSON object"},
		{"cut off", "{\"A\": \"b\",\n\"C\": \"canary", "line 2", "not valid JSON"},
		{"comma at the end", "{\"A\": \"canary\",\n}", "line 2", "not valid JSON"},
		{"comment", "{\n// canary\n}", "line 2", "not valid JSON"},
		{"lone surrogate", `{"A": "canary\ud800"}`, "line 1", "not valid JSON"},
		{"not UTF-8", "{\n\"A\": \"canary\xff\"}", "line 2", "not UTF-8"},
		{"empty value", "{\"A\": \"canary\",\n\"B\": \"\"}", "line 2", "must not be empty"},
		{"empty name", `{"": "canary"}`, "line 1", "name is not valid"},
		{"bad name", "{\n\"the canary\": \"x\"}", "line 2", "name is not valid"},
		{"value too long", `{"A": "` + strings.Repeat("canary", secret.MaxValueBytes/6+1) + `"}`, "line 1", "the limit is 65536"},
	})
}

func TestFilesHaveALimit(t *testing.T) {
	padding := strings.Repeat("#", importfile.MaxFileBytes-4)
	if entries, err := importfile.ParseDotenv(strings.NewReader("A=b\n" + padding)); err != nil || len(entries) != 1 {
		t.Errorf("a file at the limit: %d entries, %v", len(entries), err)
	}
	for name, parse := range map[string]parser{"dotenv": importfile.ParseDotenv, "json": importfile.ParseJSON} {
		_, err := parse(strings.NewReader("A=b\n#" + padding))
		if e, ok := errors.AsType[*secret.Error](err); !ok || e.Field != "file" {
			t.Errorf("%s: a file above the limit: %v", name, err)
		}
		cause := errors.New("disk failed")
		if _, err := parse(iotest.ErrReader(cause)); !errors.Is(err, cause) {
			t.Errorf("%s: a file that cannot be read: %v", name, err)
		}
	}
}

// The two examples that the documentation imports hold the same secrets.
func TestExamples(t *testing.T) {
	parse := func(path string, parse parser) map[string]string {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		entries, err := parse(f)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]string{}
		for _, e := range entries {
			values[e.Name] = string(e.Value.Reveal())
		}
		return values
	}
	env := parse("../../examples/payments.env", importfile.ParseDotenv)
	json := parse("../../examples/payments.json", importfile.ParseJSON)
	if len(env) < 8 || len(json) != len(env) {
		t.Errorf("%d entries in dotenv, %d in JSON", len(env), len(json))
	}
	for name, value := range env {
		if json[name] != value {
			t.Errorf("%s is %q in dotenv, %q in JSON", name, value, json[name])
		}
	}
}

// checkParsed holds for whatever a parser takes or refuses.
func checkParsed(t *testing.T, entries []importfile.Entry, err error) {
	if err != nil {
		if e, ok := errors.AsType[*secret.Error](err); !ok || e.Code != secret.CodeInvalid || entries != nil {
			t.Fatalf("%d entries and %v", len(entries), err)
		}
		return
	}
	seen, line := map[string]bool{}, 1
	for _, e := range entries {
		if secret.CheckName("name", e.Name) != nil || secret.CheckValue("value", e.Value) != nil || seen[e.Name] || e.Line < line {
			t.Fatalf("bad entry %q on line %d", e.Name, e.Line)
		}
		seen[e.Name], line = true, e.Line
	}
}

func FuzzParseDotenv(f *testing.F) {
	for _, seed := range []string{"", "A=b", "export A='b\nc' # d\nE=\"f\\n\\\ng\"", "\ufeffA=b\r\n", "A=\"\\", "A='", "=", "#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := importfile.ParseDotenv(strings.NewReader(text))
		checkParsed(t, entries, err)
		// What was read and written again in the strictest form reads the same.
		var again strings.Builder
		quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", `\r`)
		for _, e := range entries {
			fmt.Fprintf(&again, "export %s=\"%s\"\n", e.Name, quote.Replace(string(e.Value.Reveal())))
		}
		second, err := importfile.ParseDotenv(strings.NewReader(again.String()))
		if err != nil || len(second) != len(entries) {
			t.Fatalf("%d entries after a round trip, want %d: %v", len(second), len(entries), err)
		}
		for i := range entries {
			if second[i].Name != entries[i].Name || !second[i].Value.Equal(entries[i].Value) {
				t.Fatalf("entry %q changed in a round trip", entries[i].Name)
			}
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{"{}", `{"A":"b"}`, "{\"A\":\n[1,{\"x\":null}]} ", `{"A":"\ud83d\ude00"}`, `{"A":1,"A":2}`, "[", "\ufeff{", `{"A":"b"}x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := importfile.ParseJSON(strings.NewReader(text))
		checkParsed(t, entries, err)
	})
}
