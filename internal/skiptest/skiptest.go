// Package skiptest ends tests that cannot run where they are started. With CI=true
// none is skipped in silence: what is missing fails the test.
package skiptest

import (
	"fmt"
	"os"
	"testing"
)

// Missing skips the test because something is not installed, or fails it with
// CI=true. hint says how to get it.
func Missing(t testing.TB, what, hint string) {
	t.Helper()
	end(t, os.Getenv("CI") == "true", what+" is not there: "+hint)
}

// Forbidden skips the test because the process may not do something here, or fails
// it with CI=true unless LIFEBOAT_TEST_UNPRIVILEGED=true admits that. scripts/test
// sets that, and says so, where it is so.
func Forbidden(t testing.TB, what string, err error) {
	t.Helper()
	end(t, Privileged(), fmt.Sprintf("%s is not possible here: %v; LIFEBOAT_TEST_UNPRIVILEGED=true skips such tests", what, err))
}

// Privileged reports whether what needs privileges, such as to mount a file system,
// must be possible here.
func Privileged() bool {
	return os.Getenv("CI") == "true" && os.Getenv("LIFEBOAT_TEST_UNPRIVILEGED") != "true"
}

func end(t testing.TB, fatal bool, why string) {
	t.Helper()
	if fatal {
		t.Fatal(why + " (CI=true)")
	} else {
		t.Skip(why)
	}
}
