//go:build !linux

package netlab_test

import "syscall"

func otherUser() *syscall.SysProcAttr { return nil }
