// Package importsource reads secrets out of other running secret managers: Vault
// and OpenBao (KV version 1 and 2) and AWS Secrets Manager. It only reads. Names
// come first and values one by one, so that memory is bounded by the names.
package importsource
