package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// readAhead is how much of a segment is read at once, in bytes.
const readAhead = 256 << 10

// scanner goes through the frames of a segment in order. What is no frame, it steps
// over to the next one.
type scanner struct {
	file file
	salt uint32
	end  int64 // where to stop

	at  int64  // where the frame that comes next begins
	buf []byte // what was read there

	used, free [][]byte // buffers
	lent       int      // of used, from the front, that frames were returned from
}

func newScanner(f file, salt uint32, end int64) *scanner {
	return &scanner{file: f, salt: salt, end: end, at: segmentHead}
}

// record returns the next frame if it is whole, in the buffer, and the record that has a
// position: what next would return, in less time.
func (s *scanner) record(position uint64) (r record, ok bool) {
	b := s.buf
	if len(b) < frameHead || !bytes.Equal(b[:4], marker) || binary.LittleEndian.Uint64(b[24:]) != position {
		return r, false
	}
	size := frameSize(b)
	if size > len(b) || size <= frameHead || s.at+int64(size) > s.end || !isWhole(b, size, s.salt) {
		return r, false
	}
	s.skip(size)
	s.lent = len(s.used)
	return record{position, int64(binary.LittleEndian.Uint64(b[32:])), b[frameHead:size:size]}, true
}

// next returns the next whole frame and where it is. gap is where something begins that
// stands before it and is none, or the frame's own place. At the end it returns
// io.EOF, and gap where the last whole frame ends. Nothing of a frame is overwritten
// before recycle.
func (s *scanner) next() (f frame, at, gap int64, err error) {
	gap = s.at
	for {
		f, size, err := parseFrame(s.buf, s.salt)
		switch {
		case err == nil && s.at+int64(size) <= s.end:
			at = s.at
			s.skip(size)
			s.lent = len(s.used)
			return f, at, gap, nil
		case errors.Is(err, errShort) && s.at+int64(size) <= s.end:
			more, err := s.fill(size)
			if err != nil {
				return frame{}, 0, gap, err
			}
			if more {
				continue
			}
		}
		if s.at >= s.end {
			return frame{}, 0, gap, io.EOF
		}
		if err := s.resync(); err != nil {
			return frame{}, 0, gap, err
		}
	}
}

func (s *scanner) skip(n int) {
	s.at += int64(n)
	s.buf = s.buf[n:]
}

// fill has at least size bytes in the buffer, if there are as many.
func (s *scanner) fill(size int) (more bool, err error) {
	had := len(s.buf)
	buf := s.buffer(int(min(int64(max(size, readAhead)), s.end-s.at)))
	n := copy(buf, s.buf)
	for len(s.used)-1 > s.lent { // nobody has anything of it
		s.free = append(s.free, s.used[s.lent])
		s.used = slices.Delete(s.used, s.lent, s.lent+1)
	}
	m, err := s.file.ReadAt(buf[n:], s.at+int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	s.buf = buf[:n+m]
	if errors.Is(err, io.EOF) {
		s.end = min(s.end, s.at+int64(n+m)) // the file is shorter than it should be
	}
	return len(s.buf) > had, nil
}

// buffer returns one that nobody uses.
func (s *scanner) buffer(size int) []byte {
	var b []byte
	if n := len(s.free); n > 0 && cap(s.free[n-1]) >= size {
		b, s.free = s.free[n-1], s.free[:n-1]
	} else {
		b = make([]byte, size)
	}
	s.used = append(s.used, b)
	return b[:size]
}

// recycle says that no frame that was returned is needed any more.
func (s *scanner) recycle() {
	for len(s.used) > 1 { // the last is being read
		s.free = append(s.free, s.used[0][:cap(s.used[0])])
		s.used = slices.Delete(s.used, 0, 1)
	}
	s.lent = len(s.used)
}

// trim is recycle for who may not go on soon: some of the buffers are given back.
func (s *scanner) trim() {
	s.recycle()
	clear(s.free[min(len(s.free), spare):])
	s.free = s.free[:min(len(s.free), spare)]
}

// spare is how many buffers are kept then.
const spare = 4

// keep says that all of them are.
func (s *scanner) keep() { s.used, s.free, s.lent = s.used[:0], nil, 0 }

// resync goes on to the next place where a frame may begin.
func (s *scanner) resync() error {
	if len(s.buf) == 0 {
		if _, err := s.fill(frameHead); err != nil || len(s.buf) == 0 {
			s.at = max(s.at, s.end)
			return err
		}
	} else {
		s.skip(1)
	}
	for {
		if i := bytes.IndexByte(s.buf, marker[0]); i >= 0 {
			s.skip(i)
			return nil
		}
		s.skip(len(s.buf))
		if s.at >= s.end {
			return nil
		}
		if _, err := s.fill(frameHead); err != nil {
			return err
		}
		if len(s.buf) == 0 {
			s.at = s.end
			return nil
		}
	}
}
