package dynamodbtest

import "syscall"

// dieWithParent ends the server when the test binary is killed.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
