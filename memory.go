package notifications

import (
	"context"
	"io"
	"sync"
	"weak"

	"github.com/sirupsen/logrus"
)

// Broadcaster is a hub in memory. It holds an event until the slowest sink has it:
// one copy, however many sinks there are. Close delivers what it holds.
type Broadcaster struct{ *Hub }

// NewBroadcaster returns a running Broadcaster without sinks.
func NewBroadcaster(config HubConfig) (*Broadcaster, error) {
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	h, err := NewHub(newMemoryLog(config), config)
	if err != nil {
		return nil, err
	}
	return &Broadcaster{h}, nil
}

// memoryLog is a chain of chunks. Every cursor holds the chunk that it reads from
// and a chunk knows only the next one, so what the slowest cursor has behind it
// is garbage without anybody having to collect it.
type memoryLog struct {
	limits limits // of a cursor that has none of its own
	logger *logrus.Entry
	packer packer

	mu      sync.Mutex          // guards the rest, the chain behind tail, and all cursors
	end     uint64              // how many events were ever appended
	tail    *chunk              // holds event number end-1
	loose   weak.Pointer[chunk] // the oldest one that is not packed
	cursors map[*memoryCursor]struct{}
	bounded boundedCursors
	idle    []*memoryCursor
	closed  bool
	room    chan struct{} // closed, and made anew, when a Write that blocks may look again
}

var (
	_ Log    = (*memoryLog)(nil)
	_ Cursor = (*memoryCursor)(nil)
)

// newMemoryLog takes the limits from a configuration that was checked.
func newMemoryLog(config HubConfig) *memoryLog {
	limits, _ := config.limits()
	return &memoryLog{
		limits:  limits,
		logger:  config.Logger,
		tail:    newChunk(0),
		cursors: make(map[*memoryCursor]struct{}),
		room:    make(chan struct{}),
	}
}

func (l *memoryLog) Append(ctx context.Context, events ...*Event) error {
	l.mu.Lock()
	if l.bounded.bytes > 0 && len(events) > 0 {
		// Encoding is done once anyway, but not with the lock held.
		l.mu.Unlock()
		bytes, err := weigh(events)
		if err != nil {
			return err
		}
		l.mu.Lock()
		return l.appendBounded(ctx, events, bytes)
	}
	if l.bounded.any > 0 && len(events) > 0 {
		return l.appendBounded(ctx, events, 0)
	}
	if l.closed {
		l.mu.Unlock()
		return ErrSinkClosed
	}
	old := l.add(events)
	l.mu.Unlock()
	l.packer.pack(old)
	return nil
}

// add appends to the chain, and returns the chunks that it is time to pack, once the
// lock is given back that the caller holds.
func (l *memoryLog) add(events []*Event) (old []*chunk) {
	before := l.tail
	for len(events) > 0 {
		n := l.tail.add(int(l.end-l.tail.first), events)
		events, l.end = events[n:], l.end+uint64(n)
		if len(events) > 0 {
			l.tail.next = newChunk(l.end)
			l.tail = l.tail.next
		}
	}
	l.wake()
	if l.tail != before {
		old = l.old()
	}
	return old
}

// packAfter is how many events a sink is behind before what waits for it is packed:
// more than it takes at once, so that nothing is packed for a sink that keeps up.
const packAfter = 2 * maxBlock

// packChunks is how many chunks are packed at once, or more: large pieces of memory
// waste less of the pages that they are in.
const packChunks = 8

// old returns the chunks that the slowest sink has not come to and that are old enough
// to be packed, each once.
func (l *memoryLog) old() (chunks []*chunk) {
	slowest := l.slowest()
	if slowest == nil || slowest.first+packAfter > l.end {
		return nil
	}
	c := l.loose.Value()
	if c == nil || c.first < slowest.first {
		c = slowest
	}
	if c.first+packAfter+packChunks*chunkSize > l.end {
		return nil
	}
	for ; c.first+packAfter <= l.end; c = c.next {
		if c.events.Load() != nil {
			chunks = append(chunks, c)
		}
	}
	// Not a pointer, which would keep the chain when all sinks are past it.
	l.loose = weak.Make(c)
	return chunks
}

// slowest returns the chunk that the slowest sink reads from.
func (l *memoryLog) slowest() (slowest *chunk) {
	for c := range l.cursors {
		if slowest == nil || c.chunk.first < slowest.first {
			slowest = c.chunk
		}
	}
	return slowest
}

// wake tells the cursors that wait. A cursor that is busy is not among them, so
// that under load a Write costs the same however many sinks there are.
func (l *memoryLog) wake() {
	for i, c := range l.idle {
		c.idle = false
		c.wake <- struct{}{} // has room: it is filled only here, once for each wait
		l.idle[i] = nil
	}
	l.idle = l.idle[:0]
}

func (l *memoryLog) Cursor(name string) (Cursor, error) { return l.cursor(name, l.limits), nil }

// cursor returns a cursor with limits.
func (l *memoryLog) cursor(name string, limits limits) *memoryCursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &memoryCursor{log: l, name: name, start: l.end, read: l.end, chunk: l.tail, wake: make(chan struct{}, 1)}
	l.cursors[c] = struct{}{}
	c.limits = limits
	l.bounded.count(limits, 1)
	return c
}

func (l *memoryLog) Forget(string) error { return nil }

func (l *memoryLog) Durable() bool { return false }

func (l *memoryLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake()
	l.roomAgain()
	return nil
}

// memoryCursor is the place of one sink. Its fields are guarded by the log's lock.
type memoryCursor struct {
	log  *memoryLog
	name string
	wake chan struct{}
	idle bool // is in log.idle

	start   uint64    // where it began
	read    uint64    // number of the event to return next
	chunk   *chunk    // holds it, or one before it
	held    []stretch // to be returned before it: see hold
	settled uint64    // how many events were settled
	closed  bool
	end     uint64 // where the log ended when the cursor was closed

	limits   limits
	overflow cursorOverflow
}

func (c *memoryCursor) Next(ctx context.Context, block []*Event) (int, error) {
	for {
		n, closed, note := c.next(block)
		note.log(c.log.logger)
		switch {
		case n > 0:
			c.tries(block[:n])
			return n, nil
		case closed:
			return 0, io.EOF
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// next fills block with what is there, or asks to be woken. The events are copied when
// the lock is given back already.
func (c *memoryCursor) next(block []*Event) (n int, closed bool, note overflowNote) {
	l := c.log
	l.mu.Lock()
	note = c.overflow.over(c)
	if c.closed {
		l.mu.Unlock()
		return 0, true, note
	}
	s := c.take(uint64(len(block)))
	if s.n == 0 {
		c.sleeps()
	}
	closed = l.closed
	l.mu.Unlock()
	return s.copy(block), closed, note
}

// sleeps asks to be woken. The caller holds the lock.
func (c *memoryCursor) sleeps() {
	if c.log.closed || c.idle {
		return
	}
	select {
	case <-c.wake: // left over from a wait that its context ended
	default:
	}
	c.idle = true
	c.log.idle = append(c.log.idle, c)
}

// take moves the cursor past the next events, at most that many, and returns where
// they are. The caller holds the lock.
func (c *memoryCursor) take(most uint64) stretch {
	if len(c.held) > 0 {
		s := c.held[0].take(most)
		if c.held[0].n == 0 {
			c.held = c.held[1:]
		}
		return s
	}
	unread := stretch{c.chunk, c.read, c.log.end - c.read}
	if unread.n > 0 && c.read >= c.chunk.first+chunkSize {
		unread.chunk = c.chunk.next
	}
	s := unread.take(most)
	c.read, c.chunk = unread.from, unread.chunk
	return s
}

func (c *memoryCursor) Settle(n int) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.settled += uint64(n)
	c.overflow.settled(c, n)
}

func (c *memoryCursor) Lag() Lag {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.lag()
}

// lag is Lag for whoever holds the lock.
func (c *memoryCursor) lag() Lag {
	end := c.log.end
	if c.closed {
		end = c.end
	}
	lag := Lag{Accepted: end - c.start - c.overflow.passed, Rejected: c.overflow.rejected}
	if !c.closed {
		lag.Pending = lag.Accepted - c.settled - c.overflow.dropped
	}
	return lag
}

func (c *memoryCursor) Close() error {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.closed {
		c.closed, c.end, c.chunk, c.held = true, l.end, nil, nil
		delete(l.cursors, c)
		l.bounded.count(c.limits, -1)
		l.roomAgain()
	}
	return nil
}
