package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	outputTable = "table"
	outputJSON  = "json"
)

func (a *app) checkOutput() error {
	if a.flags.output != outputTable && a.flags.output != outputJSON {
		bad := a.flags.output
		a.flags.output = outputTable
		return usagef("--output is %q; allowed are table and json", bad)
	}
	return nil
}

// writeJSON writes a value as indented JSON.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// writeJSONLine writes a value as JSON on one line.
func writeJSONLine(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// protoJSON returns the JSON of a message as the API gives it, with every field,
// and without the spaces that protojson varies on purpose.
func protoJSON(m proto.Message) ([]byte, error) {
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Compact(&b, data)
	return b.Bytes(), err
}

// show prints an answer: as JSON, or as table does it.
func (a *app) show(m proto.Message, table func(w io.Writer)) error {
	if a.flags.output == outputTable {
		w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
		table(w)
		return w.Flush()
	}
	data, err := protoJSON(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = a.Stdout.Write(b.Bytes())
	return err
}

// note tells a person something that is not the answer.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.Stderr, format+"\n", args...) }

// row writes a line of a table.
func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = oneLine(c)
	}
	_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// oneLine keeps a cell from breaking the table, or commanding the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// clip shortens a cell to n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// at shows a time, "-" for none.
func at(t *timestamppb.Timestamp) string {
	if t == nil || t.AsTime().Unix() <= 0 {
		return "-"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// or returns s, or other for none.
func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// pairs shows a map in the order of its keys.
func pairs(m map[string]string) string {
	var all []string
	for k, v := range m {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// enum shows the value of an enum without its prefix: STATE_ACTIVE is active.
func enum(s fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), prefix))
}
