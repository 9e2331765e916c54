package importfile

import (
	"io"
	"strings"
)

const blanks = " \t"

// ParseDotenv reads NAME=VALUE lines:
//
//   - blank lines, and lines that begin with #, are skipped; export before a
//     name is allowed;
//   - a plain value ends with its line, or before a # that follows a blank;
//   - a value in single quotes is taken as it stands, and may span lines;
//   - a value in double quotes may span lines and knows the escapes \n, \r, \t,
//     \\, \", \$ and a backslash at the end of a line, which joins it with the
//     next; other escapes are refused;
//   - $NAME is not expanded;
//   - line ends are \n or \r\n; in values both are read as \n.
//
// A name without a value, or given twice, is refused.
func ParseDotenv(r io.Reader) ([]Entry, error) {
	b, err := read(r)
	if err != nil {
		return nil, err
	}
	p := dotenvParser{rest: strings.ReplaceAll(string(b), "\r\n", "\n"), line: 1}
	for p.rest != "" {
		if err := p.statement(); err != nil {
			return nil, err
		}
	}
	return p.found.list, nil
}

// dotenvParser stands at the beginning of a line between two statements.
type dotenvParser struct {
	rest  string
	line  int
	found entries
}

// take cuts the next n bytes off and counts their lines.
func (p *dotenvParser) take(n int) string {
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	p.line += strings.Count(taken, "\n")
	return taken
}

// restOfLine cuts off what is left of the line, and its end.
func (p *dotenvParser) restOfLine() string {
	n := strings.IndexByte(p.rest, '\n') + 1
	if n == 0 {
		n = len(p.rest)
	}
	return strings.TrimSuffix(p.take(n), "\n")
}

func (p *dotenvParser) statement() error {
	line := p.line
	text, _, _ := strings.Cut(p.rest, "\n")
	trimmed := strings.Trim(text, blanks)
	if trimmed == "" || trimmed[0] == '#' {
		p.restOfLine()
		return nil
	}
	equals := strings.IndexByte(text, '=')
	if equals < 0 {
		return invalid(line, "there is no = between a name and a value")
	}
	name := strings.Trim(p.take(equals + 1)[:equals], blanks)
	if after, ok := strings.CutPrefix(name, "export"); ok && strings.IndexAny(after, blanks) == 0 {
		name = strings.Trim(after, blanks)
	}
	value, err := p.value()
	if err != nil {
		return err
	}
	return p.found.add(name, []byte(value), line)
}

func (p *dotenvParser) value() (string, error) {
	afterBlanks := strings.TrimLeft(p.rest, blanks)
	if afterBlanks == "" || afterBlanks[0] != '\'' && afterBlanks[0] != '"' {
		return plainValue(p.restOfLine()), nil
	}
	p.take(len(p.rest) - len(afterBlanks) + 1)
	opened := p.line
	var value string
	var err error
	if afterBlanks[0] == '\'' {
		value, err = p.singleQuoted(opened)
	} else {
		value, err = p.doubleQuoted(opened)
	}
	if err != nil {
		return "", err
	}
	closed := p.line
	if after := strings.Trim(p.restOfLine(), blanks); after != "" && after[0] != '#' {
		return "", invalid(closed, "there is text after the closing quote")
	}
	return value, nil
}

// plainValue cuts off a comment, which begins with a # after a blank.
func plainValue(text string) string {
	for i := range len(text) {
		if text[i] == '#' && i > 0 && strings.IndexByte(blanks, text[i-1]) >= 0 {
			text = text[:i]
			break
		}
	}
	return strings.Trim(text, blanks)
}

func (p *dotenvParser) singleQuoted(opened int) (string, error) {
	end := strings.IndexByte(p.rest, '\'')
	if end < 0 {
		return "", invalid(opened, "the single quote is never closed")
	}
	return p.take(end + 1)[:end], nil
}

var escapes = map[byte]string{'n': "\n", 'r': "\r", 't': "\t", '\\': "\\", '"': "\"", '$': "$", '\n': ""}

func (p *dotenvParser) doubleQuoted(opened int) (string, error) {
	var value strings.Builder
	for {
		next := strings.IndexAny(p.rest, `"\`)
		if next < 0 || p.rest[next] == '\\' && next+1 == len(p.rest) {
			return "", invalid(opened, "the double quote is never closed")
		}
		value.WriteString(p.take(next))
		if p.take(1) == `"` {
			return value.String(), nil
		}
		meaning, ok := escapes[p.rest[0]]
		if !ok {
			return "", invalid(p.line, `the backslash begins no known escape; known are \n \r \t \\ \" \$`).
				WithHint("write \\\\ for a backslash, or use single quotes")
		}
		p.take(1)
		value.WriteString(meaning)
	}
}
