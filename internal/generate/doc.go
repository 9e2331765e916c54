// Package generate makes random values: bytes, and passwords by rule. All
// randomness is crypto/rand's, and every choice is unbiased.
package generate
