package client

import (
	"iter"

	"google.golang.org/protobuf/proto"
)

// pages yields the items of a paged list.
func pages[Q proto.Message, T any](in Q, get func(Q) ([]T, string, error), set func(Q, string)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		page := proto.CloneOf(in)
		for {
			items, next, err := get(page)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			set(page, next)
		}
	}
}
