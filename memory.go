package notifications

import (
	"context"
	"io"
	"sync"
)

// Broadcaster is a hub in memory. It holds an event until the slowest sink has it:
// one copy, however many sinks there are. Close delivers what it holds.
type Broadcaster struct{ *Hub }

// NewBroadcaster returns a running Broadcaster without sinks.
func NewBroadcaster(config HubConfig) (*Broadcaster, error) {
	h, err := NewHub(newMemoryLog(), config)
	if err != nil {
		return nil, err
	}
	return &Broadcaster{h}, nil
}

// memoryLog is a chain of chunks. Every cursor holds the chunk that it reads from
// and a chunk knows only the next one, so what the slowest cursor has behind it
// is garbage without anybody having to collect it.
type memoryLog struct {
	mu     sync.Mutex // guards the rest, and the chain behind tail
	end    uint64     // how many events were ever appended
	tail   *chunk     // holds event number end-1
	idle   []*memoryCursor
	closed bool
}

const chunkSize = 64

type chunk struct {
	events [chunkSize]*Event
	next   *chunk
}

var (
	_ Log    = (*memoryLog)(nil)
	_ Cursor = (*memoryCursor)(nil)
)

func newMemoryLog() *memoryLog { return &memoryLog{tail: new(chunk)} }

func (l *memoryLog) Append(_ context.Context, events ...*Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrSinkClosed
	}
	for _, e := range events {
		i := l.end % chunkSize
		if i == 0 && l.end > 0 {
			l.tail.next = new(chunk)
			l.tail = l.tail.next
		}
		l.tail.events[i] = e
		l.end++
	}
	l.wake()
	return nil
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

func (l *memoryLog) Cursor(string) (Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &memoryCursor{
		log: l, start: l.end, read: l.end, settled: l.end, chunk: l.tail,
		wake: make(chan struct{}, 1),
	}, nil
}

func (l *memoryLog) Forget(string) error { return nil }

func (l *memoryLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake()
	return nil
}

type memoryCursor struct {
	log   *memoryLog
	start uint64 // where it began
	wake  chan struct{}

	// These belong to the goroutine that calls Next.
	read  uint64 // number of the event to return next
	chunk *chunk // holds event number read-1, or read where the chain begins

	idle bool // guarded by log.mu: in log.idle

	// These belong to whoever calls Settle, Lag and Close.
	settled uint64
	closed  bool
	end     uint64 // where the log ended when the cursor was closed
}

func (c *memoryCursor) Next(ctx context.Context, block []*Event) (int, error) {
	for {
		end, closed := c.peek()
		if end > c.read {
			return c.copy(block, end), nil
		}
		if closed {
			return 0, io.EOF
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// peek returns where the log ends, and asks to be woken if that is here.
func (c *memoryCursor) peek() (end uint64, closed bool) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == c.read && !l.closed && !c.idle {
		select {
		case <-c.wake: // left over from a wait that its context ended
		default:
		}
		c.idle = true
		l.idle = append(l.idle, c)
	}
	return l.end, l.closed
}

// copy needs no lock: events before end, and the chain to them, never change.
func (c *memoryCursor) copy(block []*Event, end uint64) int {
	n := 0
	for n < len(block) && c.read < end {
		i := c.read % chunkSize
		if i == 0 && c.read > 0 {
			c.chunk = c.chunk.next
		}
		k := copy(block[n:], c.chunk.events[i:min(chunkSize, i+end-c.read)])
		n += k
		c.read += uint64(k)
	}
	return n
}

func (c *memoryCursor) Settle(n int) { c.settled += uint64(n) }

func (c *memoryCursor) Lag() (accepted, pending uint64) {
	if c.closed {
		return c.end - c.start, 0
	}
	c.log.mu.Lock()
	end := c.log.end
	c.log.mu.Unlock()
	return end - c.start, end - c.settled
}

func (c *memoryCursor) Close() error {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if !c.closed {
		c.closed, c.end = true, c.log.end
	}
	return nil
}
