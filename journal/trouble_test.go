package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// badFS has one sector that cannot be read.
type badFS struct {
	*memFS
	path string
	at   int64
}

func (b *badFS) Open(path string) (file, error) {
	f, err := b.memFS.Open(path)
	if err == nil && path == b.path {
		return &badFile{f, b.at}, nil
	}
	return f, err
}

type badFile struct {
	file
	at int64
}

func (b *badFile) ReadAt(p []byte, at int64) (int, error) {
	if at >= b.at+sectorBytes || at+int64(len(p)) <= b.at {
		return b.file.ReadAt(p, at)
	}
	n := 0
	if b.at > at {
		n, _ = b.file.ReadAt(p[:b.at-at], at)
	}
	return n, &os.PathError{Op: "read", Path: "segment", Err: syscall.EIO}
}

// TestBadSector: what a disk cannot read costs the records that are there, and no others.
func TestBadSector(t *testing.T) {
	mem := newMemFS()
	config := durable()
	config.Retain = time.Hour
	j := openJournalOn(t, mem, config)
	require.NoError(t, j.Rewind("sink", 0))
	events := sinktest.Events("event", 1000)
	writeAll(t, j, events)
	require.NoError(t, j.Close(t.Context()))
	segments := segmentsOf(t, mem, memDir)
	require.GreaterOrEqual(t, len(segments), 4)
	image := mem.image()

	newest := len(segments) - 1
	for _, bad := range []badFS{
		{path: segments[0], at: 0},
		{path: segments[1], at: 12 * sectorBytes},
		{path: segments[newest], at: 0},
		{path: segments[newest], at: 2 * sectorBytes},
		{path: placePath(memDir, 0)},
		{path: placePath(memDir, 1)},
	} {
		t.Run(fmt.Sprintf("%s at %d", filepath.Base(bad.path), bad.at), func(t *testing.T) {
			bad.memFS = image.fs()
			j := openJournalOn(t, &bad, config)
			f := new(sinktest.Fake)
			require.NoError(t, j.Add("sink", f))
			sinktest.Eventually(t, func() bool { return j.Metrics()["sink"].Pending == 0 }, "the rest is delivered")
			m := j.Metrics()["sink"]
			require.NoError(t, sinktest.Conserved(m))
			lost := m.Dropped[notifications.DroppedDamaged]
			assert.Equal(t, lost, j.Stat().Damaged)
			assert.LessOrEqual(t, lost, uint64(2*sectorBytes/200))
			assert.Equal(t, strings.HasSuffix(bad.path, suffix), lost > 0)
			assert.Len(t, f.Events(), len(events)-int(lost))
			require.NoError(t, j.Close(t.Context()))
		})
	}
}

// TestStraySegments: a file of another journal is left alone, and harms nothing.
func TestStraySegments(t *testing.T) {
	for _, first := range []uint64{1, 5000} {
		for _, placesLost := range []bool{false, true} {
			dir := t.TempDir()
			config := small()
			config.Start = Beginning
			j := openJournal(t, dir, config)
			require.NoError(t, j.Rewind("sink", 0))
			writeAll(t, j, sinktest.Events("mine", 1000))
			require.NoError(t, j.Close(t.Context()))
			stray := segmentPath(dir, first, j.log.salt-1)
			mine, err := os.ReadFile(segmentPath(dir, 1, j.log.salt))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(stray, mine, 0o600))
			if placesLost {
				require.NoError(t, os.Remove(placePath(dir, 0)))
				require.NoError(t, os.Remove(placePath(dir, 1)))
			}

			report, err := Verify(t.Context(), dir, nil)
			require.NoError(t, err)
			assert.True(t, report.OK())
			j = openJournal(t, dir, config)
			f := new(sinktest.Fake)
			require.NoError(t, j.Add("sink", f))
			f.Wait(t, 1000)
			require.NoError(t, j.Close(t.Context()))
			assert.Zero(t, j.Stat().Damaged)
			assert.FileExists(t, stray)
		}
	}
}

// spoilPlaces damages both files of places.
func spoilPlaces(i image) image {
	for n := range 2 {
		b := bytes.Clone(i[placePath(memDir, n)])
		b[16] ^= 1
		i = i.with(placePath(memDir, n), b)
	}
	return i
}

// TestLostPlacesThenKilled: that places were lost is not forgotten because one was saved.
func TestLostPlacesThenKilled(t *testing.T) {
	fs := newMemFS()
	config := small()
	config.MaxBytes, config.Overflow = 8*minSegment, Reject
	j := openJournalOn(t, fs, config)
	require.NoError(t, j.Rewind("one", 0))
	require.NoError(t, j.Rewind("two", 0))
	const n = 1000
	writeAll(t, j, sinktest.Events("event", n))

	fs = spoilPlaces(fs.image()).fs()
	j = openJournalOn(t, fs, config)
	f := new(sinktest.Fake)
	require.NoError(t, j.Add("one", f))
	f.Wait(t, n)
	var err error
	for i := 0; err == nil; i++ {
		require.Less(t, i, 5000, "the limit refuses, and does not remove what nobody may remove")
		err = j.Write(t.Context(), notifications.NewEvent("push"))
	}
	require.ErrorIs(t, err, notifications.ErrFull)
	killed := fs.image()

	fs = killed.fs()
	j = openJournalOn(t, fs, config)
	two := new(sinktest.Fake)
	require.NoError(t, j.Add("two", two))
	two.Wait(t, n)
	require.NoError(t, j.Close(t.Context()))
	j = openJournalOn(t, fs, config)
	fresh := new(sinktest.Fake)
	require.NoError(t, j.Add("three", fresh))
	require.NoError(t, j.Add("one", new(sinktest.Fake)))
	require.NoError(t, j.Add("two", new(sinktest.Fake)))
	sinktest.Eventually(t, func() bool { return len(segmentsOf(t, fs, memDir)) == 1 }, "after a clean end all is as ever")
	assert.Empty(t, fresh.Events())
}

// TestDroppedIsNoDamage: what a limit dropped is not found to be damaged by the next run.
func TestDroppedIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	config := small()
	config.MaxBytes, config.Overflow = 4*minSegment, notifications.DropOldest
	j := openJournal(t, dir, config)
	f := new(sinktest.Fake)
	release := f.Hold()
	require.NoError(t, j.Add("dead", f))
	writeAll(t, j, sinktest.Events("event", 10))
	f.WaitBusy(t)
	writeAll(t, j, sinktest.Events("event", 5000))
	dropped := j.Metrics()["dead"].Dropped[notifications.DroppedOverflow]
	assert.Positive(t, dropped)
	go release()
	require.NoError(t, j.Close(t.Context()))

	j = openJournal(t, dir, config)
	f = new(sinktest.Fake)
	require.NoError(t, j.Add("dead", f))
	sinktest.Eventually(t, func() bool { return j.Metrics()["dead"].Pending == 0 }, "settled")
	assert.Zero(t, j.Stat().Damaged)
	assert.Zero(t, j.Metrics()["dead"].Dropped[notifications.DroppedDamaged])
	require.NoError(t, sinktest.Conserved(j.Metrics()["dead"]))
}

// TestPlacesBeforeSegments: no segment is removed before it is on disk that all places
// are past it.
func TestPlacesBeforeSegments(t *testing.T) {
	fs, j := faultyJournal(t, func() Config {
		config := small()
		config.MaxBytes, config.Overflow = 4*minSegment, notifications.DropOldest
		return config
	}())
	require.NoError(t, j.Rewind("away", 0))
	fs.fail(func(name, path string) error {
		if name == "WriteAt" && strings.Contains(path, "places.") {
			return syscall.EIO
		}
		return nil
	})
	writeAll(t, j, sinktest.Events("event", 3000))
	assert.Greater(t, j.Stat().First, uint64(1))
	first, _, _ := parseSegmentName(filepath.Base(segmentsOf(t, fs, memDir)[0]))
	assert.LessOrEqual(t, first, placesOn(t, fs.fileSystem, memDir)["away"]+1)
	fs.fail(nil)
}

// TestLockRemoved: whoever removes the file is not the owner yet.
func TestLockRemoved(t *testing.T) {
	dir := t.TempDir()
	openJournal(t, dir, small())
	require.NoError(t, os.Remove(filepath.Join(dir, "lock")))
	_, err := Open(dir, small())
	require.ErrorAs(t, err, new(*LockedError))
}

// TestNamesOfSinks: a name that could not be read again is refused.
func TestNamesOfSinks(t *testing.T) {
	j := openJournal(t, t.TempDir(), small())
	require.ErrorContains(t, j.Add("caf\xe9", new(sinktest.Fake)), `"caf\xe9"`)
	require.ErrorContains(t, j.Rewind("caf\xe9", 0), "UTF-8")
	require.NoError(t, j.Add("café", new(sinktest.Fake)))
}

// setClock has a journal see another time.
func setClock(j *Journal, ahead time.Duration) {
	j.log.mu.Lock()
	defer j.log.mu.Unlock()
	j.log.now = func() time.Time { return time.Now().Add(ahead) }
}

// TestClockAhead: one write with a clock in the future does not keep everything for ever.
func TestClockAhead(t *testing.T) {
	for _, limit := range []func(*Config){
		func(c *Config) { c.Retain = time.Hour },
		func(c *Config) { c.MaxAge, c.Overflow = time.Hour, notifications.DropOldest },
	} {
		dir := t.TempDir()
		config := small()
		limit(&config)
		j := openJournal(t, dir, config)
		if config.MaxAge > 0 {
			require.NoError(t, j.Rewind("away", 0))
		}
		setClock(j, 20*365*24*time.Hour)
		require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
		setClock(j, 0)
		writeAll(t, j, sinktest.Events("event", 2000))
		require.NoError(t, j.Close(t.Context()))

		j = openJournal(t, dir, config)
		for day := range 3 {
			setClock(j, time.Duration(day+1)*24*time.Hour)
			writeAll(t, j, sinktest.Events("event", 500))
		}
		sinktest.Eventually(t, func() bool { return j.Stat().First > 2000 }, "what is older than an hour goes")
	}
}

// TestRetainedGoesStepByStep: a limit takes of what is retained as much as it needs, and
// nothing where that would not help.
func TestRetainedGoesStepByStep(t *testing.T) {
	config := small()
	config.Retain, config.MaxBytes, config.Overflow = 24*time.Hour, 16*minSegment, Reject
	j := openJournal(t, t.TempDir(), config)
	for range 8000 {
		before := j.Stat().Segments
		require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
		require.GreaterOrEqual(t, j.Stat().Segments, before-1)
	}
	assert.Greater(t, j.Stat().First, uint64(1))
	assert.GreaterOrEqual(t, j.Stat().Segments, 14)

	config.MaxBytes, config.MaxAge = 0, time.Hour
	j = openJournal(t, t.TempDir(), config)
	writeAll(t, j, sinktest.Events("event", 3000))
	require.NoError(t, j.Rewind("dead", 2500))
	before := j.Stat().Segments
	setClock(j, 2*time.Hour)
	require.ErrorIs(t, j.Write(t.Context(), notifications.NewEvent("push")), notifications.ErrFull)
	assert.Equal(t, before, j.Stat().Segments)
}

// TestMaxBytesByAge: a segment that is ended for its age leaves no room behind.
func TestMaxBytesByAge(t *testing.T) {
	config := small()
	config.MaxBytes, config.Overflow, config.Retain = 2*minSegment, Reject, time.Hour
	j := openJournal(t, t.TempDir(), config)
	require.NoError(t, j.Rewind("dead", 0))
	var err error
	for i := 0; err == nil; i++ {
		setClock(j, time.Duration(i)*10*time.Second)
		err = j.Write(t.Context(), notifications.NewEvent("push"))
		require.LessOrEqual(t, j.Stat().Bytes, config.MaxBytes)
	}
	require.ErrorIs(t, err, notifications.ErrFull)
}

// TestOpenTakesLittleMemory however large the newest segment is.
func TestOpenTakesLittleMemory(t *testing.T) {
	dir := t.TempDir()
	config := small()
	config.SegmentBytes = 512 << 20
	j := openJournal(t, dir, config)
	require.NoError(t, j.Rewind("sink", 0))
	large := notifications.NewEvent("push")
	large.Target.URL = strings.Repeat("x", 20_000)
	block := make([]*notifications.Event, 500)
	for i := range block {
		block[i] = large
	}
	for range 6 {
		require.NoError(t, j.Write(t.Context(), block...))
	}
	require.NoError(t, j.Close(t.Context()))
	allocated := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			j, err := Open(dir, config)
			if err != nil {
				b.Fatal(err)
			}
			_ = j.Close(b.Context())
		}
	}).AllocedBytesPerOp()
	assert.Less(t, allocated, int64(16<<20), "of 57 MiB")
}
