//go:build !linux

package localregion

import (
	"os/exec"
	"syscall"
)

// startBound starts a command. Only Linux can bind its life to this process's.
func startBound(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.Start()
}
