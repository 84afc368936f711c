//go:build unix && !solaris && !aix

package owner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Take takes an advisory lock (flock(2)), which ends with the process however that
// ends, and writes into the file who has it. With dir, the directory of it is locked as well,
// because a lock file can be removed; not every file system can do that. The error may be a
// *HeldError.
func Take(path string, dir bool) (_ io.Closer, err error) {
	var held locks
	defer func() {
		if err != nil {
			_ = held.Close()
		}
	}()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	held = append(held, f)
	err = flock(f)
	if err == nil && dir {
		d, openErr := os.Open(filepath.Dir(path))
		if openErr != nil {
			return nil, openErr
		}
		held = append(held, d)
		if dirErr := flock(d); errors.Is(dirErr, syscall.EWOULDBLOCK) {
			err = dirErr
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 1<<10))
		return nil, &HeldError{Path: path, Holder: strings.TrimSpace(string(holder))}
	}
	if err != nil {
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	host, _ := os.Hostname()
	me := fmt.Sprintf("process %d on %s since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(me), 0) // on a full disk the lock is held all the same, and nobody is named
	}
	return held, nil
}

// locks end when their files are closed.
type locks []*os.File

func (l locks) Close() (err error) {
	for _, f := range l {
		err = errors.Join(err, f.Close())
	}
	return err
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}
