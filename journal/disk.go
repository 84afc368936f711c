package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/registry-notifications/notifications/internal/owner"
)

// disk is the operating system's files.
type disk struct{}

var _ fileSystem = disk{}

func (d disk) MakeDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		if info, statErr := os.Stat(dir); statErr != nil || !info.IsDir() {
			return err
		}
		// Whoever made it may have been killed before this, and need not have been us.
		_ = d.SyncDir(filepath.Dir(dir))
		return nil
	}
	return d.SyncDir(filepath.Dir(dir))
}

func (disk) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (disk) Create(path string) (file, error) {
	return open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (disk) Open(path string) (file, error) { return open(path, os.O_RDWR) }

func open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) Remove(path string) error { return os.Remove(path) }

func (disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Lock takes the lock, and that of the directory.
func (disk) Lock(path string) (io.Closer, error) {
	lock, err := owner.Take(path, true)
	var held *owner.HeldError
	if errors.As(err, &held) {
		return nil, &LockedError{Path: held.Path, Holder: held.Holder}
	}
	return lock, err
}

// reading is the same for whoever only looks: it opens without the right to write.
type reading struct{ disk }

func (reading) Open(path string) (file, error) { return open(path, os.O_RDONLY) }

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
