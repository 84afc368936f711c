package journal

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// Stats is what a journal holds, at one moment.
type Stats struct {
	First, Last uint64 // positions; Last is First-1 if there is nothing
	Segments    int
	Bytes       int64 // that the segments take on disk
	Cursors     map[string]CursorStats
	Damaged     uint64 // records that were found to be damaged since Open
	TornBytes   uint64 // that were cut off at Open
	Dropped     uint64 // records that a limit dropped from under a sink, since Open
	Failing     bool   // the cursors cannot be saved
}

// CursorStats is one sink's place.
type CursorStats struct {
	Position uint64 // everything up to it is settled
	Behind   uint64 // records behind it
	Open     bool   // the sink is in the hub
}

// Stat returns what the journal holds.
func (j *Journal) Stat() Stats { return j.log.stat() }

func (l *log) stat() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		First: l.first(), Last: l.last, Segments: len(l.segments), Cursors: make(map[string]CursorStats),
		Damaged: l.stats.damaged, TornBytes: l.stats.torn, Dropped: l.stats.dropped, Failing: l.saveErr != nil,
	}
	for _, seg := range l.segments {
		s.Bytes += seg.taken()
	}
	for name, p := range l.named {
		s.Cursors[name] = CursorStats{
			Position: p.position, Behind: Span{p.position + 1, l.last}.Len(), Open: p.cursor != nil,
		}
	}
	return s
}

// Report is what Verify has found.
type Report struct {
	First, Last uint64 // positions
	Segments    int
	Bytes       int64
	Records     uint64
	Damaged     []Span            // records that were acknowledged and cannot be read
	TornBytes   int64             // behind the end: never acknowledged
	Headers     []string          // segments whose header is damaged; their records are read all the same
	Cursors     map[string]uint64 // positions
	NoCursors   bool              // the cursors are damaged
}

// OK says that nothing is damaged. A torn tail is what every crash may leave.
func (r *Report) OK() bool {
	return len(r.Damaged) == 0 && len(r.Headers) == 0 && !r.NoCursors
}

// Inspect returns what a look at the headers, the cursors and the newest segment tells. It
// changes nothing and needs no lock.
func Inspect(dir string) (*Report, error) {
	r := new(Report)
	_, err := inspect(reading{}, dir, r)
	return r, err
}

// Verify reads all of a journal's log, and changes nothing. It needs no lock; of a
// journal that is in use, what is just being written may look torn. progress, if it is
// not nil, is called now and then with how many bytes were read, of how many.
func Verify(ctx context.Context, dir string, progress func(read, all int64)) (*Report, error) {
	r := new(Report)
	err := walk(ctx, reading{}, dir, r, progress, func(record) error { return nil })
	return r, err
}

// Cat calls f with each record of a journal, in order, and like Verify changes nothing.
// It ends at the first error of f's, and returns it.
func Cat(ctx context.Context, dir string, f func(notifications.Record) error) (*Report, error) {
	r := new(Report)
	err := walk(ctx, reading{}, dir, r, nil, func(rec record) error {
		decoded, err := decode(rec)
		if err != nil {
			r.Damaged = append(r.Damaged, Span{rec.position, rec.position})
			return nil
		}
		return f(decoded)
	})
	return r, err
}

// looking makes a log of what is in a directory, without touching it.
func looking(fs fileSystem, dir string) (*log, *placesJSON, bool, error) {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	l := &log{
		dir: dir, fs: fs, logger: logrus.NewEntry(logger), now: time.Now,
		named: make(map[string]*place), room: make(chan struct{}),
	}
	places, damaged, err := l.places.open(fs, dir)
	_ = l.places.close()
	if err == nil {
		err = l.listSegments(places)
	}
	return l, places, damaged, err
}

func walk(ctx context.Context, fs fileSystem, dir string, r *Report, progress func(read, all int64), f func(record) error) error {
	l, err := inspect(fs, dir, r)
	if err != nil {
		return err
	}
	return l.readAll(ctx, r, progress, f)
}

func inspect(fs fileSystem, dir string, r *Report) (*log, error) {
	l, places, damaged, err := looking(fs, dir)
	if err != nil {
		return nil, prefixed(err)
	}
	if len(l.segments) == 0 && l.places.files == [2]file{} {
		return nil, fmt.Errorf("journal: %s: there is no journal", dir)
	}
	if r.NoCursors = damaged; places != nil {
		r.Cursors, r.NoCursors = places.Places, places.Lost
	}
	for i, seg := range l.segments {
		r.Bytes += seg.size
		if i+1 < len(l.segments) {
			continue
		}
		end, err := l.look(seg)
		if err != nil {
			return nil, prefixed(err)
		}
		l.last, r.TornBytes = end.last, end.torn
		seg.size = end.end
	}
	r.Segments, r.First, r.Last = len(l.segments), l.first(), l.last
	for _, seg := range l.segments {
		if seg.damaged {
			r.Headers = append(r.Headers, seg.path)
		}
	}
	return l, nil
}

// look is recover without the cut.
func (l *log) look(seg *segment) (ending, error) {
	f, err := l.fs.Open(seg.path)
	if err != nil {
		return ending{}, err
	}
	defer f.Close()
	return findEnd(l.readable(f, seg.path, 0), l.salt, seg.size, seg.first)
}

func (l *log) readAll(ctx context.Context, r *Report, progress func(read, all int64), f func(record) error) error {
	reader := l.readerAt(r.First - 1)
	reader.reuse = true
	defer reader.close()
	out := make([]record, maxFeed)
	var read int64
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, lost, err := reader.read(out, l.last)
		if err != nil {
			return prefixed(err)
		}
		if lost.Len() > 0 {
			r.Damaged = append(r.Damaged, lost)
		}
		for _, rec := range out[:n] {
			r.Records++
			read += int64(frameHead + len(rec.payload))
			if err := f(rec); err != nil {
				return err
			}
		}
		if progress != nil {
			progress(read, r.Bytes)
		}
		if n == 0 && lost.Len() == 0 {
			return nil
		}
	}
}
