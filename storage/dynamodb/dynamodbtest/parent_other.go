//go:build !linux

package dynamodbtest

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
