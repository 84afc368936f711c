package journal

import (
	"errors"
	"fmt"
)

// WriteError is returned by a Write whose events could not be put on disk. They may
// be there all the same, and come out; the next Write begins a new segment. It wraps
// what the system said.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return fmt.Sprintf("journal: write: %v", e.Err) }
func (e *WriteError) Unwrap() error { return e.Err }

// LockedError is returned by Open for a directory that is somebody's already.
type LockedError struct {
	Path   string
	Holder string // as the holder has put it; may be empty
}

func (e *LockedError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("journal: %s is held by %s", e.Path, holder)
}

// VersionError is returned by Open for a directory that another version of this
// package has written.
type VersionError struct {
	Path    string
	Version uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("journal: %s: format version %d: allowed is %d", e.Path, e.Version, version)
}

// errClosed is what the parts of a journal say among themselves; outside it is
// notifications.ErrSinkClosed.
var errClosed = errors.New("journal: closed")
