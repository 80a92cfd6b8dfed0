//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package auth

import (
	"errors"
	"os"
)

// lockDir fails: keys are rotated where a lock ends with the process that holds it.
func lockDir(string) (unlock func(), err error) { return nil, errors.ErrUnsupported }

func keepOwner(*os.File, os.FileInfo) error { return nil }
