// Package owner sees to it that what is on disk has one owner.
package owner

import "fmt"

// HeldError is returned for what is somebody's already.
type HeldError struct {
	Path   string // of the lock
	Holder string // as the holder has put it; may be empty
}

func (e *HeldError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("%s is held by %s", e.Path, holder)
}
