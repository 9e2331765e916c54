package backup

import (
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// walk visits all records page by page, in the order of their keys.
func walk(limit int, read func(start, end record.Key, limit int) (record.Page, error), visit func([]record.Stored) error) error {
	for start := record.Key(""); ; {
		page, err := read(start, "", limit)
		if err != nil {
			return err
		}
		if err := visit(page.Records); err != nil {
			return err
		}
		if !page.More {
			return nil
		}
		start = page.Records[len(page.Records)-1].Key + "\x00"
	}
}
