package journal

import (
	"os"
	"syscall"
)

// Allocate has the blocks set aside (fallocate(2)), so that a full disk is found out
// before anything is written, and a write later need not look for room.
func (f diskFile) Allocate(size int64) error {
	err := f.control(func(fd int) error { return syscall.Fallocate(fd, 0, 0, size) })
	if err == syscall.EOPNOTSUPP || err == syscall.ENOSYS {
		return f.Truncate(size)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

// Sync leaves out what is not needed to read the data again (fdatasync(2)).
func (f diskFile) Sync() error {
	if err := f.control(syscall.Fdatasync); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// control makes a system call again that a signal has interrupted.
func (f diskFile) control(call func(fd int) error) (err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) {
		for err = syscall.EINTR; err == syscall.EINTR; {
			err = call(int(fd))
		}
	})
	if controlErr != nil {
		return controlErr
	}
	return err
}
