package observer

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestIdle: 100,000 repositories (fewer without -long) that have nothing to do cost at most 200 bytes each, besides
// their states, and no goroutine, however they came to be idle.
func TestIdle(t *testing.T) {
	repositories := 10_000
	if *long {
		repositories = 100_000
	}
	const most = 200
	store, feed := new(memory), new(sinktest.Feed)
	name := func(i int) string { return fmt.Sprintf("team%d/app%d", i%100, i) }
	write := func() {
		block := make([]*notifications.Event, repositories)
		for i := range block {
			block[i] = push(name(i), "v1")
		}
		require.NoError(t, feed.Write(t.Context(), block...))
	}
	write() // these are loaded

	o, err := New(Config{
		Feeds: map[string]notifications.Feed{"r": feed}, Store: store, Processor: nobody{}, Logger: quiet(), SaveInterval: time.Millisecond,
	})
	require.NoError(t, err)
	before := runtime.NumGoroutine()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- o.Watch(ctx) }()
	idle := func() {
		t.Helper()
		// Stat looks at each repository, and is not to be asked all the time.
		sinktest.Eventually(t, func() bool { return store.get("position/r") == strconv.FormatUint(feed.Last(), 10) }, "saved")
		sinktest.Eventually(t, func() bool { return o.Stat()["r"].Position == feed.Last() }, "idle: %+v", o.Stat())
		sinktest.Eventually(t, func() bool { // Watch itself, its waiter, its saver, and a timer or two
			return runtime.NumGoroutine() <= before+5
		}, "goroutines: %d, and %d before", runtime.NumGoroutine(), before)
		feed.Forget(feed.Last())
	}
	idle()
	write() // and these watched
	idle()
	watched := heap()
	states := make(map[string]*State)
	for _, repo := range o.registries["r"].repos {
		states[repo.state.Name] = repo.state
	}
	require.Len(t, states, repositories)
	end()
	require.NoError(t, <-ended)
	o = nil
	alone := heap()
	runtime.KeepAlive([]any{states, store, feed})
	each := (watched - alone) / int64(repositories)
	t.Logf("bytes for each repository besides its state: %d", each)
	assert.LessOrEqual(t, each, int64(most))
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// nobody is a Processor that does nothing.
type nobody struct{}

func (nobody) Enable(context.Context, *State) error                      { return nil }
func (nobody) Disable(context.Context, *State) error                     { return nil }
func (nobody) Freeze(context.Context, *State) error                      { return nil }
func (nobody) Unfreeze(context.Context, *State) error                    { return nil }
func (nobody) Event(context.Context, *State, notifications.Record) error { return nil }
