//go:build !trap

package sandbox

import seccomp "github.com/seccomp/libseccomp-golang"

// violation is the action for a system call that the table does not allow: the kernel kills
// the process. Only the kernel's log names the call; a build with the tag trap (trap.go)
// prints its name.
const violation = seccomp.ActKillProcess

func nameViolations() {}
