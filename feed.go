package notifications

import (
	"context"
	"fmt"
	"time"
)

// Feed is a hub's log as somebody reads it who keeps his own place in it, and may go back.
// Journal is one. All methods may be called at once from several goroutines.
type Feed interface {
	// Read returns what comes behind a position, in order, at most so many records and
	// without waiting: none if there are none. Behind position 0 is the beginning. Zero for
	// the most means as many as suit the feed. A gap between positions is of records that are
	// lost. What the feed does not have any more, or never had, is a *PositionError.
	Read(ctx context.Context, after uint64, most int) ([]Record, error)

	// Wait returns when there is something behind a position. Its error is that of ctx, a
	// *PositionError, or ErrSinkClosed at the end of the feed.
	Wait(ctx context.Context, after uint64) error

	// Last returns the last position that Read knows of now, zero if there was none ever.
	Last() uint64
}

// Record is an event with its position in a feed. Positions begin with 1, grow with each
// event, and are never given twice.
type Record struct {
	Position uint64
	Time     time.Time // when the feed took it, by the clock there, made to grow
	Event    *Event
}

// PositionError is returned for a position that a feed does not have (any more).
type PositionError struct {
	Position    uint64 // what was asked for
	First, Last uint64 // what there is; Last is First-1 if there is nothing
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("notifications: feed: after position %d: allowed are %d to %d", e.Position, e.First-1, e.Last)
}
