package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// readValue takes a value from a file, from standard input, or, on a terminal,
// from a prompt that does not show it. It strips nothing from files and input.
func (a *app) readValue(ctx context.Context, file string) (secret.Plaintext, error) {
	var data []byte
	var err error
	switch {
	case file != "" && file != "-":
		data, err = readFile(file)
	case isTerminal(a.Stdin):
		data, err = a.promptValue(ctx)
	default:
		data, err = readLimited(a.Stdin)
	}
	if err != nil {
		return secret.Plaintext{}, err
	}
	if len(data) == 0 {
		return secret.Plaintext{}, &usageError{err: errors.New("the value is empty"), hint: "give it on standard input, or name a file with --from-file"}
	}
	return secret.NewPlaintext(data), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, withHint(fmt.Errorf("read the value: %w", err), "check --from-file")
	}
	defer func() { _ = f.Close() }()
	return readLimited(f)
}

// readLimited reads up to what a value may be.
func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, secret.MaxValueBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the value: %w", err)
	}
	if len(data) > secret.MaxValueBytes {
		return nil, &usageError{err: fmt.Errorf("the value is larger than %d bytes", secret.MaxValueBytes), hint: "keep large data elsewhere, and its key here"}
	}
	return data, nil
}

// promptValue asks twice, since nothing shows what was typed.
func (a *app) promptValue(ctx context.Context) ([]byte, error) {
	first, err := a.promptHidden(ctx, "Value: ")
	if err != nil {
		return nil, err
	}
	again, err := a.promptHidden(ctx, "Again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, usagef("the values differ")
	}
	return first, nil
}

// promptHidden reads a line without showing it. If ctx ends first, the terminal
// is put back as it was.
func (a *app) promptHidden(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(a.Stdin.(*os.File).Fd()) //nolint:forcetypeassert,errcheck // a terminal is a file
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(a.Stderr, prompt)
	defer fmt.Fprintln(a.Stderr)
	type answer struct {
		line []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() { // ends with the line, or with the process that was interrupted
		line, err := term.ReadPassword(fd)
		read <- answer{line, err}
	}()
	select {
	case got := <-read:
		return got.line, got.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(fd, state))
	}
}

// confirm asks a person to type a name before something that cannot be undone.
func (a *app) confirm(yes bool, what, name string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.Stdin) {
		return &usageError{err: fmt.Errorf("%s cannot be undone", what), hint: "add --yes to do it without being asked"}
	}
	fmt.Fprintf(a.Stderr, "%s cannot be undone. Type %s to go on: ", what, name)
	line, err := readLine(a.Stdin)
	if err != nil {
		return err
	}
	if line != name {
		return usagef("%q was not typed; nothing was done", name)
	}
	return nil
}

// readLine reads one line, byte by byte so that nothing after it is lost.
func readLine(r io.Reader) (string, error) {
	var line strings.Builder
	b := make([]byte, 1)
	for line.Len() < 1024 {
		n, err := r.Read(b)
		if n == 1 && b[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		line.Write(b[:n])
	}
	return strings.TrimRight(line.String(), "\r"), nil
}

// parsePairs parses NAME=VALUE flags.
func parsePairs(flag string, given []string) (map[string]string, error) {
	if len(given) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, pair := range given {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("--%s must be NAME=VALUE", flag)
		}
		m[name] = value
	}
	return m, nil
}
