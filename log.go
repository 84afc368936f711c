package notifications

import (
	"context"
	"time"
)

// Log is where a Hub keeps its events: in order, until every cursor is past them.
// Whoever wants a hub on something new writes a Log and gives it to NewHub.
//
// All methods may be called at once from several goroutines.
type Log interface {
	// Append puts a block at the end, all of it or none. It may block until ctx ends.
	// After Close it returns ErrSinkClosed.
	Append(ctx context.Context, events ...*Event) error

	// Cursor returns the named sink's place in the log: where it was, if the log
	// remembers the name, and otherwise the end. The Hub has one cursor for each name
	// at a time.
	Cursor(name string) (Cursor, error)

	// Forget drops the named cursor and what the log keeps for it alone. The Hub no
	// longer calls Next on it, and closes it next.
	Forget(name string) error

	// Durable says whether what is pending outlives the Hub. Then the Hub's Close
	// finishes what is in flight and leaves the rest for the next start.
	Durable() bool

	// Close stops intake. Each Next then returns what the log wants delivered before
	// it ends (a log in memory: everything; a durable one, which can go on at the next
	// start: nothing more) and after that io.EOF.
	Close() error
}

// Cursor is the place of one sink in a Log. Next is called by one goroutine at a
// time; so are Settle, Lag and Close, which do not block.
type Cursor interface {
	// Next fills block with the events behind those that it returned before, and
	// returns how many there are: at least one, waiting for it until ctx ends.
	Next(ctx context.Context, block []*Event) (n int, err error)

	// Settle moves the cursor past the next n events that Next has returned. It is
	// what a durable log remembers.
	Settle(n int)

	// Lag returns the cursor's counts, all of one moment. It may be called after Close,
	// and then no longer counts as pending what was lost with the cursor.
	Lag() Lag

	// Close gives the cursor up. A log in memory loses what was pending.
	Close() error
}

// Lag is how far a cursor is behind the end of its log. What was accepted, is not
// pending, and was not settled, the log has dropped.
type Lag struct {
	Accepted uint64 // events that this cursor was given, ever
	Pending  uint64 // of these, how many it is not past
	Rejected uint64 // events that were kept from it, and so not accepted

	// Dropped counts, by reason, what was dropped for another one than DroppedOverflow.
	Dropped map[string]uint64
}

// EncodedCursor is a Cursor of a log that keeps events as their JSON. The Hub then calls
// NextEncoded and never Next, so that what is only sent on is not decoded first.
type EncodedCursor interface {
	Cursor

	// NextEncoded is Next for the bytes that Event.AppendJSON made. With reuse nobody
	// needs those any more that it has returned before; otherwise they stay as they are.
	NextEncoded(ctx context.Context, block [][]byte, reuse bool) (n int, err error)
}

// LeasedCursor is a Cursor of a log that several processes work on. What one of them was given
// may become another's: when it was not heard of for too long.
type LeasedCursor interface {
	Cursor

	// Lease takes back everything that Next has returned and Settle was not told of, and
	// returns a context for what Next returns from then on. When it ends, Next returns an
	// error, and the Hub ends what it does with that, forgets it, and calls Lease again. It
	// does so behind any other error of Next, too.
	Lease() context.Context
}

// AttemptCursor is a Cursor of a log that remembers how often events were tried, so that what
// bounds that (RetryConfig.MaxAttempts and MaxAge) holds for a process that is started again
// and again, too. Both methods are called for events that Next has returned and Settle was not
// told of, by their IDs, after failures only, and do not block.
type AttemptCursor interface {
	Cursor

	// Tried says that these were tried together, so often by now, and for the first time
	// then.
	Tried(attempts int, first time.Time, ids ...string)

	// Attempts returns the least that Tried was told of any of these, by whichever process:
	// nothing if that is so of one of them.
	Attempts(ids ...string) (attempts int, first time.Time)
}
