// Package follow reads the values that a program or a file needs, all or none, and
// tells when one of them has changed. It is what "lifeboat exec" and "lifeboat
// template" share, and knows a region only by its public API.
package follow
