package journal

import (
	"context"
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

// TestRemoveAfterClose: what is closed is the next owner's.
func TestRemoveAfterClose(t *testing.T) {
	dir := t.TempDir()
	first := openJournal(t, dir, small())
	require.NoError(t, first.Add("sink", new(sinktest.Fake)))
	require.NoError(t, first.Close(t.Context()))
	first = openJournal(t, dir, small())
	writeAll(t, first, sinktest.Events("pending", 1000))
	require.NoError(t, first.Close(t.Context()))

	second := openJournal(t, dir, small())
	require.ErrorIs(t, first.Remove(t.Context(), "sink"), notifications.ErrSinkClosed)
	f := new(sinktest.Fake)
	require.NoError(t, second.Add("sink", f))
	f.Wait(t, 1000)
}

// TestRemovedIsCounted: what was pending is dropped by Remove, and by nothing else.
func TestRemovedIsCounted(t *testing.T) {
	j := openJournal(t, t.TempDir(), quick())
	endpoint, err := notifications.NewEndpoint("hook", "http://127.0.0.1:1/", notifications.EndpointConfig{Logger: silent()})
	require.NoError(t, err)
	require.NoError(t, j.Add("hook", endpoint))
	writeAll(t, j, sinktest.Events("pending", 20))
	require.NoError(t, j.Remove(t.Context(), "hook"))
	assert.Equal(t, map[string]uint64{notifications.DroppedRemoved: 20}, endpoint.Metrics().Dropped)
	require.NoError(t, endpoint.Close(t.Context()))
}

// TestShorterSegment: a reader does not look for ever for what is not there any more.
func TestShorterSegment(t *testing.T) {
	dir := t.TempDir()
	config := small()
	config.Retain = time.Hour
	j := openJournal(t, dir, config)
	// More than is kept in memory.
	large := sinktest.Events("large", 1)[0]
	large.Target.URL = strings.Repeat("x", 30_000)
	for range 200 {
		require.NoError(t, j.Write(t.Context(), large))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	require.NoError(t, err)
	require.NoError(t, os.Truncate(files[0], segmentHead+100))
	records, err := j.Read(t.Context(), 0, 0)
	require.NoError(t, err)
	require.NotEmpty(t, records)
	assert.Greater(t, records[0].Position, uint64(1))
	assert.Positive(t, j.Stat().Damaged)
}

// TestLimitIsNoTrap: where nothing is pending, there is room.
func TestLimitIsNoTrap(t *testing.T) {
	for _, o := range []notifications.Overflow{notifications.Block, Reject} {
		config := small()
		config.MaxBytes, config.Overflow = 16*minSegment, o
		j := openJournal(t, t.TempDir(), config)
		f := new(sinktest.Fake)
		require.NoError(t, j.Add("sink", f))
		half := sinktest.Events("half", 1)[0]
		half.Target.URL = strings.Repeat("x", 8*minSegment-1000)
		for i := range 3 {
			require.NoError(t, j.Write(t.Context(), half), "%s: %d", o, i)
			f.Wait(t, i+1)
			sinktest.Eventually(t, func() bool { return j.Metrics()["sink"].Pending == 0 }, "settled")
		}
	}
}

// TestCloseWithAHangingDisk: Close comes back, and the directory is free when the disk is
// there again.
func TestCloseWithAHangingDisk(t *testing.T) {
	fs, j := faultyJournal(t, durable())
	require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
	release := make(chan struct{})
	fs.fail(func(name, path string) error {
		if name == "Sync" && strings.HasSuffix(path, suffix) {
			<-release
			return syscall.EIO
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.Error(t, j.Write(ctx, notifications.NewEvent("push")))
	require.ErrorIs(t, j.Close(ctx), context.DeadlineExceeded)
	close(release)
	fs.fail(nil)
	_ = j.Close(t.Context())
	again := openJournalOn(t, fs, durable())
	require.NoError(t, again.Close(t.Context()))
}

// busy is a fake that says when it is asked for the first time.
type busy struct {
	sinktest.Fake
	busy chan bool
}

func (b *busy) Write(ctx context.Context, events ...*notifications.Event) error {
	b.busy <- true
	return b.Fake.Write(ctx, events...)
}

// TestCloseTwice: who closes for the second time waits no longer than the own context.
func TestCloseTwice(t *testing.T) {
	j := openJournal(t, t.TempDir(), quick())
	f := &busy{busy: make(chan bool, 1)}
	release := f.Hold()
	require.NoError(t, j.Add("slow", f))
	require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
	<-f.busy
	first := make(chan error)
	go func() { first <- j.Close(t.Context()) }()
	sinktest.Eventually(t, func() bool { return j.Write(t.Context(), notifications.NewEvent("push")) != nil }, "closing")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, j.Close(ctx), context.Canceled)
	release()
	require.NoError(t, <-first)
	require.NoError(t, j.Close(ctx))
}

// TestRemoveWhileAdding: a name is removed whole, or not.
func TestRemoveWhileAdding(t *testing.T) {
	j := openJournal(t, t.TempDir(), small())
	for i := range 300 {
		require.NoError(t, j.Rewind("sink", j.Stat().Last))
		added := make(chan error)
		f := new(sinktest.Fake)
		go func() { added <- j.Add("sink", f) }()
		_ = j.Remove(t.Context(), "sink")
		require.NoError(t, <-added)
		require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
		if _, in := j.Metrics()["sink"]; in {
			f.Wait(t, 1)
			require.NoError(t, j.Remove(t.Context(), "sink"), i)
		}
	}
}

// TestIntervalSyncFails: a feed sees nothing whose position a power cut could give to
// another event, and everything again when that cannot happen any more, whether somebody
// writes or not.
func TestIntervalSyncFails(t *testing.T) {
	for _, fails := range []string{"Sync", "WriteAt"} {
		t.Run(fails, func(t *testing.T) {
			config := durable()
			config.Sync, config.SyncInterval, config.Retain = SyncInterval, time.Millisecond, time.Hour
			fs, j := faultyJournal(t, config)
			writeAll(t, j, sinktest.Events("before", 3))
			sees := func(n uint64) {
				sinktest.Eventually(t, func() bool {
					records, err := j.Read(t.Context(), 0, 0)
					return err == nil && len(records) == int(n)
				}, "a feed sees it")
			}
			sees(3)
			fs.fail(func(name, path string) error {
				if name == "Sync" || name == fails {
					return syscall.EIO
				}
				return nil
			})
			var wrote uint64 = 3
			if fails == "Sync" {
				wrote = 5
				// At once: when a sync has failed, the next write needs a segment that cannot be made.
				require.NoError(t, j.Write(t.Context(), sinktest.Events("unsafe", 2)...))
			} else {
				require.Error(t, j.Write(t.Context(), notifications.NewEvent("push")))
			}
			syncs := fs.count("Sync", newestSegment(t, fs, memDir))
			sinktest.Eventually(t, func() bool {
				return fs.count("Create", segmentPath(memDir, wrote+1, j.log.salt)) > 2 || fails == "WriteAt" && fs.count("Sync", newestSegment(t, fs, memDir)) > syncs
			}, "it is tried again")
			records, err := j.Read(t.Context(), 0, 0)
			require.NoError(t, err)
			require.LessOrEqual(t, len(records), 3)

			fs.fail(nil)
			sees(wrote)
			sinktest.Eventually(t, func() bool {
				return newestSegment(t, fs, memDir) == segmentPath(memDir, wrote+1, j.log.salt)
			}, "the name of a segment keeps the positions")
			writeAll(t, j, sinktest.Events("after", 2))
			sees(wrote + 2)
		})
	}
}

// TestNameOfASegmentStays: while a segment that came to nothing is begun again, its name
// is there at every moment.
func TestNameOfASegmentStays(t *testing.T) {
	config := durable()
	config.Retain = time.Hour
	fs, j := faultyJournal(t, config)
	writeAll(t, j, sinktest.Events("before", 1))
	fs.fail(onSegments("WriteAt", syscall.EIO))
	require.Error(t, j.Write(t.Context(), notifications.NewEvent("push")))
	fs.fail(func(name, path string) error {
		if name == "WriteAt" && fs.count(name, path) > 1 { // the header is written
			return syscall.EIO
		}
		return nil
	})
	require.Error(t, j.Write(t.Context(), notifications.NewEvent("push")))
	path := segmentPath(memDir, 2, j.log.salt)
	require.Equal(t, path, newestSegment(t, fs, memDir))
	removed := fs.count("Remove", path)
	fs.fail(nil)
	require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
	require.Equal(t, removed, fs.count("Remove", path))
	require.Equal(t, path, newestSegment(t, fs, memDir))
	require.Len(t, readIDs(t, j), 2)
}

// TestMaxBytesOnDisk: with what is set aside, the files take no more than they may.
func TestMaxBytesOnDisk(t *testing.T) {
	for _, segments := range []int64{2, 3, 8} {
		config := small()
		config.MaxBytes, config.Overflow = segments*minSegment, Reject
		dir := t.TempDir()
		j := openJournal(t, dir, config)
		f := new(sinktest.Fake)
		release := f.Hold()
		require.NoError(t, j.Add("slow", f))
		for i, e := range sinktest.Events("limit", 5000) {
			if err := j.Write(t.Context(), e); err != nil {
				require.ErrorIs(t, err, notifications.ErrFull)
				require.Greater(t, i, 100)
				break
			}
		}
		var taken int64
		files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		require.NoError(t, err)
		for _, path := range files {
			info, err := os.Stat(path)
			require.NoError(t, err)
			taken += info.Size()
		}
		assert.LessOrEqual(t, taken, config.MaxBytes)
		assert.Greater(t, taken, config.MaxBytes-2*minSegment)
		assert.Equal(t, taken, j.Stat().Bytes)
		release()
	}
}

// TestDroppedIsNotHeld: what a limit has dropped is not kept on disk by who was reading it.
func TestDroppedIsNotHeld(t *testing.T) {
	config := small()
	config.MaxBytes, config.Overflow, config.Start = 4*minSegment, notifications.DropOldest, Beginning
	j := openJournal(t, t.TempDir(), config)
	writeAll(t, j, sinktest.Events("before", 500))
	j.log.mu.Lock()
	j.log.tail = tail{} // as if it were longer ago
	j.log.mu.Unlock()
	f := new(sinktest.Fake)
	release := f.Hold()
	defer release()
	require.NoError(t, j.Add("slow", f))
	scans := func() bool {
		j.log.mu.Lock()
		defer j.log.mu.Unlock()
		c := j.log.named["slow"].cursor
		return !c.reading && c.reader.scan != nil
	}
	sinktest.Eventually(t, scans, "it reads the disk")
	writeAll(t, j, sinktest.Events("after", 5000))
	assert.Positive(t, j.Metrics()["slow"].Dropped[notifications.DroppedOverflow])
	assert.False(t, scans())
}

// TestNoEvent: a record that is whole and no event is reported, and nothing stops at it.
func TestNoEvent(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, quick())
	require.NoError(t, j.Rewind("keeps", 0))
	events := sinktest.Events("event", 2)
	writeAll(t, j, events[:1])
	_, err := j.log.appendOne(t.Context(), []byte("no event"))
	require.NoError(t, err)
	_, err = j.letters.log.appendOne(t.Context(), []byte("no letter"))
	require.NoError(t, err)
	records, err := j.Read(t.Context(), 1, 0)
	require.NoError(t, err)
	assert.Empty(t, records)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, j.Wait(ctx, 1), context.DeadlineExceeded, "there is nothing to be read")
	writeAll(t, j, events[1:])
	require.NoError(t, j.Wait(t.Context(), 1))
	records, err = j.Read(t.Context(), 0, 0)
	require.NoError(t, err)
	require.Len(t, records, 2)
	assert.Equal(t, []uint64{1, 3}, []uint64{records[0].Position, records[1].Position})
	assert.EqualValues(t, 1, j.Stat().Damaged)
	require.NoError(t, j.DeadLetters().Put(t.Context(), notifications.DeadLetter{Event: events[0]}))
	require.NoError(t, j.Close(t.Context()))

	j = openJournal(t, dir, quick())
	assert.Equal(t, 1, j.DeadLetters().Count())
	require.NoError(t, j.Close(t.Context()))
	var cat []string
	report, err := Cat(t.Context(), dir, func(r notifications.Record) error {
		cat = append(cat, r.Event.ID)
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, sinktest.IDs(events), cat)
	assert.Equal(t, []Span{{2, 2}}, report.Damaged)
}

// TestLettersWhileTaking: a letter that is put while others are taken is kept.
func TestLettersWhileTaking(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, quick())
	d := j.DeadLetters()
	events := sinktest.Events("letter", 400)
	taken := make(map[string]bool)
	putting := make(chan struct{})
	go func() {
		defer close(putting)
		for _, e := range events {
			assert.NoError(t, d.Put(t.Context(), notifications.DeadLetter{Event: e}))
		}
	}()
	take := func() {
		assert.NoError(t, d.Take(t.Context(), func(*notifications.DeadLetter) bool { return true },
			func(l *notifications.DeadLetter) error {
				assert.False(t, taken[l.Event.ID], "twice")
				taken[l.Event.ID] = true
				return nil
			}))
	}
	for len(taken) < len(events)/2 {
		take()
	}
	<-putting
	left := d.Count()
	require.NoError(t, j.Close(t.Context()))
	j = openJournal(t, dir, quick())
	d = j.DeadLetters()
	require.Equal(t, left, d.Count())
	take()
	assert.Len(t, taken, len(events))
}

// TestRemovedIsForgottenDurably: that a name is removed is synced, whatever the
// configuration says of records.
func TestRemovedIsForgottenDurably(t *testing.T) {
	for _, sync := range []Sync{SyncInterval, SyncNone} {
		config := durable()
		config.Sync = sync
		fs, j := faultyJournal(t, config)
		syncs := func() int { return fs.count("Sync", placePath(memDir, 0)) + fs.count("Sync", placePath(memDir, 1)) }
		for i, step := range []func() error{
			func() error { return j.Add("sink", new(sinktest.Fake)) },
			func() error { return j.Rewind("sink", 0) },
			func() error { return j.Remove(t.Context(), "sink") },
		} {
			before := syncs()
			require.NoError(t, step())
			assert.Greater(t, syncs(), before, "%s: step %d", sync, i)
		}
	}
}
