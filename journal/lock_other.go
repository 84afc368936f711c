//go:build !unix || solaris || aix

package journal

import (
	"errors"
	"fmt"
	"io"
)

// Lock is not there yet for this system, and two owners would damage a journal.
func (disk) Lock(path string) (io.Closer, error) {
	return nil, fmt.Errorf("locking %s: %w", path, errors.ErrUnsupported)
}
