//go:build !linux

package cli

func forgetProgram() {}
