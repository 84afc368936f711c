package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// segmentFiles returns how many segments are in a directory.
func segmentFiles(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	require.NoError(t, err)
	return len(files)
}

// writeAll writes events one by one.
func writeAll(t *testing.T, j *Journal, events []*notifications.Event) {
	t.Helper()
	for _, e := range events {
		require.NoError(t, j.Write(t.Context(), e))
	}
}

// small is a configuration with many small segments, that syncs nothing.
func small() Config {
	config := quick()
	config.Sync, config.SegmentBytes = SyncNone, minSegment
	return config
}

// TestSegmentsGo when all sinks are past them, and not before.
func TestSegmentsGo(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, small())
	fast, slow := new(sinktest.Fake), new(sinktest.Fake)
	release := slow.Hold()
	require.NoError(t, j.Add("fast", fast))
	require.NoError(t, j.Add("slow", slow))
	events := sinktest.Events("space", 2000)
	writeAll(t, j, events)
	fast.Wait(t, len(events))
	assert.Greater(t, segmentFiles(t, dir), 5)
	release()
	slow.Wait(t, len(events))
	sinktest.Eventually(t, func() bool { return segmentFiles(t, dir) == 1 }, "segments are removed")
}

// TestPlaceHolds: a place whose sink is not there holds what is behind it until Remove.
func TestPlaceHolds(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, small())
	require.NoError(t, j.Add("gone", new(sinktest.Fake)))
	require.NoError(t, j.Close(t.Context()))

	j = openJournal(t, dir, small())
	f := new(sinktest.Fake)
	require.NoError(t, j.Add("here", f))
	writeAll(t, j, sinktest.Events("held", 1000))
	f.Wait(t, 1000)
	assert.Greater(t, segmentFiles(t, dir), 3)
	assert.EqualValues(t, 1000, j.Stat().Cursors["gone"].Behind)
	require.NoError(t, j.Remove(t.Context(), "gone"))
	sinktest.Eventually(t, func() bool { return segmentFiles(t, dir) == 1 }, "segments are removed")
	assert.ErrorContains(t, j.Remove(t.Context(), "gone"), "gone")
}

func TestMaxBytes(t *testing.T) {
	limited := func(o notifications.Overflow) Config {
		config := small()
		config.MaxBytes, config.Overflow = 4*minSegment, o
		return config
	}
	fill := func(t *testing.T, j *Journal, ctx context.Context) (taken int, err error) {
		for i, e := range sinktest.Events("limit", 5000) {
			if err := j.Write(ctx, e); err != nil {
				return i, err
			}
		}
		return 5000, nil
	}
	t.Run("block", func(t *testing.T) {
		j := openJournal(t, t.TempDir(), limited(notifications.Block))
		f := new(sinktest.Fake)
		release := f.Hold()
		require.NoError(t, j.Add("slow", f))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		taken, err := fill(t, j, ctx)
		require.ErrorIs(t, err, notifications.ErrFull)
		assert.LessOrEqual(t, j.Stat().Bytes, int64(4*minSegment))

		// A write that waits goes through when there is room.
		done := make(chan error, 1)
		go func() { done <- j.Write(t.Context(), notifications.NewEvent("push")) }()
		release()
		require.NoError(t, <-done)
		f.Wait(t, taken+1)
	})
	t.Run("reject", func(t *testing.T) {
		j := openJournal(t, t.TempDir(), limited(Reject))
		f := new(sinktest.Fake)
		release := f.Hold()
		require.NoError(t, j.Add("slow", f))
		taken, err := fill(t, j, t.Context())
		require.ErrorIs(t, err, notifications.ErrFull)
		release()
		f.Wait(t, taken)
		require.NoError(t, sinktest.Conserved(j.Metrics()["slow"]))
		sinktest.Eventually(t, func() bool { // segments go when the places behind them are saved
			return j.Write(t.Context(), notifications.NewEvent("push")) == nil
		}, "a write goes through again")
	})
	t.Run("drop-oldest", func(t *testing.T) {
		j := openJournal(t, t.TempDir(), limited(notifications.DropOldest))
		f := new(sinktest.Fake)
		release := f.Hold()
		require.NoError(t, j.Add("slow", f))
		taken, err := fill(t, j, t.Context())
		require.NoError(t, err)
		require.Equal(t, 5000, taken)
		assert.LessOrEqual(t, j.Stat().Bytes, int64(4*minSegment))
		release()
		sinktest.Eventually(t, func() bool { return j.Metrics()["slow"].Pending == 0 }, "settled")
		m := j.Metrics()["slow"]
		require.NoError(t, sinktest.Conserved(m))
		assert.EqualValues(t, 5000, m.Accepted)
		assert.Positive(t, m.Dropped[notifications.DroppedOverflow])
		assert.EqualValues(t, 5000, m.Delivered+m.Dropped[notifications.DroppedOverflow])
		events := f.Events()
		assert.Equal(t, "limit-4999", events[len(events)-1].ID)
		assert.Equal(t, "limit-0", events[0].ID, "what was on its way goes on")
	})
	t.Run("block too large", func(t *testing.T) {
		j := openJournal(t, t.TempDir(), limited(Reject))
		require.ErrorIs(t, j.Write(t.Context(), sinktest.Events("large", 5000)...), notifications.ErrFull)
	})
}

func TestMaxAge(t *testing.T) {
	config := small()
	config.MaxAge, config.Overflow = time.Hour, notifications.DropOldest
	j := openJournal(t, t.TempDir(), config)
	f := new(sinktest.Fake)
	release := f.Hold()
	require.NoError(t, j.Add("slow", f))
	hours := 0
	j.log.mu.Lock()
	j.log.now = func() time.Time { return time.Now().Add(time.Duration(hours) * time.Hour) }
	j.log.mu.Unlock()
	writeAll(t, j, sinktest.Events("old", 10))
	f.WaitBusy(t)
	writeAll(t, j, sinktest.Events("older", 10))
	j.log.mu.Lock()
	hours = 2
	j.log.mu.Unlock()
	writeAll(t, j, sinktest.Events("new", 2)) // the first begins a segment
	release()
	sinktest.Eventually(t, func() bool { return j.Metrics()["slow"].Pending == 0 }, "settled")
	m := j.Metrics()["slow"]
	require.NoError(t, sinktest.Conserved(m))
	assert.Positive(t, m.Dropped[notifications.DroppedExpired], fmt.Sprint(m))
	events := f.Events()
	assert.Equal(t, "new-1", events[len(events)-1].ID)
}

func TestRetain(t *testing.T) {
	dir := t.TempDir()
	config := small()
	config.Retain = time.Hour
	j := openJournal(t, dir, config)
	f := new(sinktest.Fake)
	require.NoError(t, j.Add("fast", f))
	writeAll(t, j, sinktest.Events("kept", 1000))
	f.Wait(t, 1000)
	sinktest.Eventually(t, func() bool { return j.Stat().Cursors["fast"].Behind == 0 }, "settled")
	assert.Greater(t, segmentFiles(t, dir), 3)
	assert.EqualValues(t, 1, j.Stat().First)

	// The sink gets it again, with what is counted.
	require.NoError(t, j.Rewind("fast", 900))
	f.Wait(t, 1100)
	sinktest.Eventually(t, func() bool { return j.Metrics()["fast"].Pending == 0 }, "settled")
	m := j.Metrics()["fast"]
	require.NoError(t, sinktest.Conserved(m))
	assert.EqualValues(t, 1100, m.Accepted)
	assert.EqualValues(t, 1100, m.Delivered)

	j.log.mu.Lock()
	j.log.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	j.log.mu.Unlock()
	require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
	sinktest.Eventually(t, func() bool { return segmentFiles(t, dir) <= 2 }, "what was retained long enough goes")
}

func TestConfig(t *testing.T) {
	for field, config := range map[string]Config{
		"sync":         {Sync: "sometimes"},
		"syncinterval": {SyncInterval: -1},
		"segmentbytes": {SegmentBytes: 1},
		"maxbytes":     {MaxBytes: minSegment},
		"maxage":       {MaxAge: -1},
		"retain":       {Retain: -1},
		"overflow":     {Overflow: notifications.DropNewest},
		"start":        {Start: "middle"},
		"hub":          {Hub: notifications.HubConfig{MaxPending: 1}},
	} {
		_, err := Open(t.TempDir(), config)
		var wrong *notifications.ConfigError
		require.ErrorAs(t, err, &wrong, field)
		assert.Equal(t, field, wrong.Field)
	}
	_, err := Open("", Config{})
	require.ErrorContains(t, err, "dir")
	_, err = Open(filepath.Join(t.TempDir(), "no", "such"), quick())
	require.ErrorIs(t, err, os.ErrNotExist)
}
