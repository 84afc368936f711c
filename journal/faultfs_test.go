package journal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// faultFS is a fileSystem whose operations fail, wait, or find no room, on command. They
// have the names of the methods of fileSystem and file.
type faultFS struct {
	fileSystem

	mu     sync.Mutex // guards the rest
	fault  func(name, path string) error
	counts map[operation]int
	held   map[string]*hold
	room   int64 // bytes that files may still grow by
	sizes  map[string]int64
}

type operation struct{ name, path string }

type hold struct{ waiting, released chan struct{} }

// short is a fault of WriteAt: half is written, with that error or with none.
type short struct{ error }

func newFaultFS(fs fileSystem) *faultFS {
	return &faultFS{
		fileSystem: fs, counts: make(map[operation]int), held: make(map[string]*hold),
		room: 1 << 60, sizes: make(map[string]int64),
	}
}

// fail has operations fail as a function says, or none if that is nil.
func (f *faultFS) fail(fault func(name, path string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// hold has operations of a name wait until release. waiting is closed when one does.
func (f *faultFS) hold(name string) (waiting <-chan struct{}, release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := &hold{make(chan struct{}), make(chan struct{})}
	f.held[name] = h
	return h.waiting, sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.held, name)
		close(h.released)
	})
}

// count returns how often an operation was begun on a path.
func (f *faultFS) count(name, path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[operation{name, path}]
}

// leave sets how much room there is, in bytes.
func (f *faultFS) leave(room int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room = room
}

func (f *faultFS) begin(name, path string) error {
	f.mu.Lock()
	f.counts[operation{name, path}]++
	h, fault := f.held[name], f.fault
	if h != nil {
		select {
		case <-h.waiting:
		default:
			close(h.waiting)
		}
	}
	f.mu.Unlock()
	if h != nil {
		<-h.released
	}
	if fault == nil {
		return nil
	}
	err := fault(name, path)
	if errors.As(err, new(short)) || err == nil {
		return err
	}
	return &os.PathError{Op: name, Path: path, Err: err}
}

// resized takes the room for a file, or gives it back.
func (f *faultFS) resized(path string, size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	more := size - f.sizes[path]
	if more > f.room {
		return &os.PathError{Op: "grow", Path: path, Err: syscall.ENOSPC}
	}
	f.room -= more
	f.sizes[path] = size
	return nil
}

func (f *faultFS) Create(path string) (file, error) {
	if err := f.begin("Create", path); err != nil {
		return nil, err
	}
	inner, err := f.fileSystem.Create(path)
	if err != nil {
		return nil, err
	}
	return &faultFile{inner, f, path}, nil
}

func (f *faultFS) Open(path string) (file, error) {
	if err := f.begin("Open", path); err != nil {
		return nil, err
	}
	inner, err := f.fileSystem.Open(path)
	if err != nil {
		return nil, err
	}
	return &faultFile{inner, f, path}, nil
}

func (f *faultFS) Remove(path string) error {
	if err := f.begin("Remove", path); err != nil {
		return err
	}
	if err := f.fileSystem.Remove(path); err != nil {
		return err
	}
	return f.resized(path, 0)
}

func (f *faultFS) SyncDir(dir string) error {
	if err := f.begin("SyncDir", dir); err != nil {
		return err
	}
	return f.fileSystem.SyncDir(dir)
}

type faultFile struct {
	file
	fs   *faultFS
	path string
}

func (f *faultFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.fs.begin("ReadAt", f.path); err != nil {
		return 0, err
	}
	return f.file.ReadAt(b, at)
}

func (f *faultFile) WriteAt(b []byte, at int64) (int, error) {
	err := f.fs.begin("WriteAt", f.path)
	if s := (short{}); errors.As(err, &s) {
		n, _ := f.file.WriteAt(b[:len(b)/2], at)
		return n, s.error
	}
	if err != nil {
		return 0, err
	}
	size, err := f.file.Size()
	if err != nil {
		return 0, err
	}
	if end := at + int64(len(b)); end > size {
		if err := f.fs.resized(f.path, end); err != nil {
			return 0, err
		}
	}
	return f.file.WriteAt(b, at)
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.begin("Truncate", f.path); err != nil {
		return err
	}
	if err := f.file.Truncate(size); err != nil {
		return err
	}
	return f.fs.resized(f.path, size)
}

func (f *faultFile) Allocate(size int64) error {
	if err := f.fs.begin("Allocate", f.path); err != nil {
		return err
	}
	if err := f.fs.resized(f.path, size); err != nil {
		return err
	}
	return f.file.Allocate(size)
}

func (f *faultFile) Sync() error {
	if err := f.fs.begin("Sync", f.path); err != nil {
		return err
	}
	return f.file.Sync()
}

// faultyJournal opens a journal in memory whose file system may be told to fail.
func faultyJournal(t *testing.T, config Config) (*faultFS, *Journal) {
	t.Helper()
	fs := newFaultFS(newMemFS())
	return fs, openJournalOn(t, fs, config)
}

// memDir is where a journal in memory is.
const memDir = "/journal"

func openJournalOn(t *testing.T, fs fileSystem, config Config) *Journal {
	t.Helper()
	j, err := openOn(fs, memDir, config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close(context.WithoutCancel(t.Context())) })
	return j
}

// durable is a configuration whose segments are small, and synced.
func durable() Config {
	config := quick()
	config.SegmentBytes = minSegment
	return config
}

// onSegments is a fault of one kind of operation on segments and their directory.
func onSegments(name string, fault error) func(string, string) error {
	return func(n, path string) error {
		if n == name && (path == memDir || strings.HasSuffix(path, suffix)) {
			return fault
		}
		return nil
	}
}

func newestSegment(t *testing.T, fs fileSystem, dir string) string {
	t.Helper()
	paths := segmentsOf(t, fs, dir)
	require.NotEmpty(t, paths)
	return paths[len(paths)-1]
}

func segmentsOf(t *testing.T, fs fileSystem, dir string) (paths []string) {
	t.Helper()
	names, err := fs.Names(dir)
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// placesOn returns what a journal's cursor file says.
func placesOn(t *testing.T, fs fileSystem, dir string) map[string]uint64 {
	t.Helper()
	var p placeFile
	places, damaged, err := p.open(fs, dir)
	require.NoError(t, err)
	require.False(t, damaged)
	require.NoError(t, p.close())
	return places.Places
}

// readIDs returns the IDs of all that a journal has, and fails if there is a gap.
func readIDs(t *testing.T, j *Journal) (ids []string) {
	t.Helper()
	s := j.Stat()
	for after := s.First - 1; after < s.Last; {
		records, err := j.Read(t.Context(), after, 0)
		require.NoError(t, err)
		require.NotEmpty(t, records)
		for _, r := range records {
			after++
			require.Equal(t, after, r.Position)
			ids = append(ids, r.Event.ID)
		}
	}
	return ids
}

// settled waits until a sink is done with everything, and checks the counts.
func settled(t *testing.T, j *Journal, sink string) notifications.Metrics {
	t.Helper()
	sinktest.Eventually(t, func() bool { return j.Metrics()[sink].Pending == 0 }, "%s settles", sink)
	m := j.Metrics()[sink]
	require.NoError(t, sinktest.Conserved(m))
	return m
}

// notAmong returns those of all that are not among some, in order.
func notAmong(some, all []string) (rest []string) {
	is := make(map[string]bool, len(some))
	for _, id := range some {
		is[id] = true
	}
	for _, id := range all {
		if !is[id] {
			rest = append(rest, id)
		}
	}
	return rest
}

// TestFaults: whatever of writing fails, Write says so, what was accepted is delivered
// and remembered, the segment is not written to any more, and writing goes on by itself.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name, operation string
		fault, is       error
	}{
		{"write", "WriteAt", syscall.EIO, syscall.EIO},
		{"short write", "WriteAt", short{syscall.ENOSPC}, syscall.ENOSPC},
		{"short write that says nothing", "WriteAt", short{}, nil},
		{"sync", "Sync", syscall.EIO, syscall.EIO},
		{"create", "Create", syscall.EIO, syscall.EIO},
		{"allocate", "Allocate", syscall.ENOSPC, syscall.ENOSPC},
		{"sync of the directory", "SyncDir", syscall.EIO, syscall.EIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := durable()
			config.Retain = time.Hour
			fs, j := faultyJournal(t, config)
			f := new(sinktest.Fake)
			require.NoError(t, j.Add("sink", f))
			events := sinktest.Events("fault", 1000)
			var accepted, refused []string
			write := func(e *notifications.Event) error {
				err := j.Write(t.Context(), e)
				if err == nil {
					accepted = append(accepted, e.ID)
				} else {
					refused = append(refused, e.ID)
				}
				return err
			}
			for _, e := range events[:20] {
				require.NoError(t, write(e))
			}
			fs.fail(onSegments(test.operation, test.fault))
			at := slices.IndexFunc(events[20:], func(e *notifications.Event) bool { return write(e) != nil })
			require.NotEqual(t, -1, at, "nothing failed")
			broken := newestSegment(t, fs, memDir)
			writes := fs.count("WriteAt", broken)
			for _, e := range events[500:503] {
				err := write(e)
				var failed *WriteError
				require.ErrorAs(t, err, &failed)
				if test.is != nil {
					require.ErrorIs(t, err, test.is)
				}
			}
			f.Wait(t, len(accepted))
			settled(t, j, "sink")
			sinktest.Eventually(t, func() bool { return placesOn(t, fs, memDir)["sink"] == uint64(len(accepted)) }, "the cursor is saved")
			require.Equal(t, accepted, readIDs(t, j))

			fs.fail(nil)
			for _, e := range events[600:650] {
				require.NoError(t, write(e))
			}
			require.Equal(t, accepted, sinktest.IDs(f.Wait(t, len(accepted))))
			assert.Equal(t, writes, fs.count("WriteAt", broken), "the broken segment was written to")
			m := settled(t, j, "sink")
			assert.EqualValues(t, len(accepted), m.Delivered)
			require.NoError(t, j.Close(t.Context()))

			config.Start = Beginning
			j = openJournalOn(t, fs, config)
			ids := readIDs(t, j)
			assert.Empty(t, notAmong(refused, notAmong(accepted, ids)), "events that nobody wrote")
			assert.Equal(t, accepted, notAmong(refused, ids))
			again := new(sinktest.Fake)
			require.NoError(t, j.Add("again", again))
			assert.Equal(t, ids, sinktest.IDs(again.Wait(t, len(ids))))
			settled(t, j, "again")
			assert.Zero(t, j.Stat().Damaged)
			t.Logf("%d accepted, %d refused, %d of these came out all the same", len(accepted), len(refused), len(ids)-len(accepted))
		})
	}
}

// TestFaultsOneAfterAnother: a segment that could be neither finished nor removed does not
// keep the next from being begun.
func TestFaultsOneAfterAnother(t *testing.T) {
	for _, first := range []string{"Allocate", "WriteAt", "Sync", "SyncDir"} {
		t.Run(first, func(t *testing.T) {
			fs, j := faultyJournal(t, durable())
			fs.fail(func(name, path string) error {
				return errors.Join(onSegments(first, syscall.EIO)(name, path), onSegments("Remove", syscall.EIO)(name, path))
			})
			require.ErrorIs(t, j.Write(t.Context(), notifications.NewEvent("push")), syscall.EIO)
			require.ErrorIs(t, j.Write(t.Context(), notifications.NewEvent("push")), syscall.EIO)
			fs.fail(nil)
			events := sinktest.Events("after", 3)
			writeAll(t, j, events)
			require.Equal(t, sinktest.IDs(events), readIDs(t, j))
		})
	}
}

// TestRemovedFromBothEnds: a segment that came to nothing is begun again at one end of the log
// while those that are settled are at the other.
func TestRemovedFromBothEnds(t *testing.T) {
	fs := newFaultFS(newMemFS())
	config := logConfig(t)
	config.Retain = 0
	l, err := openLog(memDir, fs, config)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.close()) }()
	require.NoError(t, l.rewind("sink", 0))
	var failed atomic.Bool
	fs.fail(func(name, path string) error { // the first batch of the third segment
		segments, _ := fs.Names(memDir)
		third := len(segments) == 5 && strings.HasSuffix(path, segments[2])
		if name == "WriteAt" && third && fs.count(name, path) == 2 && !failed.Swap(true) {
			return syscall.EIO
		}
		return nil
	})
	payload := make([]byte, 1000)
	last := uint64(0)
	for err == nil {
		if _, err = l.appendOne(t.Context(), payload); err == nil {
			last++
		}
	}
	require.ErrorIs(t, err, syscall.EIO)

	waiting, release := fs.hold("Truncate")
	done := make(chan error, 2)
	go func() {
		_, err := l.appendOne(t.Context(), payload)
		done <- err
	}()
	<-waiting
	go func() { done <- l.rewind("sink", last) }()
	sinktest.Eventually(t, func() bool {
		if !l.mu.TryLock() {
			return true // then there is nothing in between
		}
		defer l.mu.Unlock()
		return l.first() > 1
	}, "what is settled goes")
	release()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	sinktest.Eventually(t, func() bool {
		return l.stat().First == last+1 && len(segmentsOf(t, fs, memDir)) == l.stat().Segments
	}, "what is settled is gone")
	s := l.stat()
	assert.Equal(t, last+1, s.Last)
	f, err := foundIn(l)
	require.NoError(t, err)
	assert.Empty(t, f.lost)
	assert.Len(t, f.records, int(s.Last-s.First+1))
}

// TestRemoveFails: what cannot be removed is in nobody's way, and goes at the next start.
func TestRemoveFails(t *testing.T) {
	fs, j := faultyJournal(t, durable())
	f := new(sinktest.Fake)
	require.NoError(t, j.Add("sink", f))
	fs.fail(onSegments("Remove", syscall.EIO))
	events := sinktest.Events("stays", 1000)
	writeAll(t, j, events)
	f.Wait(t, len(events))
	settled(t, j, "sink")
	sinktest.Eventually(t, func() bool { return j.Stat().Segments == 1 }, "the segments are forgotten")
	assert.Greater(t, len(segmentsOf(t, fs, memDir)), 3)
	require.NoError(t, j.Close(t.Context()))

	fs.fail(nil)
	j = openJournalOn(t, fs, durable())
	assert.Len(t, segmentsOf(t, fs, memDir), 1)
	f = new(sinktest.Fake)
	require.NoError(t, j.Add("sink", f))
	writeAll(t, j, sinktest.Events("more", 1))
	assert.Equal(t, []string{"more-0"}, sinktest.IDs(f.Wait(t, 1)))
}

// TestFullDisk: a disk that is full refuses new events and nothing else. What is delivered
// makes the room for the next.
func TestFullDisk(t *testing.T) {
	fs, j := faultyJournal(t, durable())
	fast, slow := new(sinktest.Fake), new(sinktest.Fake)
	release := slow.Hold()
	require.NoError(t, j.Add("fast", fast))
	require.NoError(t, j.Add("slow", slow))
	fs.leave(10*minSegment + minSegment/2)
	fullDisk(t, fs, memDir, j, fast, slow, release)
}

// fullDisk fills a disk of a few segments on which a fast sink is, and a slow one that is
// held until released.
func fullDisk(t *testing.T, fs fileSystem, dir string, j *Journal, fast, slow *sinktest.Fake, release func()) {
	events := sinktest.Events("full", 50000)
	full := slices.IndexFunc(events, func(e *notifications.Event) bool {
		err := j.Write(t.Context(), e)
		if err != nil {
			require.ErrorAs(t, err, new(*WriteError))
			require.ErrorIs(t, err, syscall.ENOSPC)
		}
		return err != nil
	})
	require.Greater(t, full, 1000)
	require.ErrorIs(t, j.Write(t.Context(), events[full]), syscall.ENOSPC)

	// The fast one is past everything, and this is on disk although that is full.
	fast.Wait(t, full)
	settled(t, j, "fast")
	sinktest.Eventually(t, func() bool { return placesOn(t, fs, dir)["fast"] == uint64(full) }, "the cursor is saved")
	assert.False(t, j.Stat().Failing)
	held := len(segmentsOf(t, fs, dir))
	require.NoError(t, sinktest.Conserved(j.Metrics()["slow"]))

	release()
	slow.Wait(t, full)
	settled(t, j, "slow")
	sinktest.Eventually(t, func() bool { return len(segmentsOf(t, fs, dir)) == 1 }, "the segments go")
	more := sinktest.Events("more", 500)
	writeAll(t, j, more)
	want := append(sinktest.IDs(events[:full]), sinktest.IDs(more)...)
	for name, f := range map[string]*sinktest.Fake{"fast": fast, "slow": slow} {
		assert.Equal(t, want, sinktest.IDs(f.Wait(t, len(want))), name)
		settled(t, j, name)
	}
	t.Logf("full with %d events in %d segments; %d more went in when these had gone", full, held, len(more))
}

// TestSlowDisk: a Write waits for the disk no longer than its context has it, and the
// disk's slowness is the writers' alone.
func TestSlowDisk(t *testing.T) {
	fs, j := faultyJournal(t, durable())
	f := new(sinktest.Fake)
	require.NoError(t, j.Add("sink", f))
	writeAll(t, j, sinktest.Events("before", 3))
	f.Wait(t, 3)
	settled(t, j, "sink")
	sinktest.Eventually(t, func() bool { return placesOn(t, fs, memDir)["sink"] == 3 }, "the cursor is saved")

	waiting, release := fs.hold("Sync")
	ctx, cancel := context.WithCancelCause(t.Context())
	impatient := errors.New("impatient")
	done := make(chan error, 1)
	go func() { done <- j.Write(ctx, sinktest.Events("slow", 1)...) }()
	<-waiting
	cancel(impatient)
	require.ErrorIs(t, <-done, impatient)
	go func() { done <- j.Write(t.Context(), sinktest.Events("patient", 1)...) }()
	require.Len(t, readIDs(t, j), 3, "what is not on disk is not there yet")
	release()
	require.NoError(t, <-done)
	assert.Equal(t, []string{"before-0", "before-1", "before-2", "slow-0", "patient-0"}, sinktest.IDs(f.Wait(t, 5)))
	settled(t, j, "sink")
}

// TestFaultyWriters: on a disk that fails now and then, what Write took arrives, what it
// refused does not (before a restart), and all in order.
func TestFaultyWriters(t *testing.T) {
	const writers, each = 4, 400
	seed := rand.Uint64()
	fs, j := faultyJournal(t, durable())
	f := new(sinktest.Fake)
	require.NoError(t, j.Add("sink", f))
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	fs.fail(func(name, path string) error {
		mu.Lock()
		defer mu.Unlock()
		if name == "ReadAt" || name == "Open" || random.IntN(20) > 0 {
			return nil
		}
		return syscall.EIO
	})
	var accepted [writers][]string
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			events := sinktest.Events(fmt.Sprint("w", w), each)
			for i := 0; i+4 <= each; i += 4 {
				if err := j.Write(t.Context(), events[i:i+4]...); err == nil {
					accepted[w] = append(accepted[w], sinktest.IDs(events[i:i+4])...)
				} else {
					assert.ErrorIs(t, err, syscall.EIO)
				}
			}
		})
	}
	wg.Wait()
	fs.fail(nil)
	all := slices.Concat(accepted[:]...)
	var arrived [writers][]string
	for _, e := range f.Wait(t, len(all)) {
		var w int
		_, err := fmt.Sscanf(e.ID, "w%d-", &w)
		require.NoError(t, err)
		arrived[w] = append(arrived[w], e.ID)
	}
	m := settled(t, j, "sink")
	assert.Equal(t, accepted, arrived, "seed %d", seed)
	assert.EqualValues(t, len(all), m.Delivered)
	assert.Greater(t, writers*each-len(all), 10, "nothing failed")
	require.NoError(t, j.Close(t.Context()))

	j = openJournalOn(t, fs, durable())
	assert.EqualValues(t, len(all), j.Stat().Cursors["sink"].Position)
	t.Logf("seed %d: %d accepted and arrived, %d refused, %d missing", seed, len(all), writers*each-len(all),
		len(notAmong(slices.Concat(arrived[:]...), all)))
}

// TestPlacesFail: while cursors cannot be saved, deliveries go on; and saving works again
// by itself, without anything that happens to the sink.
func TestPlacesFail(t *testing.T) {
	for _, operation := range []string{"WriteAt", "Sync"} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs, j := faultyJournal(t, durable())
				f := new(sinktest.Fake)
				require.NoError(t, j.Add("sink", f))
				fs.fail(func(name, path string) error {
					if name == operation && strings.Contains(path, "places.") {
						return syscall.EIO
					}
					return nil
				})
				events := sinktest.Events("unsaved", 1000)
				writeAll(t, j, events)
				f.Wait(t, len(events))
				settled(t, j, "sink")
				synctest.Wait()
				assert.True(t, j.Stat().Failing)
				if operation == "WriteAt" {
					assert.Less(t, placesOn(t, fs.fileSystem, memDir)["sink"], uint64(1000))
				}
				assert.Greater(t, len(segmentsOf(t, fs, memDir)), 3, "what only the memory is past is still needed")
				require.ErrorIs(t, j.Add("new", new(sinktest.Fake)), syscall.EIO, "a place that is nowhere")

				fs.fail(nil)
				time.Sleep(saveAgain)
				synctest.Wait()
				assert.False(t, j.Stat().Failing)
				assert.EqualValues(t, 1000, placesOn(t, fs, memDir)["sink"])
				assert.Len(t, segmentsOf(t, fs, memDir), 1)
				require.NoError(t, j.Add("new", new(sinktest.Fake)))
				require.NoError(t, j.Close(t.Context()))
			})
		})
	}
}
