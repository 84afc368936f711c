package journal

import (
	"errors"
	"io"
	"io/fs"
)

// record is what a reader returns. Its payload is a piece of more, which nobody changes.
type record struct {
	position uint64
	time     int64
	payload  []byte
}

// maxRead bounds what is read at once, in bytes, so that large records do not fill the
// memory of everybody who lags.
const maxRead = 4 << 20

// reader reads a log in order: what was just written from memory, and the rest from the
// segments, ahead. One goroutine uses it at a time.
type reader struct {
	log   *log
	next  uint64 // position to return next
	reuse bool   // nobody needs what was returned before

	// In memory: the batch that next is in, if known, and where.
	batch *batch
	at    int

	// On disk.
	seg   *segment
	until uint64   // first position of the segment behind it, or zero
	scan  *scanner // nil if the segment is gone
	end   int64    // how far it is known to go, which the scanner may find to be less
	held  frame    // read already, but to be returned later
	holds bool
}

// seek has the reader go on behind a position.
func (r *reader) seek(after uint64) {
	r.close()
	r.next, r.batch = after+1, nil
}

// close gives the file up. The reader can go on.
func (r *reader) close() {
	if r.scan != nil {
		_ = r.scan.file.Close()
	}
	r.seg, r.scan, r.holds = nil, nil, false
}

// read fills out with the records that come next, up to a last position, and returns how
// many these are. They stand in a row. Where there is none because some are lost, it
// returns which, and goes on behind them. Without both, there is nothing.
func (r *reader) read(out []record, last uint64) (n int, lost Span, err error) {
	if r.next > last {
		return 0, Span{}, nil
	}
	if n := r.readTail(out, last); n > 0 {
		r.close()
		return n, Span{}, nil
	}
	return r.readDisk(out, last)
}

func (r *reader) readTail(out []record, last uint64) (n int) {
	r.log.mu.Lock()
	batches := r.log.tail.from(r.next)
	r.log.mu.Unlock()

	bytes := 0
	for _, b := range batches {
		if b != r.batch {
			r.batch, r.at = b, 0
		}
		for ; r.at < len(b.buf) && n < len(out) && r.next <= last; r.at += frameSize(b.buf[r.at:]) {
			f := frameAt(b.buf[r.at:], frameSize(b.buf[r.at:]))
			if f.position < r.next {
				continue
			}
			if bytes += len(f.payload); bytes > maxRead && n > 0 {
				return n
			}
			out[n] = record{f.position, f.time, f.payload}
			n, r.next = n+1, r.next+1
		}
		if n == len(out) || r.next > last {
			break
		}
	}
	return n
}

func (r *reader) readDisk(out []record, last uint64) (n int, lost Span, err error) {
	if r.scan != nil && r.reuse {
		r.scan.recycle()
	} else if r.scan != nil {
		r.scan.keep()
	}
	bytes := 0
	for n < len(out) && r.next <= last {
		if r.scan != nil && !r.holds && bytes < maxRead && (r.until == 0 || r.next < r.until) {
			if rec, ok := r.scan.record(r.next); ok {
				out[n] = rec
				bytes += len(rec.payload)
				n, r.next = n+1, r.next+1
				continue
			}
		}
		f, ok, err := r.frame(last)
		if err != nil {
			if n > 0 {
				break // and it comes again
			}
			return 0, Span{}, err
		}
		if !ok || f.position > r.next {
			if ok {
				r.held, r.holds = f, true
			} else {
				f.position = last + 1
			}
			if n > 0 {
				break
			}
			lost = Span{r.next, min(last, f.position-1)}
			r.next = lost.Last + 1
			return 0, lost, nil
		}
		if bytes += len(f.payload); bytes > maxRead && n > 0 {
			r.held, r.holds = f, true
			break
		}
		out[n] = record{f.position, f.time, f.payload}
		n, r.next = n+1, r.next+1
	}
	return n, Span{}, nil
}

// frame returns the next record on disk that is not before r.next. ok is false if there
// is none up to a last position.
func (r *reader) frame(last uint64) (f frame, ok bool, err error) {
	if r.holds {
		r.holds = false
		if r.held.position >= r.next {
			return r.held, true, nil
		}
	}
	for position := r.next; position <= last; position = max(r.until, r.next, position+1) {
		for more := true; more; {
			if f, ok, err = r.scanOn(); ok || err != nil {
				return f, ok, err
			}
			if more, err = r.open(position); err != nil {
				return f, false, err
			}
		}
		if r.until == 0 {
			break
		}
	}
	return f, false, nil
}

// scanOn returns the next record of the segment that is open, as far as that is known.
func (r *reader) scanOn() (frame, bool, error) {
	for r.scan != nil {
		f, _, _, err := r.scan.next()
		switch {
		case errors.Is(err, io.EOF):
			return frame{}, false, nil
		case err != nil:
			return frame{}, false, err // and the next read tries again
		case r.until != 0 && f.position >= r.until:
			return frame{}, false, nil // never acknowledged: its place was given again
		case !f.isMark() && f.position >= r.next:
			return f, true, nil
		}
	}
	return frame{}, false, nil
}

// open opens the segment that has a position, or looks how far it goes now. It says
// whether there is more of it than was known.
func (r *reader) open(position uint64) (more bool, err error) {
	r.log.mu.Lock()
	seg, until := r.log.segmentOf(position)
	var end int64
	if seg != nil {
		end = seg.size
	}
	r.log.mu.Unlock()

	if seg != nil && seg == r.seg {
		r.until = until
		if r.scan == nil || end <= r.end {
			return false, nil
		}
		r.end, r.scan.end = end, end
		return true, nil
	}
	r.close()
	r.seg, r.until = seg, until
	if seg == nil {
		return false, nil
	}
	f, err := r.log.fs.Open(seg.path)
	if isGone(err) {
		return false, nil // as if all of it were damaged
	}
	if err != nil {
		r.seg = nil
		return false, err
	}
	r.end, r.scan = end, newScanner(r.log.readable(f, seg.path, r.log.tries), r.log.salt, end)
	return true, nil
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
