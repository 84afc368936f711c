package observer

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestHoldFirst: a journal keeps what is not done with from the start of the first Watch on,
// and not only from the first save.
func TestHoldFirst(t *testing.T) {
	r := newRig(t)
	config := journal.Config{SegmentBytes: 64 << 10, Sync: journal.SyncNone}
	config.Logger = quiet()
	j, err := journal.Open(filepath.Join(t.TempDir(), "events"), config)
	require.NoError(t, err)
	// Nobody has held anything so far, and the journal has forgotten some of it.
	fill := func(n int) {
		for i := range n {
			require.NoError(t, j.Write(t.Context(), push("r"+strconv.Itoa(i%7), "v1")))
		}
	}
	fill(1500)
	sinktest.Eventually(t, func() bool { return j.Stat().First > 1000 }, "it has forgotten")

	// While the first save is under way, much is written.
	slow := &slowStore{memory: r.store, entered: make(chan struct{}), leave: make(chan struct{})}
	r.config.Store = slow
	r.config.Feeds, r.config.Hold = map[string]notifications.Feed{"r": j}, "observer"
	r.start()
	<-slow.entered
	held := *r.o.registries["r"].held
	fill(1500)
	time.Sleep(20 * time.Millisecond) // it forgets in its own time
	kept := j.Stat().First
	close(slow.leave)
	require.LessOrEqual(t, kept, held+1)
	require.Less(t, kept, uint64(1501))
	sinktest.Eventually(t, func() bool { return r.o.Stat()["r"].Position == j.Last() }, "all is done with")
	require.NoError(t, r.stop())
	require.NoError(t, j.Close(t.Context()))
}
