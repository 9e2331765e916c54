// Package region is the composition root: it builds the parts of one process of
// a region from its configuration, starts them in order, and stops them in
// reverse.
package region
