package notifications

import (
	"context"
	"io"
	"sync"

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

	mu      sync.Mutex // guards the rest, the chain behind tail, and all cursors
	end     uint64     // how many events were ever appended
	tail    *chunk     // holds event number end-1
	cursors map[*memoryCursor]struct{}
	bounded boundedCursors
	idle    []*memoryCursor
	closed  bool
	room    chan struct{} // closed, and made anew, when a Write that blocks may look again
}

const chunkSize = 64

type chunk struct {
	first  uint64 // number of the first event
	events [chunkSize]*Event
	next   *chunk
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
		tail:    new(chunk),
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
	defer l.mu.Unlock()
	if l.closed {
		return ErrSinkClosed
	}
	l.add(events)
	return nil
}

// add appends to the chain. The caller holds the lock.
func (l *memoryLog) add(events []*Event) {
	for _, e := range events {
		if l.end == l.tail.first+chunkSize {
			l.tail.next = &chunk{first: l.end}
			l.tail = l.tail.next
		}
		l.tail.events[l.end-l.tail.first] = e
		l.end++
	}
	l.wake()
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

	start   uint64   // where it began
	read    uint64   // number of the event to return next
	chunk   *chunk   // holds it, or one before it
	held    []*Event // to be returned before it: see hold
	settled uint64   // how many events were settled
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

// next fills block with what is there, or asks to be woken.
func (c *memoryCursor) next(block []*Event) (n int, closed bool, note overflowNote) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	note = c.overflow.over(c)
	if c.closed {
		return 0, true, note
	}
	n = copy(block, c.held)
	c.held = c.held[n:]
	for n < len(block) && c.read < l.end {
		n += c.copy(block[n:], l.end)
	}
	if n > 0 {
		c.overflow.tried(c.limits, block[:n])
		return n, false, note
	}
	if !l.closed && !c.idle {
		select {
		case <-c.wake: // left over from a wait that its context ended
		default:
		}
		c.idle = true
		l.idle = append(l.idle, c)
	}
	return 0, l.closed, note
}

// copy copies events from where the cursor is, in one chunk, up to number end.
func (c *memoryCursor) copy(block []*Event, end uint64) int {
	for c.read >= c.chunk.first+chunkSize {
		c.chunk = c.chunk.next
	}
	i := c.read - c.chunk.first
	n := copy(block, c.chunk.events[i:min(chunkSize, i+end-c.read)])
	c.read += uint64(n)
	return n
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
