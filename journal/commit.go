package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"
)

// commit is the goroutine that writes. It has no timer to gather writers by: those that
// come while one batch is on its way to the disk are the next one.
func (l *log) commit() {
	defer l.ended.Done()
	var due <-chan time.Time
	for {
		select {
		case <-l.kick:
			l.gather()
			if b := l.swap(); b != nil {
				l.finish(b, l.disk.write(l, b))
			}
			if l.config.Sync == SyncInterval && due == nil {
				due = time.After(l.config.SyncInterval)
			}
		case <-due:
			due = nil
			if !l.syncNow() {
				due = time.After(l.config.SyncInterval)
			}
		case <-l.quit:
			if b := l.swap(); b != nil { // nobody adds any more
				l.finish(b, l.disk.write(l, b))
			}
			l.disk.seal(l)
			return
		}
	}
}

// gather waits for those who wrote lately, as they may have the next block at hand, until
// all of them are back or none has come for a while: a small part of the time that the
// disk would take for one of them alone.
func (l *log) gather() {
	patience := min(l.disk.took/16, maxPatience)
	since := time.Now()
	for had, idle := 0, 0; idle < maxYields; idle++ {
		l.mu.Lock()
		has, all := 0, l.writers
		if l.open != nil {
			has = l.open.blocks
		}
		l.mu.Unlock()
		switch {
		case has >= all:
			return
		case has > had:
			had, idle, since = has, 0, time.Now()
		case time.Since(since) >= patience:
			return
		}
		runtime.Gosched()
	}
}

// A writer may have to wait in vain for others so long, and for so many turns of other
// goroutines: in a test the clock may stand still.
const (
	maxPatience = 200 * time.Microsecond
	maxYields   = 1000
)

// swap takes the open batch and gives its records their positions.
func (l *log) swap() *batch {
	l.mu.Lock()
	b := l.open
	if b == nil {
		l.mu.Unlock()
		return nil
	}
	l.open, l.busy = nil, int64(len(b.buf))
	l.usual = min(len(b.buf)+len(b.buf)/8, maxBuffer)
	last := l.last
	l.clock = max(l.clock+1, l.now().UnixNano())
	b.first, b.last, b.time = last+1, last+uint64(b.records), l.clock
	l.mu.Unlock()

	acknowledged := last
	if l.config.unmarked {
		acknowledged = 0
	}
	position := b.first
	for at := 0; at < len(b.buf); position++ {
		at += number(b.buf[at:], l.salt, position, acknowledged, b.time)
	}
	return b
}

// finish tells the writers, and the readers if there is something to read.
func (l *log) finish(b *batch, err error) {
	l.mu.Lock()
	l.busy, l.writers = 0, b.blocks
	if l.open != nil {
		l.writers += l.open.blocks
	}
	if err != nil {
		b.err = &WriteError{err}
	} else {
		l.last = b.last
		if l.config.Sync != SyncInterval {
			l.synced = b.last
		}
		seg := l.segments[len(l.segments)-1]
		seg.size, seg.newest = l.disk.size, l.now()
		l.tail.add(b)
		l.wake()
	}
	l.roomAgain()
	l.mu.Unlock()
	close(b.done)
}

// syncNow makes durable what an interval has brought.
func (l *log) syncNow() (ok bool) {
	l.mu.Lock()
	last, clock := l.last, l.clock
	l.mu.Unlock()
	if !l.disk.sync(l, last+1, clock) {
		return false
	}
	l.mu.Lock()
	l.synced = last
	l.wake()
	l.roomAgain() // for feeds
	l.mu.Unlock()
	return true
}

// segmentWriter writes the newest segment.
type segmentWriter struct {
	file    file // nil: a new one is to be begun
	seg     *segment
	size    int64         // written and acknowledged
	took    time.Duration // by the last batch
	failing bool

	// A sync of what was put off has failed: a power cut may take records, and with them
	// their positions, which another segment behind them keeps.
	unsure bool
}

// write puts a batch on disk, as durable as it has to be. After an error the segment is
// not trusted any more, and the next batch begins a new one.
func (w *segmentWriter) write(l *log, b *batch) (err error) {
	if w.file != nil && w.full(l, b) {
		w.leave(l)
	}
	if w.file == nil {
		err = w.begin(l, b.first, time.Unix(0, b.time), int64(len(b.buf)))
	}
	if err == nil {
		begun := time.Now()
		err = w.put(l, b)
		w.took = time.Since(begun)
	}
	switch {
	case err == nil && w.failing:
		w.failing = false
		l.logger.Info("journal: writing works again")
	case err != nil && !w.failing:
		w.failing = true
		l.logger.WithError(err).Error("journal: writing fails; events are refused")
	}
	return err
}

func (w *segmentWriter) put(l *log, b *batch) error {
	n, err := w.file.WriteAt(b.buf, w.size)
	if err == nil && n < len(b.buf) {
		err = fmt.Errorf("short write: %d bytes of %d", n, len(b.buf))
	}
	if err == nil && l.config.Sync == SyncAlways && !l.config.unsynced {
		err = w.file.Sync()
	}
	if err != nil {
		// What got there of the batch may come out at the next start, unless another
		// segment begins with the same position before.
		w.giveUp(l)
		return err
	}
	w.size += int64(len(b.buf))
	return nil
}

// full says that a batch belongs into another segment: this one has no room for it, or
// is so old that it would keep from being forgotten what is older.
func (w *segmentWriter) full(l *log, b *batch) bool {
	if w.size+int64(len(b.buf)) > l.config.SegmentBytes {
		return w.size > segmentHead
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isOld(w.seg)
}

// giveUp ends a segment after an error. What was acknowledged of it stays readable.
func (w *segmentWriter) giveUp(l *log) {
	if err := w.file.Truncate(w.size); err == nil {
		w.shrunk(l)
	}
	if l.config.Sync == SyncInterval && !w.unsure {
		w.doubt(l, w.file.Sync())
	}
	_ = w.file.Close()
	w.file = nil
}

// doubt notes that a sync of what was put off has failed. Another that succeeds proves
// nothing: the system reports an error once.
func (w *segmentWriter) doubt(l *log, err error) {
	if err != nil && !w.unsure {
		w.unsure = true
		l.logger.WithError(err).WithField("segment", w.seg.path).
			Error("journal: sync failed; a power cut may lose what was written since the last one")
	}
}

// shrunk notes that nothing is set aside any more for the newest segment.
func (w *segmentWriter) shrunk(l *log) {
	l.mu.Lock()
	w.seg.room = 0
	l.mu.Unlock()
}

// begin begins a segment that has room for so many bytes. What it needs is on disk
// before they are: the room, the header, and the entry in the directory.
func (w *segmentWriter) begin(l *log, first uint64, created time.Time, bytes int64) error {
	seg := &segment{path: segmentPath(l.dir, first, l.salt), first: first, created: created}
	l.disown(first)
	f, err := l.fs.Create(seg.path)
	again := errors.Is(err, fs.ErrExist)
	if again {
		// It was begun before, in vain. Its name is not taken away: there may be nothing
		// else that says where the log goes on.
		if f, err = l.fs.Open(seg.path); err == nil {
			err = f.Truncate(0)
		}
	}
	if err != nil {
		if f != nil {
			_ = f.Close()
		}
		return err
	}
	seg.room = max(l.config.SegmentBytes, segmentHead+bytes)
	err = f.Allocate(seg.room)
	if err == nil {
		_, err = f.WriteAt(appendSegmentHead(nil, seg.first, l.salt, seg.created), 0)
	}
	if err == nil && l.config.Sync != SyncNone {
		err = f.Sync()
	}
	if err == nil && l.config.Sync != SyncNone && !l.config.unlinked {
		err = l.fs.SyncDir(l.dir)
	}
	if err != nil {
		_ = f.Truncate(0)
		_ = f.Close()
		if !again {
			_ = l.fs.Remove(seg.path)
		}
		return err
	}
	w.file, w.seg, w.size, w.unsure = f, seg, segmentHead, false
	l.mu.Lock()
	seg.size, seg.begun = segmentHead, l.now()
	l.segments = append(l.segments, seg)
	l.mu.Unlock()
	l.changed() // the saver removes what is behind all places
	return nil
}

// disown leaves out a segment that begins with a position and of which nothing was ever
// acknowledged, so that trim never sees it beside the one with the same name.
func (l *log) disown(first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.segments); n > 0 && l.segments[n-1].first == first {
		l.segments = l.segments[:n-1]
	}
}

// sync makes durable what was put off. If that cannot be known any more, an empty
// segment keeps at least the positions up to the next.
func (w *segmentWriter) sync(l *log, next uint64, clock int64) (ok bool) {
	if w.file != nil {
		if err := w.file.Sync(); err != nil {
			w.doubt(l, err)
			w.giveUp(l)
		}
	}
	if w.file == nil && w.unsure {
		return w.begin(l, next, time.Unix(0, clock), 0) == nil
	}
	return true
}

// leave ends a segment that is full.
func (w *segmentWriter) leave(l *log) {
	err := w.file.Truncate(w.size)
	if err == nil {
		w.shrunk(l)
	}
	if err == nil && l.config.Sync != SyncNone {
		err = w.file.Sync()
	}
	w.unsure = w.unsure || err != nil
	if closeErr := w.file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		l.logger.WithError(err).WithField("segment", w.seg.path).Warn("journal: ending a segment")
	}
	w.file = nil
}

// seal ends the newest segment with a mark, so that the next start knows that all of it
// was acknowledged.
func (w *segmentWriter) seal(l *log) {
	if w.file == nil {
		return
	}
	l.mu.Lock()
	mark := appendMark(nil, l.salt, l.next(), l.clock)
	l.mu.Unlock()
	if n, err := w.file.WriteAt(mark, w.size); err == nil && n == len(mark) {
		w.size += int64(n)
	} else {
		l.logger.WithFields(logrus.Fields{"error": err}).Warn("journal: the mark of a clean end could not be written")
	}
	w.leave(l)
}
