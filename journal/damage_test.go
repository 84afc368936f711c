package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

var long = flag.Bool("long", false, "look longer: larger logs, more places, more crashes")

// specimen is a log that was closed cleanly, and what is in it.
type specimen struct {
	image    image
	segments []string // paths, oldest first
	config   Config
	records  []record // by position-1
	blocks   []Span   // by position-1: the block that the record is in
	frames   map[string][]framePlace
}

// framePlace is where a frame is in its segment. A mark has the position zero.
type framePlace struct {
	position uint64
	at, end  int64
}

// newSpecimen writes a log of small records: blocks of 1 to 4, batches of 1 to 3 blocks,
// and a few segments.
func newSpecimen(t *testing.T, records int) *specimen {
	t.Helper()
	fs := newFaultFS(newMemFS())
	s := &specimen{config: logConfig(t), frames: make(map[string][]framePlace)}
	l, err := openLog(memDir, fs, s.config)
	require.NoError(t, err)

	appendBlock := func(n int) {
		first := uint64(len(s.records) + 1)
		for i := range n {
			s.records = append(s.records, record{position: first + uint64(i), payload: specimenPayload(len(s.records) + 1)})
			s.blocks = append(s.blocks, Span{first, first + uint64(n) - 1})
		}
		payloads := s.records[first-1:]
		err := l.append(t.Context(), n, func(i int, b []byte) ([]byte, error) { return append(b, payloads[i].payload...), nil })
		assert.NoError(t, err)
	}
	for batch := 0; len(s.records) < records; batch++ {
		// While the first block is on its way to the disk, the others come to be one batch.
		waiting, release := fs.hold("WriteAt")
		var wg sync.WaitGroup
		wg.Go(func() { appendBlock(1 + batch%4) })
		<-waiting // it may be the saver that does
		sinktest.Eventually(t, func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.busy > 0
		}, "the first block is on its way")
		for block := range batch % 4 {
			was := l.openRecords()
			wg.Go(func() { appendBlock(1 + (batch+block)%4) })
			sinktest.Eventually(t, func() bool { return l.openRecords() > was }, "a block is waiting")
		}
		release()
		wg.Wait()
	}
	require.NoError(t, l.close())

	s.image = fs.fileSystem.(*memFS).image()
	for i := range 2 { // most of these is empty, and takes time
		path := placePath(memDir, i)
		s.image[path] = s.image[path][:min(1<<10, len(s.image[path]))]
	}
	s.segments = s.image.segments()
	require.Greater(t, len(s.segments), 2)
	s.findFrames(t)
	return s
}

// logConfig is a configuration for a log of small segments, whose size no Config allows.
func logConfig(t *testing.T) Config {
	t.Helper()
	config := Config{Retain: time.Hour, Logger: silent()}
	require.NoError(t, config.setDefaults())
	config.SegmentBytes = 3 << 10
	return config
}

// specimenPayload returns what is not easily mistaken for another, of different sizes.
// Some look like frames.
func specimenPayload(position int) []byte {
	payload := []byte(fmt.Sprintf("record %d %s", position, strings.Repeat("x", position*7%23)))
	switch position % 10 {
	case 3:
		payload = append(payload, marker...)
	case 6:
		foreign, _ := appendFrame(nil, 0, 0, func(b []byte) ([]byte, error) { return append(b, "foreign"...), nil })
		number(foreign, 1, uint64(position)+1, uint64(position), 1)
		payload = append(payload, foreign...)
	case 9:
		payload = append(payload, make([]byte, 5)...)
	}
	return payload
}

func (l *log) openRecords() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		return 0
	}
	return l.open.records
}

// findFrames has the specimen know where its frames are, and their times.
func (s *specimen) findFrames(t *testing.T) {
	t.Helper()
	next := uint64(1)
	for i, path := range s.segments {
		data := s.image[path]
		_, salt, _ := parseSegmentName(filepath.Base(path))
		for at := int64(segmentHead); at < int64(len(data)); {
			f, size, err := parseFrame(data[at:], salt)
			require.NoError(t, err)
			place := framePlace{f.position, at, at + int64(size)}
			if f.isMark() {
				require.Equal(t, len(s.segments)-1, i, "a mark in the middle")
				place.position = 0
			} else {
				require.Equal(t, next, f.position)
				s.records[next-1].time = f.time
				next++
			}
			s.frames[path] = append(s.frames[path], place)
			at = place.end
		}
	}
	require.EqualValues(t, len(s.records), next-1)
}

// at returns the frame that has a byte of a segment, or false if that is in the header.
func (s *specimen) at(path string, offset int64) (framePlace, bool) {
	for _, f := range s.frames[path] {
		if f.at <= offset && offset < f.end {
			return f, true
		}
	}
	return framePlace{}, false
}

// found is what comes out of a log.
type found struct {
	records []record
	lost    []Span
	stats   counts
	lines   []*logrus.Entry
}

// read opens the log on a file system, reads all of it, and closes it.
func (s *specimen) read(fs fileSystem) (f found, err error) {
	logger, hook := logrustest.NewNullLogger()
	config := s.config
	config.Logger = logrus.NewEntry(logger)
	l, err := openLog(memDir, fs, config)
	if err != nil {
		return f, err
	}
	f, err = foundIn(l)
	err = errors.Join(err, l.close())
	f.lines = hook.AllEntries()
	return f, err
}

// foundIn reads all of a log as Read does.
func foundIn(l *log) (f found, err error) {
	l.mu.Lock()
	first, last := l.first(), l.last
	l.mu.Unlock()
	r := l.readerAt(first - 1)
	defer r.close()
	out := make([]record, 100)
	for {
		n, lost, err := r.read(out, last)
		if err != nil {
			return f, err
		}
		if n == 0 && lost.Len() == 0 {
			break
		}
		l.report(lost)
		f.records = append(f.records, out[:n]...)
		if lost.Len() > 0 {
			f.lost = append(f.lost, lost)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f.stats = l.stats
	return f, nil
}

// appendTo appends a record to the log on a file system, and returns its position.
func (s *specimen) appendTo(fs fileSystem, payload string) (position uint64, err error) {
	l, err := openLog(memDir, fs, s.config)
	if err != nil {
		return 0, err
	}
	position, err = l.appendOne(context.Background(), []byte(payload))
	return position, errors.Join(err, l.close())
}

// each runs a test with each of n numbers, on all processors, until one fails.
func each(t *testing.T, n int, test func(i int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !t.Failed(); i = int(next.Add(1)) - 1 {
				test(i)
			}
		})
	}
	wg.Wait()
}

// compare says what is wrong with what came out, if these spans are to be missing, and
// how many other records are missing too.
func (s *specimen) compare(f found, last uint64, missing ...Span) (wrong string, others int) {
	is := make(map[uint64]record, len(f.records))
	before := uint64(0)
	for _, r := range f.records {
		if r.position <= before {
			return fmt.Sprintf("record %d comes behind %d", r.position, before), 0
		}
		before = r.position
		is[r.position] = r
	}
	for _, want := range s.records[:last] {
		r, there := is[want.position]
		lost := slices.ContainsFunc(missing, func(m Span) bool { return m.First <= want.position && want.position <= m.Last })
		switch {
		case there && (!bytes.Equal(r.payload, want.payload) || r.time != want.time):
			return fmt.Sprintf("record %d is not what was written: %q", r.position, r.payload), others
		case there && lost:
			return fmt.Sprintf("record %d is there", r.position), others
		case !there && !lost:
			others++
		}
	}
	switch {
	case others > 0:
		wrong = fmt.Sprintf("%d other records are missing", others)
	case before > last:
		wrong = fmt.Sprintf("record %d is there", before)
	case !slices.Equal(f.lost, missing):
		wrong = fmt.Sprintf("reported as lost are %v", f.lost)
	default:
		var n uint64
		for _, m := range missing {
			n += m.Len()
			if !logged(f.lines, m) {
				wrong = fmt.Sprintf("nothing in the log of %v", m)
			}
		}
		if f.stats.damaged != n {
			wrong = fmt.Sprintf("%d records count as damaged", f.stats.damaged)
		}
	}
	return wrong, others
}

func logged(lines []*logrus.Entry, s Span) bool {
	return slices.ContainsFunc(lines, func(e *logrus.Entry) bool {
		return e.Level == logrus.ErrorLevel && e.Data["positions"] == s.String()
	})
}

// specimenSize is how many records the log has of which each byte is damaged in turn.
func specimenSize() int {
	if *long {
		return 500
	}
	return 100
}

// TestEveryCut cuts the newest segment at every byte: what is whole before the cut stays,
// of a block all or nothing, and what is cut off is counted.
func TestEveryCut(t *testing.T) {
	s := newSpecimen(t, specimenSize())
	path := s.segments[len(s.segments)-1]
	data := s.image[path]
	var others atomic.Int64
	each(t, len(data)+1, func(cut int) {
		// The last record of a block that is whole, and where that ends.
		last, end := s.frames[path][0].position-1, int64(segmentHead)
		for _, f := range s.frames[path] {
			if f.end <= int64(cut) && (f.position == 0 || f.position == s.blocks[f.position-1].Last) {
				last, end = max(last, f.position), f.end
			}
		}
		var torn int
		if end < int64(cut) {
			torn = len(bytes.TrimRight(data[end:cut], "\x00"))
		}
		for _, f := range s.frames[path] {
			if f.end <= int64(cut) {
				torn = max(torn, int(f.end-end)) // zeros in a frame are its own
			}
		}
		fs := s.image.with(path, data[:cut:cut]).fs()
		f, err := s.read(fs)
		assert.NoError(t, err, "cut at %d", cut)
		wrong, n := s.compare(f, last)
		others.Add(int64(n))
		assert.Empty(t, wrong, "cut at %d: want the records up to %d", cut, last)
		assert.EqualValues(t, torn, f.stats.torn, "cut at %d, %d is the end: torn bytes", cut, end)

		if cut%5 > 0 && !*long {
			return
		}
		// At the next start there is no tail any more, and the log goes on.
		position, err := s.appendTo(fs, "one more")
		assert.NoError(t, err)
		assert.Equal(t, last+1, position)
		f, err = s.read(fs)
		assert.NoError(t, err)
		assert.Zero(t, f.stats, "cut at %d, a later start", cut)
		if assert.Len(t, f.records, int(last)+1) {
			assert.Equal(t, "one more", string(f.records[last].payload))
		}
	})
	t.Logf("%d records: %d cuts, %d records lost that were whole", len(s.records), len(data)+1, others.Load())
}

// TestEveryFlip turns one bit in each byte: the record that has it is lost, and reported,
// and nothing else.
func TestEveryFlip(t *testing.T) {
	s := newSpecimen(t, specimenSize())
	var flips, lost int
	var others atomic.Int64
	for _, path := range s.segments {
		newest := path == s.segments[len(s.segments)-1]
		each(t, len(s.image[path]), func(offset int) {
			data := slices.Clone(s.image[path])
			data[offset] ^= 1 << (offset % 8)
			fs := s.image.with(path, data).fs()
			var missing []Span
			mark := false
			if hit, ok := s.at(path, int64(offset)); ok && hit.position > 0 {
				missing = []Span{{hit.position, hit.position}}
			} else {
				mark = ok
			}
			for start := range 2 {
				f, err := s.read(fs)
				assert.NoError(t, err)
				wrong, n := s.compare(f, uint64(len(s.records)), missing...)
				others.Add(int64(n))
				assert.Empty(t, wrong, "%s: byte %d, start %d: want all but %v", path, offset, start, missing)
				assert.True(t, f.stats.torn == 0 || mark, "%s: byte %d, start %d: what was acknowledged counts as torn", path, offset, start)
				if !newest {
					break // it is only read
				}
			}
		})
		flips += len(s.image[path])
		for _, f := range s.frames[path] {
			if f.position > 0 {
				lost += int(f.end - f.at)
			}
		}
	}
	t.Logf("%d records: %d flips, in %d of them a record lost and reported, %d others lost", len(s.records), flips, lost, others.Load())
}

// TestZeroedSectors: a sector that came back empty costs the records that it had, and
// these are reported.
func TestZeroedSectors(t *testing.T) {
	s := newSpecimen(t, 250)
	var sectors, lost int
	for _, path := range s.segments {
		for from := 0; from < len(s.image[path]); from += sector {
			data := slices.Clone(s.image[path])
			to := min(from+sector, len(data))
			if path == s.segments[len(s.segments)-1] && to == len(data) {
				break // with the mark all that says that these were acknowledged
			}
			clear(data[from:to])
			f, err := s.read(s.image.with(path, data).fs())
			require.NoError(t, err)
			var missing []Span
			for _, place := range s.frames[path] {
				switch {
				case place.end <= int64(from) || int64(to) <= place.at:
				case missing == nil:
					missing = []Span{{place.position, place.position}}
				default:
					missing[0].Last = place.position
				}
			}
			wrong, _ := s.compare(f, uint64(len(s.records)), missing...)
			require.Empty(t, wrong, "%s: sector at %d: want all but %v", path, from, missing)
			sectors, lost = sectors+1, lost+int(f.stats.damaged)
		}
	}
	t.Logf("%d sectors, %d records lost and reported", sectors, lost)
}

// TestEveryDamageInEvents is the same through the front door, with real events, here and
// there.
func TestEveryDamageInEvents(t *testing.T) {
	stride := 293
	if *long {
		stride = 11
	}
	fs := newMemFS()
	config := small()
	config.Retain = time.Hour
	j := openJournalOn(t, fs, config)
	events := sinktest.Events("damage", 300)
	for i := 0; i < len(events); i += 3 {
		require.NoError(t, j.Write(t.Context(), events[i:i+3]...))
	}
	require.NoError(t, j.Close(t.Context()))
	img := fs.image()
	want := sinktest.IDs(events)

	open := func(t *testing.T, img image) (*Journal, *logrustest.Hook) {
		logger, hook := logrustest.NewNullLogger()
		config := config
		config.Logger, config.Hub.DeadLetters = logrus.NewEntry(logger), noLetters{}
		j, err := openOn(img.fs(), memDir, config)
		require.NoError(t, err)
		return j, hook
	}
	// read returns the IDs of all events, and the positions that are missing.
	read := func(t *testing.T, j *Journal) (ids []string, gaps []uint64) {
		for after := uint64(0); ; {
			records, err := j.Read(t.Context(), after, 0)
			require.NoError(t, err)
			if len(records) == 0 {
				for after++; after <= j.Stat().Last; after++ {
					gaps = append(gaps, after)
				}
				return ids, gaps
			}
			for _, r := range records {
				for after++; after < r.Position; after++ {
					gaps = append(gaps, after)
				}
				require.Equal(t, want[r.Position-1], r.Event.ID)
				require.Equal(t, events[r.Position-1].Target.Tag, r.Event.Target.Tag)
				ids = append(ids, r.Event.ID)
			}
		}
	}
	var cuts, flips, lost int
	for _, path := range img.segments() {
		for at := 0; at < len(img[path]); at += stride {
			data := slices.Clone(img[path])
			data[at] ^= 1 << (at % 8)
			j, hook := open(t, img.with(path, data))
			ids, gaps := read(t, j)
			require.LessOrEqual(t, len(gaps), 1, "byte %d", at)
			require.Len(t, ids, len(want)-len(gaps), "byte %d", at)
			require.EqualValues(t, len(gaps), j.Stat().Damaged)
			for _, gap := range gaps {
				require.True(t, logged(hook.AllEntries(), Span{gap, gap}))
			}
			require.NoError(t, j.Close(t.Context()))
			flips, lost = flips+1, lost+len(gaps)
		}
	}
	newest := img.segments()[len(img.segments())-1]
	for cut := len(img[newest]) - 1; cut > 0; cut -= stride {
		j, _ := open(t, img.with(newest, img[newest][:cut:cut]))
		ids, gaps := read(t, j)
		require.Empty(t, gaps)
		require.Equal(t, want[:len(ids)], ids)
		require.Zero(t, len(ids)%3, "cut at %d: half a block", cut)
		require.Zero(t, j.Stat().Damaged)
		require.NoError(t, j.Close(t.Context()))
		cuts++
	}
	assert.NotZero(t, lost)
	t.Logf("%d cuts, %d flips, %d events lost and reported", cuts, flips, lost)
}

// noLetters are dead letters that nobody writes.
type noLetters struct{}

func (noLetters) Put(context.Context, notifications.DeadLetter) error { return nil }

// TestDamagedPlaces: of the two files of places, one may be damaged. Then the sinks are
// one save behind, at most.
func TestDamagedPlaces(t *testing.T) {
	s := newSpecimen(t, 120)
	s.image = s.withPlaces(t)
	truth := make([]map[string]uint64, 2)
	used := make([]int, 2)
	var good int
	var highest uint64
	for i := range truth {
		data := s.image[placePath(memDir, i)]
		number, places, err := parsePlaces(data, "")
		require.NoError(t, err)
		truth[i], used[i] = places.Places, placeHead+int(binary.LittleEndian.Uint32(data[24:]))
		if number > highest {
			good, highest = i, number
		}
	}
	// One save is between them.
	require.Equal(t, map[string]uint64{"a": 60, "b": 20}, truth[good])
	require.Equal(t, map[string]uint64{"a": 50, "b": 20}, truth[1-good])

	for i := range truth {
		path := placePath(memDir, i)
		for at := range s.image[path] {
			data := slices.Clone(s.image[path])
			data[at] ^= 1 << (at % 8)
			want := truth[good]
			if i == good && at < used[i] {
				want = truth[1-good]
			}
			require.Equal(t, want, s.placesOf(t, s.image.with(path, data)), "%s: byte %d", path, at)
		}
		for cut := range used[i] {
			img := s.image.with(path, s.image[path][:cut:cut])
			want := truth[good]
			if i == good {
				want = truth[1-good]
			}
			require.Equal(t, want, s.placesOf(t, img), "%s: cut at %d", path, cut)
		}
	}
	t.Logf("%d bytes", len(s.image[placePath(memDir, 0)])+len(s.image[placePath(memDir, 1)]))
}

// withPlaces returns an image in which two sinks have places, and all their segments.
func (s *specimen) withPlaces(t *testing.T) image {
	t.Helper()
	fs := s.image.fs()
	l, err := openLog(memDir, fs, s.config)
	require.NoError(t, err)
	for _, to := range []map[string]uint64{{"a": 0, "b": 0}, {"a": 50, "b": 20}, {"a": 60, "b": 20}} {
		l.mu.Lock()
		for name, position := range to {
			l.named[name] = &place{position: position}
		}
		l.mu.Unlock()
		require.NoError(t, l.save(false))
	}
	img := fs.image() // as a crash would leave it
	require.NoError(t, l.close())
	return img
}

// placesOf returns where the sinks are when a log is opened.
func (s *specimen) placesOf(t *testing.T, img image) map[string]uint64 {
	t.Helper()
	l, err := openLog(memDir, img.fs(), s.config)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.close()) }()
	places := make(map[string]uint64)
	for name, c := range l.stat().Cursors {
		places[name] = c.Position
	}
	return places
}

// TestPlacesLost: without any places every sink begins with the oldest record, and nothing
// is removed until the next start.
func TestPlacesLost(t *testing.T) {
	s := newSpecimen(t, 120)
	s.image = s.withPlaces(t)
	s.config.Retain = 0
	img := maps.Clone(s.image)
	for i := range 2 {
		path := placePath(memDir, i)
		img[path] = slices.Clone(img[path])
		img[path][30+i] ^= 4
	}
	fs := img.fs()
	logger, hook := logrustest.NewNullLogger()
	config := s.config
	config.Logger = logrus.NewEntry(logger)
	l, err := openLog(memDir, fs, config)
	require.NoError(t, err)
	assert.Equal(t, logrus.ErrorLevel, hook.LastEntry().Level)
	for _, name := range []string{"a", "b"} {
		c, err := l.cursor(name)
		require.NoError(t, err)
		block := make([][]byte, 1024)
		got := 0
		for got < len(s.records) {
			n, err := c.NextEncoded(t.Context(), block, false)
			require.NoError(t, err)
			for i := range n {
				require.Equal(t, s.records[got+i].payload, block[i])
			}
			got += n
			c.Settle(n)
		}
	}
	require.NoError(t, l.save(false))
	assert.Len(t, fs.image().segments(), len(s.segments))
	require.NoError(t, l.close())

	l, err = openLog(memDir, fs, s.config)
	require.NoError(t, err)
	assert.EqualValues(t, len(s.records), l.stat().Cursors["a"].Position)
	assert.Len(t, fs.image().segments(), 1)
	require.NoError(t, l.close())
}

// TestSegmentGone: the records of a segment that vanished are reported, and the others
// are read.
func TestSegmentGone(t *testing.T) {
	s := newSpecimen(t, 250)
	for i, path := range s.segments[:len(s.segments)-1] {
		places := s.frames[path]
		missing := []Span{{places[0].position, places[len(places)-1].position}}
		if i == 0 {
			missing = nil // it is as if it had been removed when nobody needed it any more
		}
		f, err := s.read(s.image.with(path, nil).fs())
		require.NoError(t, err)
		if i == 0 {
			require.Equal(t, places[len(places)-1].position+1, f.records[0].position)
			require.Empty(t, f.lost)
			continue
		}
		wrong, _ := s.compare(f, uint64(len(s.records)), missing...)
		require.Empty(t, wrong, path)
	}
}

// TestSegmentGoneWhileRunning: so it is for a sink that is on its way there.
func TestSegmentGoneWhileRunning(t *testing.T) {
	fs := newMemFS()
	config := small()
	config.Start, config.Retain = Beginning, time.Hour
	j := openJournalOn(t, fs, config)
	events := sinktest.Events("gone", 1000)
	writeAll(t, j, events)
	require.NoError(t, j.Close(t.Context()))

	j = openJournalOn(t, fs, config)
	gone := fs.image().segments()[1]
	require.NoError(t, fs.Remove(gone))
	first, _, _ := parseSegmentName(filepath.Base(gone))
	next, _, _ := parseSegmentName(filepath.Base(fs.image().segments()[1]))
	f := new(sinktest.Fake)
	require.NoError(t, j.Add("sink", f))
	want := sinktest.IDs(slices.Concat(events[:first-1], events[next-1:]))
	assert.Equal(t, want, sinktest.IDs(f.Wait(t, len(want))))
	m := settled(t, j, "sink")
	assert.EqualValues(t, next-first, m.Dropped[notifications.DroppedDamaged])
	assert.EqualValues(t, next-first, j.Stat().Damaged)
}

// TestTimesBehindDamagedHeader: After finds a time also where a header no longer says when
// its segment was begun.
func TestTimesBehindDamagedHeader(t *testing.T) {
	s := newSpecimen(t, 120)
	for _, path := range s.segments {
		data := slices.Clone(s.image[path])
		data[20] ^= 1
		l, err := openLog(memDir, s.image.with(path, data).fs(), s.config)
		require.NoError(t, err)
		for _, r := range s.records {
			first := slices.IndexFunc(s.records, func(o record) bool { return o.time == r.time })
			after, err := l.after(t.Context(), time.Unix(0, r.time))
			require.NoError(t, err)
			require.EqualValues(t, first, after, "%s: what was written when %d was", path, r.position)
		}
		require.NoError(t, l.close())
	}
}

// TestOtherVersion: files of another version are left alone, be it the only one.
func TestOtherVersion(t *testing.T) {
	s := newSpecimen(t, 120)
	s.image = s.withPlaces(t)
	for _, path := range append(s.segments, placePath(memDir, 0), placePath(memDir, 1)) {
		data := slices.Clone(s.image[path])
		binary.LittleEndian.PutUint32(data[8:], version+1)
		if _, salt, ok := parseSegmentName(filepath.Base(path)); ok {
			binary.LittleEndian.PutUint32(data[12:], segmentSum(data, salt))
		} else {
			end := placeHead + binary.LittleEndian.Uint32(data[24:])
			binary.LittleEndian.PutUint32(data[12:], placesSum(data[:end]))
		}
		img := s.image.with(path, data)
		fs := img.fs()
		_, err := openOn(fs, memDir, quick())
		var other *VersionError
		require.ErrorAs(t, err, &other, path)
		assert.Equal(t, VersionError{Path: path, Version: version + 1}, *other)
		assert.Equal(t, img, fs.image(), "nothing is touched")
		_, err = fs.Lock(filepath.Join(memDir, "lock"))
		require.NoError(t, err, "the lock is given back")
	}
}

// TestWrongDirectory: what is no journal's directory is an error that says so.
func TestWrongDirectory(t *testing.T) {
	dir := t.TempDir()
	isFile := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(isFile, nil, 0o600))
	_, err := Open(isFile, quick())
	require.ErrorContains(t, err, isFile)
	_, err = Open(filepath.Join(isFile, "journal"), quick())
	require.ErrorContains(t, err, isFile)
	_, err = Open(filepath.Join(dir, "not", "there"), quick())
	require.ErrorIs(t, err, os.ErrNotExist)

	// One that is there, and empty or with what is somebody else's, is fine.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "1.seg"), []byte("not ours"), 0o600))
	require.NoError(t, openJournal(t, dir, quick()).Close(t.Context()))
	left, err := os.ReadFile(filepath.Join(dir, "1.seg"))
	require.NoError(t, err)
	assert.Equal(t, "not ours", string(left))
}

// TestClockGoesBack: the times of records grow all the same, also over a restart behind
// which the newest segment has no record any more.
func TestClockGoesBack(t *testing.T) {
	fs := newMemFS()
	config := small()
	config.Retain = 24 * time.Hour
	clock := time.Now()
	var mu sync.Mutex
	open := func(fs *memFS) *Journal {
		j := openJournalOn(t, fs, config)
		j.log.mu.Lock()
		defer j.log.mu.Unlock()
		j.log.now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			clock = clock.Add(-time.Minute)
			return clock
		}
		return j
	}
	j := open(fs)
	events := sinktest.Events("back", 500)
	writeAll(t, j, events[:400])
	require.NoError(t, j.Close(t.Context()))
	img := fs.image()
	newest := img.segments()[len(img.segments())-1]

	for _, size := range []int{len(img[newest]), segmentHead + 1, segmentHead, 0} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			j := open(img.with(newest, img[newest][:size:size]).fs())
			kept := j.Stat().Last
			writeAll(t, j, events[400:])
			records, err := j.Read(t.Context(), 0, 0)
			require.NoError(t, err)
			require.Len(t, records, int(kept)+100)
			for i, r := range records[1:] {
				require.Greater(t, r.Time, records[i].Time, "record %d", r.Position)
			}
			for _, i := range []int{0, 1, int(kept) - 1, int(kept), len(records) - 1} {
				after, err := j.After(t.Context(), records[i].Time)
				require.NoError(t, err)
				assert.EqualValues(t, i, after, "what was written at %v or later", records[i].Time)
			}
			require.NoError(t, j.Close(t.Context()))
		})
	}
}
