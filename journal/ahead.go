package journal

import "sync/atomic"

// ahead reads what comes next of a segment while its scanner is at work on what is in front
// of that: the copy out of the system's cache costs as much as the checksums do. It belongs
// to a scanner, but for its goroutine.
type ahead struct {
	log   *log
	file  file
	users atomic.Int32 // of the file: the last one closes it
	next  *piece       // being read, or to be used next; nil if there is none
}

// piece is a part of a segment behind some room, for what is left of the part in front.
type piece struct {
	at   int64
	buf  []byte
	read chan struct{} // closed when whole is final
	// whole says that all of the part is there. What failed is read again by who needs it,
	// who then has the error.
	whole bool
}

// frontRoom is how much fits in front of a piece, in bytes. What is left of the part in
// front is less than a frame; if that is larger, the piece is read again.
const frontRoom = 64 << 10

func newAhead(l *log, f file) *ahead {
	a := &ahead{log: l, file: f}
	a.users.Store(1)
	return a
}

// begin has a part be read into a buffer, unless the log is being closed.
func (a *ahead) begin(at int64, buf []byte) {
	if !a.log.begins() {
		return
	}
	p := &piece{at: at, buf: buf, read: make(chan struct{})}
	a.next = p
	a.users.Add(1)
	go func() {
		defer a.log.ended.Done()
		defer a.close()
		defer close(p.read)
		n, _ := a.file.ReadAt(p.buf[frontRoom:], at)
		p.whole = n == len(p.buf)-frontRoom
	}()
}

// take returns the piece that begins at an offset when it is read, or nil.
func (a *ahead) take(at int64) *piece {
	p := a.next
	a.next = nil
	if p == nil || p.at != at {
		return nil
	}
	if <-p.read; !p.whole {
		return nil
	}
	return p
}

// close closes the file when nobody reads it any more.
func (a *ahead) close() {
	if a.users.Add(-1) == 0 {
		_ = a.file.Close()
	}
}

// begins counts a goroutine that the log's end waits for, unless that has come.
func (l *log) begins() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.ended.Add(1)
	return true
}
