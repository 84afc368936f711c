package journal

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// log is records in segments on disk, and places in it with names. It knows nothing of
// events.
type log struct {
	dir    string
	fs     fileSystem
	salt   uint32
	config Config
	logger *logrus.Entry
	places placeFile
	now    func() time.Time

	sectors sectors
	tries   int // of what a disk cannot read

	kick  chan struct{} // the committer has something to do
	dirty chan struct{} // the saver has
	quit  chan struct{}
	ended sync.WaitGroup

	disk segmentWriter // the committer's alone

	mu        sync.Mutex // guards the rest
	closed    bool
	open      *batch // takes records; nil until there is one
	busy      int64  // bytes of the batch that is being written
	writers   int    // of the last batch, and since
	usual     int    // bytes of a batch, lately
	segments  []*segment
	last      uint64 // the last position that was acknowledged
	synced    uint64 // the last one that a power cut cannot take
	clock     int64  // time of the newest record: it does not go back
	tail      tail
	named     map[string]*place
	idle      []*cursor
	readers   []*reader     // for feeds, each where somebody may go on
	finished  bool          // no reader may wait any more
	room      chan struct{} // closed, and made anew, when something may have changed for those who wait
	damage    spans         // that was reported
	doomed    []*segment    // to be removed when the places are saved
	dropping  bool          // a limit makes room
	notes     []func()      // what to log when the lock is given back
	forgotten []*place      // whose names are still on disk
	keepAll   bool          // the places were lost: nothing is behind all of them
	saveErr   error
	stats     counts

	saving sync.Mutex // held to write the places
	over   bool       // guarded by it: the files are closed, and may be somebody else's
}

// counts are for Stat.
type counts struct {
	damaged uint64 // records
	torn    uint64 // bytes
	dropped uint64 // records, by a limit
}

// maxOpen bounds what waits for a slow disk, in bytes. It is beyond what writers that
// wait for their own record put there.
const maxOpen = 16 << 20

// maxBlock bounds a block, in bytes.
const maxBlock = 256 << 20

// batch is records that go to disk together.
type batch struct {
	buf     []byte
	records int
	blocks  int           // each of another writer
	done    chan struct{} // closed when it is on disk, or err says why not

	first, last uint64 // once it has been placed
	time        int64
	err         error
}

// buffers are where blocks are encoded before they have a place.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxBuffer is up to what size one is kept, in bytes.
const maxBuffer = 256 << 10

// append puts a block of n records at the end and returns when they are as durable as
// the configuration has it, or an error, after which they may come out all the same.
func (l *log) append(ctx context.Context, n int, encode func(i int, b []byte) ([]byte, error)) error {
	if n == 0 {
		return l.alive()
	}
	scratch := buffers.Get().(*[]byte)
	block, err := l.encode((*scratch)[:0], n, maxEvent, encode)
	defer func() {
		if cap(block) <= maxBuffer {
			*scratch = block
			buffers.Put(scratch)
		}
	}()
	if err != nil {
		return err
	}
	_, err = l.commitBlock(ctx, block, n)
	return err
}

// appendOne appends one record, and returns its position.
func (l *log) appendOne(ctx context.Context, payload []byte) (position uint64, err error) {
	block, err := l.encode(nil, 1, maxPayload, func(_ int, b []byte) ([]byte, error) { return append(b, payload...), nil })
	if err != nil {
		return 0, err
	}
	return l.commitBlock(ctx, block, 1)
}

// commitBlock has a block of frames on disk, and returns the position of the first.
func (l *log) commitBlock(ctx context.Context, block []byte, n int) (first uint64, err error) {
	b, index, err := l.enter(ctx, block, n)
	if err != nil {
		return 0, err
	}
	select {
	case <-b.done:
		return b.first + uint64(index), b.err
	case <-ctx.Done():
		return 0, fmt.Errorf("journal: waiting for the disk: %w", context.Cause(ctx))
	}
}

func (l *log) alive() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	return nil
}

func (l *log) encode(b []byte, n, most int, encode func(i int, b []byte) ([]byte, error)) (_ []byte, err error) {
	for i := range n {
		start := len(b)
		b, err = appendFrame(b, i, n-1-i, func(b []byte) ([]byte, error) { return encode(i, b) })
		if err != nil {
			return b, err
		}
		if size := len(b) - start - frameHead; size > most {
			return b, fmt.Errorf("journal: record %d of %d: %d bytes: allowed are %d", i+1, n, size, most)
		}
		if len(b) > maxBlock {
			return b, fmt.Errorf("journal: block of %d records: more than %d bytes", n, maxBlock)
		}
	}
	return b, nil
}

// enter puts a block into the batch that is open, when there is room for it, behind so
// many records.
func (l *log) enter(ctx context.Context, block []byte, n int) (_ *batch, index int, err error) {
	l.mu.Lock()
	defer l.unlock()
	for {
		if l.closed {
			return nil, 0, errClosed
		}
		wait, err := l.admit(int64(len(block)))
		if err != nil {
			return nil, 0, err
		}
		if wait == nil {
			break
		}
		l.unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		}
		l.mu.Lock()
		if ctx.Err() != nil {
			return nil, 0, fmt.Errorf("%w: %w", notifications.ErrFull, context.Cause(ctx))
		}
	}
	if l.open == nil {
		l.open = &batch{done: make(chan struct{}), buf: make([]byte, 0, max(len(block), l.usual))}
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
	index = l.open.records
	l.open.buf = append(l.open.buf, block...)
	l.open.records += n
	l.open.blocks++
	return l.open, index, nil
}

// admit says whether there is room for so many bytes: at once, when the channel is
// closed, or never. The caller holds the lock.
func (l *log) admit(bytes int64) (wait <-chan struct{}, err error) {
	if l.open != nil && int64(len(l.open.buf))+bytes > maxOpen {
		return l.room, nil
	}
	return l.space(bytes)
}

// unlock gives the lock back, and then logs.
func (l *log) unlock() {
	notes := l.notes
	l.notes = nil
	l.mu.Unlock()
	for _, say := range notes {
		say()
	}
}

// roomAgain has those look again who wait for room. The caller holds the lock.
func (l *log) roomAgain() {
	close(l.room)
	l.room = make(chan struct{})
}

// wake has the cursors look again that wait. The caller holds the lock.
func (l *log) wake() {
	for i, c := range l.idle {
		c.idle = false
		c.wake <- struct{}{} // has room: it is filled only here, once for each wait
		l.idle[i] = nil
	}
	l.idle = l.idle[:0]
}

// next is the position of the next record. The caller holds the lock.
func (l *log) next() uint64 { return l.last + 1 }

// first is the position of the oldest record. The caller holds the lock.
func (l *log) first() uint64 {
	if len(l.segments) == 0 {
		return l.next()
	}
	return l.segments[0].first
}

// segmentOf returns the segment that has a position or, if it is gone, nil, and which
// position the next one begins with, or zero. The caller holds the lock.
func (l *log) segmentOf(position uint64) (seg *segment, next uint64) {
	i, found := slices.BinarySearchFunc(l.segments, position, func(s *segment, p uint64) int {
		switch {
		case s.first < p:
			return -1
		case s.first > p:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	if i+1 < len(l.segments) {
		next = l.segments[i+1].first
	}
	if i >= 0 {
		seg = l.segments[i]
	}
	return seg, next
}

// lost reports records that cannot be read any more, each once. The caller holds the
// lock.
func (l *log) lost(s Span) {
	n := l.damage.add(s)
	if n == 0 {
		return
	}
	l.stats.damaged += n
	l.notes = append(l.notes, func() {
		l.logger.WithFields(logrus.Fields{"positions": s.String(), "records": n}).
			Error("journal: records are damaged, and skipped")
	})
}

// tail is the newest batches, in memory: who keeps up needs no disk.
type tail struct {
	batches []*batch
	bytes   int
}

// tailBytes is how much of the newest is kept in memory.
const tailBytes = 4 << 20

func (t *tail) add(b *batch) {
	t.batches = append(t.batches, b)
	t.bytes += len(b.buf)
	n := 0
	for t.bytes > tailBytes && n < len(t.batches)-1 {
		t.bytes -= len(t.batches[n].buf)
		t.batches[n] = nil
		n++
	}
	t.batches = t.batches[n:]
}

// from returns the batches from the one on that has a position, or none.
func (t *tail) from(position uint64) []*batch {
	if len(t.batches) == 0 || position < t.batches[0].first {
		return nil
	}
	i, found := slices.BinarySearchFunc(t.batches, position, func(b *batch, p uint64) int {
		switch {
		case b.last < p:
			return -1
		case b.first > p:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return t.batches[i:]
}
