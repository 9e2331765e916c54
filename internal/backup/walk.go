package backup

import (
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// walk visits all records page by page, in the order of their keys. It never asks
// for a page without an end if it can help it: to answer one, etcd counts all
// keys up to the end of the range, which makes reading n records take n² steps.
// The end is that of the keys which share so many bytes with the start as those
// of the last page did.
func walk(limit int, read func(start, end record.Key, limit int) (record.Page, error), visit func([]record.Stored) error) error {
	start, shared := record.Key(""), 0
	for {
		shared = min(shared, len(start))
		end := record.PrefixEnd(string(start[:shared]))
		page, err := read(start, end, limit)
		if err != nil {
			return err
		}
		if err := visit(page.Records); err != nil {
			return err
		}
		n := len(page.Records)
		switch {
		case page.More && n > 0:
			last := page.Records[n-1].Key
			start, shared = last+"\x00", min(common(page.Records[0].Key, last)+1, len(last))
		case end == "":
			return nil
		default:
			start = end
			if n < limit/2 {
				shared-- // a wider range
			}
		}
		shared = max(shared, 0)
	}
}

// common returns how many leading bytes are the same.
func common(a, b record.Key) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
