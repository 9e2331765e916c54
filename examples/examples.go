// Package examples holds the sample files that documentation and `lifeboat demo`
// use.
package examples

import "embed"

// Files are payments.env and payments.json: the same made-up secrets in both
// formats.
//
//go:embed payments.env payments.json
var Files embed.FS
