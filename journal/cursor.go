package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"unicode/utf8"

	"github.com/registry-notifications/notifications"
)

// place is a position with a name, which survives the process. Its fields are guarded by
// the log's lock.
type place struct {
	position uint64  // everything up to it is settled
	saved    uint64  // what the file of places says
	cursor   *cursor // nil if there is none now
}

// cursor is the place of one sink, and the events on their way between the two.
type cursor struct {
	log    *log
	name   string
	wake   chan struct{}
	idle   bool // is in log.idle
	reader reader

	// Guarded by the log's lock.
	place    *place
	next     uint64   // position to read next
	moves    int      // how often next was changed from outside
	flights  []flight // read, and not settled, in order
	inFlight uint64   // records in them
	closed   bool
	forgot   bool
	reading  bool // the reader is in use

	start   uint64 // the log's last position when the cursor was opened
	pending uint64 // records that were pending then
	again   uint64 // that were given once more
	dropped map[string]uint64

	out []record // Next's alone
}

var _ notifications.EncodedCursor = (*cursor)(nil)

// flight is a row of records between Next and Settle.
type flight struct {
	first, n uint64
	stale    bool // the cursor was moved since: to settle it moves nothing
}

// checkName refuses a name that would be another one when it is read again.
func checkName(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("journal: sink name: %q: allowed is any text in UTF-8", name)
	}
	return nil
}

// cursor opens the place of a name, which is made if it is not there.
func (l *log) cursor(name string) (*cursor, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, errClosed
	}
	p := l.named[name]
	if p != nil && p.cursor != nil {
		l.mu.Unlock()
		return nil, fmt.Errorf("journal: cursor %q: is open already", name)
	}
	fresh := p == nil
	if fresh {
		p = &place{position: l.last}
		if l.config.Start == Beginning || l.keepAll {
			p.position = l.first() - 1
		}
		l.named[name] = p
	}
	c := &cursor{log: l, name: name, place: p, next: p.position + 1, wake: make(chan struct{}, 1)}
	c.reader = reader{log: l, next: c.next}
	c.start = l.last
	c.pending = Span{c.next, l.last}.Len()
	p.cursor = c
	if !fresh && !l.keepAll {
		c.jump(l.first(), notifications.DroppedOverflow) // removed by a limit, in an earlier run
	}
	l.mu.Unlock()

	if fresh {
		// Or after a crash the name would be as new as it was, and begin later.
		if err := l.save(true); err != nil {
			l.mu.Lock()
			delete(l.named, name)
			l.mu.Unlock()
			return nil, err
		}
	}
	return c, nil
}

// Next returns events for whoever wants them decoded.
func (c *cursor) Next(ctx context.Context, block []*notifications.Event) (int, error) {
	encoded := make([][]byte, len(block))
	n, err := c.NextEncoded(ctx, encoded, true)
	for i := range n {
		block[i] = new(notifications.Event)
		if err := block[i].UnmarshalJSON(encoded[i]); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (c *cursor) NextEncoded(ctx context.Context, block [][]byte, reuse bool) (int, error) {
	if len(c.out) < len(block) {
		c.out = make([]record, len(block))
	}
	defer clear(c.out)
	c.reader.reuse = reuse
	for {
		if !c.log.syncsPlaces() {
			_ = c.save() // the saver tries again
		}
		last, moves, err := c.ready(ctx)
		if err != nil {
			return 0, err
		}
		n, lost, err := c.reader.read(c.out[:len(block)], last)
		// Nothing is handed out before what was settled is on disk: so a crash repeats one
		// block at most. Where that takes a sync, it was under way while this was read.
		if waitErr := c.wait(ctx, c.isSaved); waitErr != nil {
			n, lost, err = 0, Span{}, waitErr
		}
		took := c.took(n, lost, moves)
		if err != nil {
			return 0, err
		}
		if took && n > 0 {
			for i := range n {
				block[i] = c.out[i].payload
			}
			return n, nil
		}
	}
}

// ready waits until there is something to read, and returns up to where.
func (c *cursor) ready(ctx context.Context) (last uint64, moves int, err error) {
	err = c.wait(ctx, func() bool {
		if c.next > c.log.last {
			return false
		}
		if c.reader.next != c.next {
			c.reader.seek(c.next - 1)
		}
		last, moves, c.reading = c.log.last, c.moves, true
		return true
	})
	return last, moves, err
}

// isSaved says whether what was settled is on disk, or cannot be. The caller holds the
// lock.
func (c *cursor) isSaved() bool { return c.place.position == c.place.saved || c.log.saveErr != nil }

// syncsPlaces says whether places are synced whenever they are saved.
func (l *log) syncsPlaces() bool { return l.config.Sync == SyncAlways }

// save saves the place, if it has to be. To hand that over would take longer.
func (c *cursor) save() error {
	c.log.mu.Lock()
	saved := c.isSaved()
	c.log.mu.Unlock()
	if saved {
		return nil
	}
	return c.log.save(false)
}

// wait waits until something holds, which is looked at with the lock held.
func (c *cursor) wait(ctx context.Context, holds func() bool) error {
	l := c.log
	for {
		l.mu.Lock()
		if l.closed || c.closed || c.forgot {
			l.mu.Unlock()
			return io.EOF
		}
		if holds() {
			l.mu.Unlock()
			return nil
		}
		c.sleeps()
		l.mu.Unlock()
		select {
		case <-c.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sleeps asks to be woken. The caller holds the lock.
func (c *cursor) sleeps() {
	if c.idle {
		return
	}
	select {
	case <-c.wake: // left over from a wait that its context ended
	default:
	}
	c.idle = true
	c.log.idle = append(c.log.idle, c)
}

// took moves the cursor past what was read, unless it has been moved meanwhile.
func (c *cursor) took(n int, lost Span, moves int) (ok bool) {
	l := c.log
	l.mu.Lock()
	defer l.unlock()
	c.reading = false
	if c.closed {
		c.reader.close()
		return false
	}
	if c.moves != moves {
		c.reader.close() // which may be all that keeps a segment on disk
		return false
	}
	if n == 0 && lost.Len() == 0 {
		return false
	}
	if n > 0 {
		c.flights = append(c.flights, flight{first: c.next, n: uint64(n)})
		c.inFlight += uint64(n)
		c.next += uint64(n)
		return true
	}
	l.lost(lost)
	c.drop(notifications.DroppedDamaged, lost.Len())
	c.next = lost.Last + 1
	c.landed()
	return true
}

// drop counts what will not be read. The caller holds the lock.
func (c *cursor) drop(reason string, n uint64) {
	if n == 0 || reason == notifications.DroppedOverflow {
		return // that is what the hub takes anything for that is missing
	}
	if c.dropped == nil {
		c.dropped = make(map[string]uint64)
	}
	c.dropped[reason] += n
}

// jump moves the cursor on to a position, past what is dropped, and returns how much that
// is. The caller holds the lock.
func (c *cursor) jump(to uint64, reason string) uint64 {
	if c.next >= to {
		return 0
	}
	n := to - c.next
	c.drop(reason, n)
	c.next = to
	c.moved()
	c.landed()
	return n
}

// moved has the reader give up what it has, which may be all that keeps a segment on
// disk. The caller holds the lock.
func (c *cursor) moved() {
	c.moves++
	if !c.reading {
		c.reader.close()
	}
}

// landed moves the place on when nothing is on its way: what was lost or dropped behind
// the last that was settled is past, too. The caller holds the lock.
func (c *cursor) landed() {
	if len(c.flights) == 0 && c.next-1 > c.place.position {
		c.place.position = c.next - 1
		c.log.changed()
	}
}

func (c *cursor) Settle(n int) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for left := uint64(n); left > 0 && len(c.flights) > 0; {
		f := &c.flights[0]
		m := min(left, f.n)
		f.first, f.n, left, c.inFlight = f.first+m, f.n-m, left-m, c.inFlight-m
		if !f.stale && !c.forgot {
			c.place.position = f.first - 1
		}
		if f.n == 0 {
			c.flights = c.flights[1:]
		}
	}
	if c.forgot {
		return
	}
	c.landed()
	if len(c.flights) > 0 || l.syncsPlaces() {
		l.changed() // or Next, which comes next, saves it
	}
}

// changed has the places saved. The caller holds the lock.
func (l *log) changed() {
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

func (c *cursor) Lag() notifications.Lag {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	lag := notifications.Lag{Dropped: maps.Clone(c.dropped)}
	if c.closed {
		lag.Accepted = c.pending + c.again
	} else {
		lag.Accepted = c.pending + c.again + c.log.last - c.start
	}
	if !c.forgot || !c.closed {
		lag.Pending = c.unsettled()
	}
	return lag
}

// unsettled is how many records are on their way or still to be read. The caller holds
// the lock.
func (c *cursor) unsettled() uint64 {
	if c.closed {
		return c.inFlight // and what was unread when it was closed: see end
	}
	return c.inFlight + Span{c.next, c.log.last}.Len()
}

// Close gives the cursor up. Its place stays.
func (c *cursor) Close() error {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.end()
	return nil
}

// end freezes the counts. The caller holds the lock.
func (c *cursor) end() {
	if c.closed {
		return
	}
	l := c.log
	c.pending += l.last - c.start
	c.inFlight += Span{c.next, l.last}.Len()
	c.closed = true
	if c.place.cursor == c {
		c.place.cursor = nil
	}
	if c.idle {
		l.idle = without(l.idle, c)
		c.idle = false
		c.wake <- struct{}{} // has room
	}
	if !c.reading {
		c.reader.close()
	}
}

func without(cursors []*cursor, c *cursor) []*cursor {
	kept := cursors[:0]
	for _, other := range cursors {
		if other != c {
			kept = append(kept, other)
		}
	}
	clear(cursors[len(kept):])
	return kept
}

// errInUse says that a place has a cursor.
var errInUse = errors.New("journal: cursor: in use")

// forget drops a place, and what the log keeps for it alone. With idle it has to be one
// without a cursor.
func (l *log) forget(name string, idle bool) error {
	l.mu.Lock()
	p := l.named[name]
	if p == nil {
		l.mu.Unlock()
		return fmt.Errorf("journal: cursor %q: there is none", name)
	}
	if c := p.cursor; c != nil && idle {
		l.mu.Unlock()
		return errInUse
	} else if c != nil {
		c.forgot, p.cursor = true, nil
		l.wake() // it reads no more
	}
	delete(l.named, name)
	l.forgotten = append(l.forgotten, p)
	l.mu.Unlock()
	return closedAs(l.save(true))
}
