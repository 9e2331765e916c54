// Package render makes files out of templates and the values of secrets. Templates
// are Go's text/template with a few functions more. A file is replaced whole or
// stays as it was, and nothing of a value is in an error.
package render
