package jetstream

import (
	"errors"
	"fmt"
)

// FullError is returned by Write when the stream has no room: Config.MaxBytes is reached, or
// the servers' storage is. What had been taken of the block comes out.
type FullError struct {
	Stream string
	Err    error
}

func (e *FullError) Error() string {
	return fmt.Sprintf("jetstream: stream %q is full: allowed is what maxbytes and the servers' storage say: %v", e.Stream, e.Err)
}
func (e *FullError) Unwrap() error { return e.Err }

// SizeError is returned by Write for an event that no server takes. Nothing of its block was
// written.
type SizeError struct {
	Event string // its ID
	Size  int    // bytes, with its headers
	Limit int64  // of the servers, or of the stream
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("jetstream: event %q: %d bytes: allowed are %d (max_payload of the servers, or max_msg_size of the stream)", e.Event, e.Size, e.Limit)
}

// SettingError is returned by Open for a stream that is there with another setting. It is
// never changed.
type SettingError struct {
	Stream, Setting string
	Has, Wants      any
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("jetstream: stream %q: %s is %v: the configuration has %v: change one of both", e.Stream, e.Setting, e.Has, e.Wants)
}

// errLost is of what another instance may have.
var errLost = errors.New("jetstream: lease lost")

// errRemoved is of a sink whose place is gone.
var errRemoved = errors.New("another instance has removed the sink: remove it here, too")

// errStuck is of a call to the client that does not come back.
var errStuck = errors.New("the connection takes nothing")
