package importfile

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// ParseJSON reads one JSON object of names and values. A string is taken as it
// is; numbers, booleans, null, lists and objects become compact JSON text.
// Names given twice, at any depth, lone surrogates, and anything after the
// object are refused.
func ParseJSON(r io.Reader) ([]Entry, error) {
	b, err := read(r)
	if err != nil {
		return nil, err
	}
	p := jsonParser{text: b, decoder: jsontext.NewDecoder(bytes.NewReader(b)), line: 1}
	if p.decoder.PeekKind() != '{' {
		return nil, invalid(p.nextLine(), "there must be one JSON object of names and values")
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return nil, p.malformed(err)
	}
	for p.decoder.PeekKind() != '}' {
		if err := p.member(); err != nil {
			return nil, err
		}
	}
	if _, err := p.decoder.ReadToken(); err != nil {
		return nil, p.malformed(err)
	}
	if _, err := p.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, invalid(p.nextLine(), "there is text after the JSON object")
	}
	return p.found.list, nil
}

type jsonParser struct {
	text    []byte
	decoder *jsontext.Decoder
	// line is that of offset.
	line   int
	offset int
	found  entries
}

// lineAt returns the line of an offset, none of which may be before the last.
func (p *jsonParser) lineAt(offset int) int {
	offset = max(p.offset, min(offset, len(p.text)))
	p.line += bytes.Count(p.text[p.offset:offset], []byte("\n"))
	p.offset = offset
	return p.line
}

// nextLine returns the line of what the decoder reads next.
func (p *jsonParser) nextLine() int {
	offset := int(p.decoder.InputOffset())
	return p.lineAt(len(p.text) - len(bytes.TrimLeft(p.text[offset:], " \t\r\n,:")))
}

// malformed keeps the cause back, because it may quote the file.
func (p *jsonParser) malformed(cause error) error {
	if errors.Is(cause, jsontext.ErrDuplicateName) {
		return invalid(p.nextLine(), "a name is given twice in one object")
	}
	return invalid(p.nextLine(), "is not valid JSON")
}

func (p *jsonParser) member() error {
	line := p.nextLine()
	name, err := p.decoder.ReadToken()
	if err != nil {
		return p.malformed(err)
	}
	key := name.String()
	value, err := p.decoder.ReadValue()
	if err != nil {
		return p.malformed(err)
	}
	if value.Kind() == '"' {
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return p.malformed(err)
		}
		return p.found.add(key, text, line)
	}
	compact := value.Clone()
	if err := compact.Compact(); err != nil {
		return p.malformed(err)
	}
	return p.found.add(key, compact, line)
}
