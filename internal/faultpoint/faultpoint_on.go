//go:build faultpoints

package faultpoint

import (
	"os"
	"strings"
	"syscall"
)

// Hit carries out what LIFEBOAT_FAULTPOINTS asks for at the point of that name.
func Hit(name, detail string) {
	for entry := range strings.SplitSeq(os.Getenv("LIFEBOAT_FAULTPOINTS"), ",") {
		point, what, ok := strings.Cut(entry, "=")
		if !ok || point != name {
			continue
		}
		action, substring, _ := strings.Cut(what, ":")
		if action == "crash" && strings.Contains(detail, substring) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // never go on, not even for the moment until the signal arrives
		}
	}
}
