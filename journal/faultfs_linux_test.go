package journal

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/sinktest"
)

// TestRealFullDisk fills a disk of two megabytes.
func TestRealFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mounting a small disk, which needs root: %v", err)
	}
	defer func() { assert.NoError(t, syscall.Unmount(dir, 0)) }()

	config := durable()
	j, err := Open(dir, config)
	require.NoError(t, err)
	defer func() { assert.NoError(t, j.Close(t.Context())) }()
	fast, slow := new(sinktest.Fake), new(sinktest.Fake)
	release := slow.Hold()
	defer release()
	require.NoError(t, j.Add("fast", fast))
	require.NoError(t, j.Add("slow", slow))
	fullDisk(t, disk{}, dir, j, fast, slow, release)

	// A full disk does not keep the journal from being opened, either.
	require.NoError(t, j.Close(t.Context()))
	fill(t, dir)
	j, err = Open(dir, config)
	require.NoError(t, err)
	fast = new(sinktest.Fake)
	require.NoError(t, j.Add("fast", fast))
	require.ErrorIs(t, j.Write(t.Context(), sinktest.Events("no room", 1)...), syscall.ENOSPC)
}

// fill takes all the room that a disk has left.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	require.NoError(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
}
