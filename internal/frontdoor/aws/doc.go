// Package aws is the dialect of AWS Secrets Manager: its JSON 1.1 protocol, signed
// by Signature Version 4 with Lifeboat's access keys, so that the SDKs and tools of
// AWS work with nothing but another endpoint.
//
// An account's namespace is one vault. The dialect maps; what a secret is, and who
// may do what, is decided where it is for all dialects. docs/api-aws.md says what
// is covered and what is refused.
package aws
