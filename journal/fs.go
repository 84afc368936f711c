package journal

import "io"

// fileSystem is what the journal asks of the operating system. Tests put one in its
// place that fails, or forgets what was not synced.
type fileSystem interface {
	// MakeDir makes a directory that only its owner may enter, unless it is there, and
	// its own entry durable.
	MakeDir(dir string) error
	// Names returns the names of what is in a directory, sorted.
	Names(dir string) ([]string, error)
	// Create makes a file that is not there yet, for its owner alone.
	Create(path string) (file, error)
	// Open opens a file that is there.
	Open(path string) (file, error)
	// Remove removes a file.
	Remove(path string) error
	// SyncDir makes the entries of a directory durable.
	SyncDir(dir string) error
	// Lock takes the lock at path, or returns a *LockedError. Close gives it back.
	Lock(path string) (io.Closer, error)
}

// file is an open file. Several goroutines may read, and one write, at once.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns how large it is, in bytes.
	Size() (int64, error)
	// Truncate cuts it, or makes it larger with zeros.
	Truncate(size int64) error
	// Allocate makes it as large, with zeros, and has the disk set aside the room.
	Allocate(size int64) error
	// Sync makes what was written durable.
	Sync() error
}
