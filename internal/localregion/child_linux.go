package localregion

import (
	"os/exec"
	"runtime"
	"syscall"
)

// startBound starts a command that is killed when this process ends, however it
// ends. The kernel binds the child to the thread that starts it, so the calling
// goroutine keeps that thread, and must live as long as the child.
func startBound(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd.Start()
}
