//go:build !unix || solaris || aix

package owner

import (
	"errors"
	"fmt"
	"io"
)

// Take is not there yet for this system, and two owners would damage what they share.
func Take(path string, _ bool) (io.Closer, error) {
	return nil, fmt.Errorf("locking %s: %w", path, errors.ErrUnsupported)
}
