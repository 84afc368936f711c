package notifications

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
)

// Overflow is what a hub in memory does when a sink has no room left.
type Overflow string

const (
	// Block lets Write wait for room until its context ends, and then return ErrFull:
	// no sink gets the events.
	Block Overflow = "block"

	// DropNewest keeps the new events from the sinks that are full. The others get
	// them. Write returns ErrFull, and the events count as rejected.
	DropNewest Overflow = "drop-newest"

	// DropOldest drops what has waited longest, but nothing that is being tried. Write
	// returns nil, and what is dropped is counted by DroppedOverflow.
	DropOldest Overflow = "drop-oldest"
)

// ErrFull is returned by the Write of a hub in memory of which a sink has no room
// left. The error names the sinks.
var ErrFull = errors.New("notifications: sink full")

// limits are what one sink of a hub in memory may have pending. Zero is no limit.
type limits struct {
	events   uint64
	bytes    uint64
	overflow Overflow
}

// limits checks what a configuration says of them.
func (c *HubConfig) limits() (limits, error) {
	if c.MaxPending < 0 {
		return limits{}, wrong("maxpending", "%d: allowed are zero, for no limit, and above", c.MaxPending)
	}
	if c.MaxPendingBytes < 0 {
		return limits{}, wrong("maxpendingbytes", "%d: allowed are zero, for no limit, and above", c.MaxPendingBytes)
	}
	switch c.Overflow {
	case "":
		c.Overflow = Block
	case Block, DropNewest, DropOldest:
	default:
		return limits{}, wrong("overflow", "%q: allowed are %s, %s and %s", c.Overflow, Block, DropNewest, DropOldest)
	}
	return limits{uint64(c.MaxPending), uint64(c.MaxPendingBytes), c.Overflow}, nil
}

func (l limits) bounded() bool { return l.events > 0 || l.bytes > 0 }

// exceeded says whether so much is over the limits.
func (l limits) exceeded(events, bytes uint64) bool {
	return l.events > 0 && events > l.events || l.bytes > 0 && bytes > l.bytes
}

// boundedCursors counts the cursors that have limits. Without any, Append looks at
// none.
type boundedCursors struct{ any, bytes int }

func (b *boundedCursors) count(l limits, n int) {
	if l.bounded() {
		b.any += n
	}
	if l.bytes > 0 {
		b.bytes += n
	}
}

// weigh returns how many bytes events have, encoded.
func weigh(events []*Event) (bytes uint64, err error) {
	for _, e := range events {
		b, err := e.encoded()
		if err != nil {
			return 0, fmt.Errorf("notifications: event %q: %w", e.ID, err)
		}
		bytes += uint64(len(b))
	}
	return bytes, nil
}

// appendBounded is Append where there are limits. It gives the lock back, which the
// caller holds.
func (l *memoryLog) appendBounded(ctx context.Context, events []*Event, bytes uint64) error {
	full, err := l.waitForRoom(ctx, uint64(len(events)), bytes)
	if err == nil && bytes == 0 && l.bounded.bytes > 0 {
		bytes, err = weigh(events) // a sink that limits bytes has come meanwhile
	}
	if err != nil {
		l.mu.Unlock()
		return err
	}

	var notes []overflowNote
	var old []*chunk
	if len(full) < len(l.cursors) || len(full) == 0 {
		old = l.addBounded(events, bytes, full)
	}
	for c := range l.cursors {
		if slices.Contains(full, c.name) {
			c.overflow.rejected += uint64(len(events))
			c.overflow.episode += uint64(len(events))
		}
		notes = append(notes, c.overflow.begins(c))
	}
	l.mu.Unlock()

	l.packer.pack(old)
	for _, n := range notes {
		n.log(l.logger)
	}
	if len(full) > 0 {
		return fullError(full, nil)
	}
	return nil
}

// addBounded is add, past the cursors that are full.
func (l *memoryLog) addBounded(events []*Event, bytes uint64, full []string) (old []*chunk) {
	for c := range l.cursors {
		c.overflow.idle = c.lag().Pending == 0
		if slices.Contains(full, c.name) {
			c.hold()
		} else if c.limits.bytes > 0 {
			c.overflow.bytes += bytes
		}
	}
	old = l.add(events)
	for c := range l.cursors {
		switch {
		case slices.Contains(full, c.name):
			c.overflow.passed += uint64(len(events))
			c.read, c.chunk = l.end, l.tail
		case c.limits.overflow == DropOldest && !c.overflow.idle:
			c.dropOldest()
		}
	}
	return old
}

// hold takes what a cursor has not read yet out of the chain, which it is about to
// leave: there may be room for a few events, and the chain go on for ever.
func (c *memoryCursor) hold() {
	held := c.held
	c.held = nil
	if rest := c.take(c.log.end - c.read); rest.n > 0 {
		held = append(held, rest.own())
	}
	c.held = held
}

// waitForRoom returns the sinks from which so much is to be kept. As long as there is
// one that is to block, it waits. The caller holds the lock, which is given away
// meanwhile.
func (l *memoryLog) waitForRoom(ctx context.Context, events, bytes uint64) (full []string, err error) {
	for {
		if l.closed {
			return nil, ErrSinkClosed
		}
		full = nil
		var blocking []string
		for c := range l.cursors {
			switch {
			case !c.lacksRoom(events, bytes):
			case c.limits.overflow == Block:
				blocking = append(blocking, c.name)
			case c.limits.overflow == DropNewest:
				full = append(full, c.name)
			}
		}
		if len(blocking) == 0 {
			return full, nil
		}

		room := l.room
		l.mu.Unlock()
		ended := !waitFor(ctx, room)
		l.mu.Lock()
		if ended {
			for c := range l.cursors {
				c.overflow.rejected += events
			}
			return nil, fullError(blocking, context.Cause(ctx))
		}
	}
}

// lacksRoom says whether so much more is too much. Whatever its size, a block is
// taken where nothing else is pending, or it never would be.
func (c *memoryCursor) lacksRoom(events, bytes uint64) bool {
	pending := c.lag().Pending
	return pending > 0 && c.limits.exceeded(pending+events, c.overflow.bytes+bytes)
}

// roomAgain lets those look that wait for room. The caller holds the lock.
func (l *memoryLog) roomAgain() {
	close(l.room)
	l.room = make(chan struct{})
}

func fullError(sinks []string, cause error) error {
	slices.Sort(sinks)
	err := fmt.Errorf("%w: %s", ErrFull, strings.Join(sinks, ", "))
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// cursorOverflow is what a memory cursor knows of its limits. It is guarded by the
// log's lock.
type cursorOverflow struct {
	bytes    uint64   // that are pending
	trying   []uint64 // the size of each event that was returned and not settled
	passed   uint64   // events in the log that were refused
	dropped  uint64   // events
	rejected uint64   // events
	episode  uint64   // events dropped or rejected since the sink became full
	noted    bool     // the episode's first line is written
	idle     bool     // nothing was pending before the last block
}

// tries notes events that were returned by Next.
func (c *memoryCursor) tries(events []*Event) {
	if c.limits.bytes == 0 {
		return
	}
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	for _, e := range events {
		b, _ := e.encoded() // was weighed before
		c.overflow.trying = append(c.overflow.trying, uint64(len(b)))
	}
}

// settled gives back the room of n events.
func (o *cursorOverflow) settled(c *memoryCursor, n int) {
	if !c.limits.bounded() {
		return
	}
	if c.limits.bytes > 0 {
		for _, size := range o.trying[:n] {
			o.bytes -= size
		}
		o.trying = o.trying[n:]
	}
	c.log.roomAgain()
}

// dropOldest drops unread events until the rest is within the limits. The caller
// holds the lock.
func (c *memoryCursor) dropOldest() {
	for c.read < c.log.end && c.limits.exceeded(c.lag().Pending, c.overflow.bytes) {
		oldest := c.take(1)
		c.overflow.dropped++
		c.overflow.episode++
		if c.limits.bytes > 0 {
			var event [1]*Event
			oldest.copy(event[:])
			b, _ := event[0].encoded()
			c.overflow.bytes -= uint64(len(b))
		}
	}
}

// overflowNote is a line for the log, written once no lock is held.
type overflowNote struct {
	sink string // empty: nothing to say
	lost uint64
	over bool
}

// over returns the line for the end of an episode: half of the room is free again.
func (o *cursorOverflow) over(c *memoryCursor) overflowNote {
	if !o.noted || c.limits.exceeded(2*c.lag().Pending, 2*o.bytes) {
		return overflowNote{}
	}
	note := overflowNote{sink: c.name, lost: o.episode, over: true}
	o.episode, o.noted = 0, false
	return note
}

// begins returns the line for the first loss of an episode.
func (o *cursorOverflow) begins(c *memoryCursor) overflowNote {
	if o.episode == 0 || o.noted {
		return overflowNote{}
	}
	o.noted = true
	return overflowNote{sink: c.name}
}

func (n overflowNote) log(logger *logrus.Entry) {
	if n.sink == "" {
		return
	}
	logger = logger.WithField("sink", n.sink)
	if n.over {
		logger.WithField("events", n.lost).Warn("notifications: sink has room again; events were lost")
		return
	}
	logger.Warn("notifications: sink is full; events are lost")
}
