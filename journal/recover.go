package journal

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
)

// openLog opens the log in a directory that is locked already. It reads the headers of
// the segments and the newest segment, whose end a crash may have torn; never all.
func openLog(dir string, fs fileSystem, config Config) (_ *log, err error) {
	l := &log{
		dir: dir, fs: fs, config: config, logger: config.Logger.WithField("journal", dir), now: time.Now, tries: readTries,
		kick: make(chan struct{}, 1), dirty: make(chan struct{}, 1), quit: make(chan struct{}),
		named: make(map[string]*place), room: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			_ = l.places.close()
		}
	}()
	places, damaged, err := l.places.open(fs, dir)
	if err != nil {
		return nil, err
	}
	if err := l.openSegments(places); err != nil {
		return nil, err
	}
	if err := l.openPlaces(places, damaged); err != nil {
		return nil, err
	}
	l.synced = l.last
	l.trim(true)
	l.ended.Add(2)
	go l.commit()
	go l.keepSaving()
	return l, nil
}

func (l *log) openSegments(places *placesJSON) error {
	l.salt = rand.Uint32()
	if err := l.listSegments(places); err != nil || len(l.segments) == 0 {
		return err
	}
	return l.recover(l.segments[len(l.segments)-1])
}

// listSegments finds the segments that there are, and reads their headers. The salt is
// what the places say, or else what most segments have; what has another was put there
// from another journal, and is left alone.
func (l *log) listSegments(places *placesJSON) error {
	names, err := l.fs.Names(l.dir)
	if err != nil {
		return err
	}
	if places != nil {
		l.salt = places.Salt
	} else {
		l.salt = commonSalt(names, l.salt)
	}
	for _, name := range names {
		first, salt, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		if salt != l.salt {
			l.logger.WithField("segment", name).Error("journal: a segment of another journal is in the directory, and left alone")
			continue
		}
		seg := &segment{path: filepath.Join(l.dir, name), first: first}
		if err := l.openSegment(seg); err != nil {
			return err
		}
		seg.begun = earlier(seg.created, l.now())
		l.segments = append(l.segments, seg)
	}
	return nil
}

// commonSalt returns the salt of most segments, or another if there is none.
func commonSalt(names []string, or uint32) uint32 {
	count := make(map[uint32]int)
	for _, name := range names {
		if _, salt, ok := parseSegmentName(name); ok {
			if count[salt]++; count[salt] > count[or] {
				or = salt
			}
		}
	}
	return or
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// openSegment reads a segment's header.
func (l *log) openSegment(seg *segment) error {
	f, err := l.fs.Open(seg.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if seg.size, err = f.Size(); err != nil {
		return err
	}
	head := make([]byte, segmentHead)
	n, _ := f.ReadAt(head, 0) // what cannot be read is as good as damaged
	created, ok, err := parseSegmentHead(head[:n], seg.path, l.salt)
	if err != nil {
		return err
	}
	seg.created = created
	if !ok {
		// It may be a segment that a crash left unfinished. All that it would say is in
		// its name.
		seg.damaged = true
		seg.created = time.Unix(0, 0)
		if n := len(l.segments); n > 0 {
			seg.created = l.segments[n-1].created
		}
		l.logger.WithField("segment", seg.path).Warn("journal: a segment's header is damaged; its records are read all the same")
	}
	return nil
}

// recover finds the end of the newest segment, and cuts off what a crash has left behind
// it.
func (l *log) recover(seg *segment) error {
	l.last = seg.first - 1
	f, err := l.fs.Open(seg.path)
	if err != nil {
		return err
	}
	defer f.Close()
	found, err := findEnd(l.readable(f, seg.path, 0), l.salt, seg.size, seg.first)
	if err != nil {
		return err
	}
	l.last = found.last
	l.clock = max(found.time, seg.created.UnixNano())
	if n := len(l.segments); found.last < seg.first && n > 1 {
		// Times grow, and there is none in here.
		before, err := l.look(l.segments[n-2])
		if err != nil {
			return err
		}
		l.clock = max(l.clock, before.time)
	}
	seg.newest = earlier(time.Unix(0, l.clock), l.now())
	if found.end < seg.size {
		if seg.size, err = cut(f, found, l.salt); err != nil {
			return fmt.Errorf("journal: cutting off a torn tail: %w", err)
		}
	}
	// A process that was killed may have left what only the system's memory has. From here
	// on it counts as acknowledged.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	if l.stats.torn = uint64(found.torn); found.torn > 0 {
		l.logger.WithFields(logrus.Fields{"segment": seg.path, "bytes": found.torn}).
			Warn("journal: a torn tail was cut off: what was being written when the last run ended, and never acknowledged")
	}
	return nil
}

// cut ends a segment behind what is kept, with a mark: if the last of that is damaged,
// nothing else says how far it went.
func cut(f file, found ending, salt uint32) (size int64, err error) {
	if err := f.Truncate(found.end); err != nil {
		return 0, err
	}
	// What a process that was killed has left has to be on disk before something says that
	// it was acknowledged.
	if err := f.Sync(); err != nil {
		return 0, err
	}
	size = found.end
	mark := appendMark(nil, salt, found.last+1, found.time)
	if n, err := f.WriteAt(mark, size); err == nil && n == len(mark) {
		size += int64(n)
	} // a full disk does not keep a journal from being opened
	return size, nil
}

// ending is where the newest segment ends.
type ending struct {
	end  int64  // of the file, in bytes
	torn int64  // bytes behind it that are not empty
	last uint64 // position
	time int64  // of the newest record
}

// findEnd goes through a segment. Everything up to the last position that a whole frame
// says was acknowledged is kept, damaged or not: a reader will say what is missing.
// Behind it, the first thing that is not whole ends the log, be it a frame or a block.
func findEnd(f file, salt uint32, size int64, first uint64) (e ending, err error) {
	var acknowledged uint64
	var whole int64 // where the last whole frame ends
	s := newScanner(f, salt, size)
	for {
		frame, _, _, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return e, err
		}
		if frame.position >= first {
			acknowledged = max(acknowledged, frame.acknowledged())
		}
		whole = s.at
		s.recycle()
	}

	e = ending{end: segmentHead, last: first - 1}
	expected := first
	var block struct { // the one that is not known to be whole yet
		end  int64
		next uint32
		on   bool
	}
	s = newScanner(f, salt, size)
	keep := func(last uint64, end, time int64) { e.last, e.end, e.time = last, end, max(e.time, time) }
	for {
		frame, at, _, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return e, err
		}
		s.recycle()
		switch {
		case frame.position < first:
			continue // of another segment
		case frame.isMark():
			if frame.position >= expected && !block.on {
				keep(frame.position-1, s.at, frame.time)
				expected = frame.position
			}
			continue
		case frame.position <= acknowledged:
			keep(frame.position, s.at, frame.time)
			expected, block.on = frame.position+1, false
			continue
		}
		if e.last < acknowledged {
			// The last that were acknowledged are damaged, and what follows is not: the
			// reader will say so.
			e.last, e.end, expected = acknowledged, at, acknowledged+1
		}
		if frame.position != expected || frame.index > 0 && (!block.on || frame.index != block.next) || frame.index == 0 && block.on {
			break
		}
		expected++
		block.on, block.next = frame.rest > 0, frame.index+1
		if frame.rest == 0 {
			keep(frame.position, s.at, frame.time)
		}
	}
	if e.last < acknowledged {
		e.last = acknowledged // all that is missing at the end was acknowledged
	}
	whole = max(whole, e.end)
	more, err := dirty(f, whole, size)
	e.torn = whole - e.end + more
	return e, err
}

// dirty returns how many bytes there are from a place on, up to the last that is no
// zero.
func dirty(f file, from, size int64) (n int64, err error) {
	b := make([]byte, min(readAhead, max(size-from, 0)))
	for at := from; at < size; {
		m, err := f.ReadAt(b[:min(int64(len(b)), size-at)], at)
		for i := m - 1; i >= 0; i-- {
			if b[i] != 0 {
				n = at + int64(i) + 1 - from
				break
			}
		}
		at += int64(m)
		if err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if m == 0 {
			break
		}
	}
	return n, nil
}

func (l *log) openPlaces(places *placesJSON, damaged bool) error {
	// The files are made before any segment is.
	gone := l.places.files == [2]file{} && len(l.segments) > 0
	if damaged || gone || places != nil && places.Lost {
		l.keepAll = true
		l.logger.Error("journal: the cursors are damaged; a sink whose place is lost begins with the oldest record, and nothing is removed until the journal has been closed")
	}
	if places == nil {
		return l.places.make(l.dir)
	}
	for name, position := range places.Places {
		l.named[name] = &place{position: position, saved: position}
		// Where syncs are put off, a power cut can take records that were delivered. No
		// position is given twice that a cursor is past.
		l.last = max(l.last, position)
	}
	// The one that is written next is the other one.
	if err := l.places.files[l.places.number%2].Sync(); err != nil {
		return err
	}
	return l.places.make(l.dir)
}

// shut stops intake: from here on each cursor is at its end.
func (l *log) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake()
	l.roomAgain()
}

// close ends a log that was shut: what was accepted is written, and the places are.
func (l *log) close() error {
	l.shut()
	close(l.quit)
	l.ended.Wait()
	l.mu.Lock()
	l.keepAll = l.keepAll && len(l.named) == 0
	l.finished = true
	l.closeReaders(true)
	l.mu.Unlock()
	err := l.save(true)
	l.saving.Lock()
	defer l.saving.Unlock()
	l.over = true
	return errors.Join(err, l.places.close())
}
