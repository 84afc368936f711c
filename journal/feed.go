package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/registry-notifications/notifications"
)

// maxFeed bounds Read.
const maxFeed = 1024

// Read returns up to that many records behind a position, in order, and without waiting:
// none if there are none. At most 1024 at once; zero means as many. A gap between the
// positions is damage, which is logged and counted. What is older than what is retained
// is a *notifications.PositionError, as is a position that was never given.
func (j *Journal) Read(ctx context.Context, after uint64, most int) ([]notifications.Record, error) {
	if most < 0 {
		return nil, fmt.Errorf("journal: read: max: %d: allowed are zero, for the default, and above", most)
	}
	if most == 0 || most > maxFeed {
		most = maxFeed
	}
	last, err := j.log.bounds(after)
	if err != nil {
		return nil, err
	}
	r := j.log.resume(after)
	defer j.log.leave(r)
	out := make([]record, min(uint64(most), last-after))
	for len(out) > 0 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n, lost, err := r.read(out, last)
		if err != nil {
			return nil, err
		}
		if records := j.log.decode(out[:n]); len(records) > 0 {
			return records, nil
		}
		if n == 0 && lost.Len() == 0 {
			break
		}
		j.log.report(lost)
		if _, err := j.log.bounds(after); err != nil {
			return nil, err // it was removed meanwhile
		}
	}
	return nil, nil
}

// Last returns the last position that Read knows of now, zero if there was none ever.
func (j *Journal) Last() uint64 {
	j.log.mu.Lock()
	defer j.log.mu.Unlock()
	return j.log.seen()
}

// decode makes events of records. What is none, though it is just as it was written, is
// as good as damaged.
func (l *log) decode(records []record) []notifications.Record {
	all := make([]notifications.Record, 0, len(records))
	for _, r := range records {
		rec, err := decode(r)
		if err != nil {
			l.report(Span{r.position, r.position})
			continue
		}
		all = append(all, rec)
	}
	return all
}

func decode(r record) (notifications.Record, error) {
	rec := notifications.Record{Position: r.position, Time: time.Unix(0, r.time), Event: new(notifications.Event)}
	if err := rec.Event.UnmarshalJSON(r.payload); err != nil {
		return rec, fmt.Errorf("journal: record %d: %w", r.position, err)
	}
	return rec, nil
}

// Wait returns when there is something behind a position, or ctx or the journal ends.
func (j *Journal) Wait(ctx context.Context, after uint64) error {
	for {
		more, changed, err := j.log.isBehind(after)
		if more || err != nil {
			return closedAs(err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// After returns the position behind which Read has what was written at a time or later.
func (j *Journal) After(ctx context.Context, t time.Time) (uint64, error) {
	position, err := j.log.after(ctx, t)
	return position, closedAs(err)
}

// Rewind moves the named sink's place: its sink goes on behind that position, which is on
// disk when Rewind returns. What is on its way already is finished first. A name that is
// new gets its place by it, before its sink is added. What is given again counts as
// accepted anew, and what is passed over as dropped.
func (j *Journal) Rewind(name string, after uint64) error {
	if name == "" {
		return errors.New("journal: rewind: sink name: empty: allowed is any other")
	}
	return closedAs(j.log.rewind(name, after))
}

// seen is the last position that feeds may see: what a power cut could take back would be
// given to another event, and whoever keeps positions of his own would never know. The
// caller holds the lock.
func (l *log) seen() uint64 { return l.synced }

// bounds checks a position, and returns the last one.
func (l *log) bounds(after uint64) (last uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.first(); after+1 < first || after > l.seen() {
		return 0, &notifications.PositionError{Position: after, First: first, Last: l.seen()}
	}
	return l.seen(), nil
}

func (l *log) readerAt(after uint64) *reader { return &reader{log: l, next: after + 1} }

// maxIdle is how many readers wait for somebody to go on where they are.
const maxIdle = 4

// resume returns the reader that waits behind a position, or a new one, which has to find
// it in its segment first. Nothing of what it returns is kept: it is decoded.
func (l *log) resume(after uint64) *reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range l.readers {
		if r.next == after+1 {
			l.readers = slices.Delete(l.readers, i, i+1)
			return r
		}
	}
	r := l.readerAt(after)
	r.reuse = true
	return r
}

// leave has a reader wait, in place of the one that has waited longest. It keeps its file
// open, and so what was removed on disk: see trim.
func (l *log) leave(r *reader) {
	if r.scan == nil {
		return
	}
	r.scan.trim()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.finished || !slices.Contains(l.segments, r.seg) {
		r.close()
		return
	}
	if len(l.readers) == maxIdle {
		l.readers[0].close()
		l.readers = slices.Delete(l.readers, 0, 1)
	}
	l.readers = append(l.readers, r)
}

// closeReaders closes those that wait in segments that are gone, or all. The caller holds
// the lock.
func (l *log) closeReaders(all bool) {
	l.readers = slices.DeleteFunc(l.readers, func(r *reader) bool {
		if all || !slices.Contains(l.segments, r.seg) {
			r.close()
			return true
		}
		return false
	})
}

// report reports what a reader without a place could not read. What was removed under
// it is no damage.
func (l *log) report(lost Span) {
	l.mu.Lock()
	defer l.unlock()
	if lost.Len() > 0 {
		lost.First = max(lost.First, l.first())
		l.lost(lost)
	}
}

func (l *log) isBehind(after uint64) (more bool, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.first(); after+1 < first || after > l.seen() {
		return false, nil, &notifications.PositionError{Position: after, First: first, Last: l.seen()}
	}
	if row, lost := l.damage.at(after + 1); lost {
		after = row.Last // there is nothing to be read in there
	}
	if l.closed && after >= l.seen() {
		return false, nil, errClosed
	}
	return after < l.seen(), l.room, nil
}

func (l *log) after(ctx context.Context, t time.Time) (uint64, error) {
	nano := t.UnixNano()
	l.mu.Lock()
	position, last := l.first()-1, l.seen()
	for _, s := range l.segments {
		if !s.damaged && s.created.UnixNano() < nano && s.first > position {
			position = s.first - 1
		}
	}
	l.mu.Unlock()

	r := l.readerAt(position)
	defer r.close()
	out := make([]record, maxFeed)
	for position < last {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		n, lost, err := r.read(out, last)
		if err != nil {
			return 0, err
		}
		for _, rec := range out[:n] {
			if rec.time >= nano {
				return rec.position - 1, nil
			}
			position = rec.position
		}
		if lost.Len() > 0 {
			position = lost.Last
		}
		if n == 0 && lost.Len() == 0 {
			break
		}
	}
	return position, nil
}

func (l *log) rewind(name string, after uint64) error {
	if err := checkName(name); err != nil {
		return err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	if first := l.first(); after+1 < first || after > l.last {
		err := &notifications.PositionError{Position: after, First: first, Last: l.last}
		l.mu.Unlock()
		return err
	}
	p := l.named[name]
	if p == nil {
		p = new(place)
		l.named[name] = p
	}
	p.position = after
	if p.cursor != nil {
		p.cursor.move(after)
	}
	l.wake()
	l.mu.Unlock()
	return l.save(true)
}

// move has the cursor go on behind a position. The caller holds the lock.
func (c *cursor) move(after uint64) {
	unread := Span{c.next, c.log.last}.Len()
	c.next = after + 1
	if now := (Span{c.next, c.log.last}).Len(); now > unread {
		c.again += now - unread
	} else {
		c.drop(notifications.DroppedSkipped, unread-now)
	}
	c.moved()
	for i := range c.flights {
		c.flights[i].stale = true
	}
}
