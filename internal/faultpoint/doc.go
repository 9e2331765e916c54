// Package faultpoint lets tests make a process fail at a named point. Without
// the build tag faultpoints it is an empty function that costs nothing.
//
// With the tag, the environment variable LIFEBOAT_FAULTPOINTS arms points. It
// is a comma-separated list of name=action:substring; the action "crash" kills
// the process with SIGKILL when the point of that name is hit with a detail
// that contains the substring.
package faultpoint
