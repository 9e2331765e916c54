package controlsocket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/lifeboat-secrets/lifeboat/internal/backup"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Backup has the process write a backup to a new file, whose path must be
// absolute, and calls progress meanwhile. If ctx ends the process gives up and
// leaves no file. Errors: those of backup.WriteFile.
func (c *Client) Backup(ctx context.Context, path string, progress func(backup.Progress)) (backup.Summary, error) {
	var made backup.Summary
	err := c.stream(ctx, "/v1/backup", path, progress, &made)
	return made, err
}

// Restore has the process make its empty store a region out of a backup, whose
// path must be absolute, and calls progress meanwhile. Errors: those of
// backup.Restore.
func (c *Client) Restore(ctx context.Context, path string, progress func(backup.Progress)) (backup.Report, error) {
	var report backup.Report
	err := c.stream(ctx, "/v1/restore", path, progress, &report)
	return report, err
}

// stream asks for what takes long and reads lines until the one with the answer.
func (c *Client) stream(ctx context.Context, path, file string, progress func(backup.Progress), into any) error {
	body, err := json.Marshal(map[string]string{"file": file})
	if err != nil {
		return err
	}
	response, err := c.post(ctx, path, bytes.NewReader(body), secret.CodeOutcomeUnknown)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return readStream(response.Body, progress, into)
}

// post asks for an answer that is read while it is made. The caller closes its
// body. A refusal that does not come in full is an error of the code cut.
func (c *Client) post(ctx context.Context, path string, body io.Reader, cut secret.Code) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control"+path, body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.notReached(err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return nil, secret.Wrap(cut, err, "the process did not answer in full")
	}
	return nil, failureOf(response.Status, answer)
}

func readStream(r io.Reader, progress func(backup.Progress), into any) error {
	lines := json.NewDecoder(r)
	for {
		var line struct {
			Progress *backup.Progress
			Answer   json.RawMessage
			Error    *failure
		}
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return secret.Errorf(secret.CodeOutcomeUnknown, "the process ended before it was done")
		case err != nil:
			return secret.Wrap(secret.CodeOutcomeUnknown, err, "the process did not answer in full")
		case line.Error != nil:
			return line.Error.typed()
		case line.Answer != nil:
			return json.Unmarshal(line.Answer, into)
		case line.Progress != nil && progress != nil:
			progress(*line.Progress)
		}
	}
}
