//go:build unix && !linux

package postgrestest

import "syscall"

func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as}
}

func children(int) []int { return nil }
