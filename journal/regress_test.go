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
