// Package launch runs a program with secrets: in its environment, or in files of a
// private directory that is in memory only. Nothing secret is in its arguments. The
// program gets the signals that the launcher gets, and its exit code is the
// launcher's.
package launch
