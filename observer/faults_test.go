package observer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestPanic: a panic is an error of that repository alone, and others go on.
func TestPanic(t *testing.T) {
	r := newRig(t)
	r.fail = func(call string) error {
		if strings.HasSuffix(call, " a") {
			panic("of a")
		}
		return nil
	}
	r.config.Retries = 1
	r.start()
	r.settles()
	r.write(push("a", "v1"), push("b", "v1"), push("a", "v2"), push("b", "v2"))
	r.settles()
	got := r.take()
	var a, b []string
	for _, line := range got {
		if strings.Contains(line, " a") {
			a = append(a, line)
			continue
		}
		b = append(b, line)
	}
	assert.Equal(t, []string{"enable a", "enable a", "enable a"}, a, "a retry, and then the next event")
	assert.Equal(t, []string{"enable b", "push b 2", "push b 4"}, b)
	var s State
	require.NoError(t, json.Unmarshal([]byte(r.store.get("state/r/a")), &s))
	assert.Equal(t, "panic: of a", s.Error)
}

// hung is a Processor of which calls for one repository come to no end but that of their
// context.
type hung struct {
	*diary
	name  string
	begun chan struct{}
	once  sync.Once
}

func (h *hung) Enable(ctx context.Context, s *State) error {
	if s.Name == h.name {
		h.once.Do(func() { close(h.begun) })
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return h.diary.Enable(ctx, s)
}

// TestHangs: a call that hangs keeps nobody else from going on, holds the position, and ends
// with Grace. The next start has it again.
func TestHangs(t *testing.T) {
	r := newRig(t)
	h := &hung{diary: r.diary, name: "a", begun: make(chan struct{})}
	r.config.Processor, r.config.Grace = h, 20*time.Millisecond
	r.start()
	r.settles()
	r.write(push("b", "v1"), push("a", "v1"))
	<-h.begun
	for i := range 200 {
		r.write(push(fmt.Sprint("c", i%20), "v1"))
	}
	sinktest.Eventually(t, func() bool { return r.store.get("position/r") == "1" && len(r.read()) == 2+20+200 }, "others go on: %v", r.read())
	assert.NoError(t, r.stop())
	assert.Equal(t, "1", r.store.get("position/r"), "the position waits for it")

	r.take()
	r.config.Processor = r.diary
	assert.ElementsMatch(t, []string{"enable a"}, r.runs(), "what others have done does not come again")
	assert.Equal(t, "202", r.store.get("position/r"))
}

// fail has the store fail, or not any more.
func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// TestStoreFails: while nothing can be saved, all goes on up to a rename, and the position
// stays; then all of it is saved.
func TestStoreFails(t *testing.T) {
	r := newRig(t)
	r.write(push("a", "v1"))
	r.start()
	r.settles()
	r.store.fail(errors.New("disk full"))
	r.write(push("a", "v2"), push("b", "v1"), removed("a"), rename("b", "c"))
	sinktest.Eventually(t, func() bool { return slices.Contains(r.read(), "delete a 4") && slices.Contains(r.read(), "push b 3") }, "%v", r.read())
	assert.Equal(t, "1", r.store.get("position/r"))
	assert.EqualValues(t, 1, r.o.Stat()["r"].Position)
	r.store.fail(nil)
	r.settles()
	assert.Empty(t, r.store.get("state/r/a"))
	assert.Empty(t, r.store.get("state/r/b"))
	assert.NotEmpty(t, r.store.get("state/r/c"))

	r.store.fail(errors.New("disk full"))
	r.write(push("c", "v9"))
	sinktest.Eventually(t, func() bool { return slices.Contains(r.read(), "push c 6") }, "%v", r.read())
	assert.ErrorContains(t, r.stop(), "disk full", "what is not saved at the end is told")
	r.take()
	r.store.fail(nil)
	assert.Equal(t, []string{"enable c"}, r.runs(), "and comes again")

	r.store.fail(errors.New("broken"))
	r.start()
	assert.ErrorContains(t, <-r.ended, "broken", "what cannot be loaded cannot be watched")
	r.end = nil
}

// TestFeedFails: a feed that cannot be read for a while is read again, in both phases.
func TestFeedFails(t *testing.T) {
	r := newRig(t)
	r.feed.Fail(errors.New("not now"))
	r.write(push("a", "v1"))
	r.start()
	assert.True(t, r.o.Stat()["r"].Loading)
	r.feed.Fail(nil)
	r.settles()
	r.feed.Fail(errors.New("not now"))
	r.write(push("a", "v2"), push("a", "v3"))
	r.feed.Fail(nil)
	r.settles()
	assert.Equal(t, []string{"enable a", "push a 2", "push a 3"}, r.read())
}

// flaky is a feed whose Wait fails at times.
type flaky struct {
	*sinktest.Feed
	mu    sync.Mutex
	waits int
}

func (f *flaky) Wait(ctx context.Context, after uint64) error {
	f.mu.Lock()
	f.waits++
	fails := f.waits%2 == 1
	f.mu.Unlock()
	if fails {
		return errors.New("not now")
	}
	return f.Feed.Wait(ctx, after)
}

// TestWaitFails: nor is anything lost when it is waiting that fails, while it is woken by
// what has become room, too.
func TestWaitFails(t *testing.T) {
	r := newRig(t)
	r.config.Feeds["r"] = &flaky{Feed: r.feed}
	r.config.MaxPending = 2
	r.start()
	for i := range 300 {
		r.write(push(fmt.Sprint("a", i%3), "v1"))
	}
	r.settles()
	for i := range 300 {
		r.write(push(fmt.Sprint("a", i%3), "v1"), push(fmt.Sprint("a", i%3), "v2"))
		if i%50 == 0 {
			r.settles()
		}
	}
	r.settles()
	events := 0
	for _, line := range r.read() {
		if strings.HasPrefix(line, "push") {
			events++
		}
	}
	assert.GreaterOrEqual(t, events, 600)
}

// TestGone: an observer that is new begins with what there is. One that comes back too late,
// or is too slow, ends: nobody knows what it has missed.
func TestGone(t *testing.T) {
	r := newRig(t)
	r.write(push("a", "v1"), push("b", "v1"))
	r.feed.Forget(1)
	assert.Equal(t, []string{"enable b"}, r.runs())
	r.write(push("b", "v2"), push("b", "v3"))
	r.feed.Forget(3)
	r.start()
	err := <-r.ended
	r.end = nil
	var (
		broken *FeedError
		gone   *notifications.PositionError
	)
	require.ErrorAs(t, err, &broken)
	assert.Equal(t, "r", broken.Feed)
	require.ErrorAs(t, err, &gone)
	assert.EqualValues(t, 2, gone.Position)
	assert.Equal(t, "2", r.store.get("position/r"))
	assert.Empty(t, r.take())
}

// TestGoneBesideAnother: that others have loaded and are saved, does not make a feed known
// that could not be read yet.
func TestGoneBesideAnother(t *testing.T) {
	r := newRig(t)
	late := new(sinktest.Feed)
	require.NoError(t, late.Write(t.Context(), push("x", "v1"), push("y", "v1")))
	late.Forget(1)
	late.Fail(errors.New("not now"))
	r.config.Feeds["late"] = late
	r.write(push("a", "v1"))
	r.start()
	r.settles()
	assert.Empty(t, r.store.get("position/late"))
	late.Fail(nil)
	sinktest.Eventually(t, func() bool { return r.o.Stat()["late"].Position == 2 }, "%v, %+v", r.read(), r.o.Stat())
	assert.Equal(t, "2", r.store.get("position/late"))
	assert.ElementsMatch(t, []string{"enable a", "enable y"}, r.read())
	assert.NoError(t, r.stop())
}

// TestGoneHeld: a journal that has lost the place that is held says so like any other feed.
func TestGoneHeld(t *testing.T) {
	r := newRig(t)
	r.write(push("a", "v1"), push("a", "v2"))
	assert.Equal(t, []string{"enable a"}, r.runs())
	j, err := journal.Open(t.TempDir(), journal.Config{Sync: journal.SyncNone, Logger: quiet()}) // another one
	require.NoError(t, err)
	defer j.Close(context.Background())
	r.config.Feeds["r"], r.config.Hold = j, "observer"
	r.start()
	err = <-r.ended
	r.end = nil
	var (
		broken *FeedError
		gone   *notifications.PositionError
	)
	assert.ErrorAs(t, err, &broken)
	assert.ErrorAs(t, err, &gone)
}

// TestClosed: at the end of a feed Watch ends, with all done that was in it.
func TestClosed(t *testing.T) {
	r := newRig(t)
	r.write(push("a", "v1"))
	r.start()
	r.settles()
	r.write(push("a", "v2"), push("a", "v3"))
	require.NoError(t, r.feed.Close(t.Context()))
	err := <-r.ended
	r.end = nil
	var broken *FeedError
	require.ErrorAs(t, err, &broken)
	require.ErrorIs(t, err, notifications.ErrSinkClosed)
	done := r.take()
	after := r.store.get("position/r")
	assert.Contains(t, []string{"1", "2", "3"}, after)
	r.start() // what is left comes now
	assert.ErrorIs(t, <-r.ended, notifications.ErrSinkClosed)
	r.end = nil
	done = append(done, r.take()...)
	assert.True(t, slices.Contains(done, "push a 3") || after != "3" && done[len(done)-1] == "enable a", "%v, %s", done, after)
}

// TestMaxPending: one repository that is slow has the feed wait; then all goes on.
func TestMaxPending(t *testing.T) {
	r := newRig(t)
	r.config.MaxPending = 8
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	r.hold = func(call string) {
		if call == "enable a" {
			<-release
		}
	}
	r.start()
	r.settles()
	for range 50 {
		r.write(push("a", "v1"))
	}
	r.write(push("b", "v1"))
	full := r.o.config.MaxPending - r.o.least()
	sinktest.Eventually(t, func() bool { return int(r.o.pending.Load()) > full }, "%+v", r.o.Stat())
	assert.LessOrEqual(t, r.o.Stat()["r"].Read, uint64(8))
	assert.Empty(t, r.read(), "nothing behind it is read")
	free()
	r.settles()
	got := r.take()
	assert.Len(t, got, 1+50+2)
	assert.Zero(t, r.o.pending.Load())
}

// TestEnds: whenever ctx ends, Watch returns, and what was not done comes with the next start.
func TestEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(r *rig)
	}{
		{"before it begins", func(*rig) {}},
		{"while a feed fails", func(r *rig) { r.feed.Fail(errors.New("not now")) }},
		{"while it loads", func(r *rig) {
			sinktest.Eventually(r, func() bool { return r.o.Stat()["r"].Read > 0 }, "reads")
		}},
		{"while it settles", func(r *rig) {
			sinktest.Eventually(r, func() bool { return len(r.read()) > 0 }, "calls")
		}},
		{"while it retries", func(r *rig) {
			sinktest.Eventually(r, func() bool { return len(r.read()) > 3 }, "calls")
		}},
		{"while it watches", func(r *rig) {
			r.settles()
			r.write(push("a0", "v8"), push("a1", "v8"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			for i := range 3000 {
				r.write(push(fmt.Sprint("a", i%500), "v1"))
			}
			r.config.Retries = 100
			failed := false
			r.fail = func(string) error { // one call, for as long as it takes
				if failed = !failed; failed {
					return errors.New("not now")
				}
				return nil
			}
			r.start()
			c.end(r)
			require.NoError(t, r.stop())
			r.feed.Fail(nil)
			r.fail = nil
			r.runs()
			r.take()
			for i := range 500 {
				var s State
				require.NoError(t, json.Unmarshal([]byte(r.store.get(fmt.Sprint("state/r/a", i))), &s))
				require.Equal(t, Enabled, s.Told)
				require.Empty(t, s.Error)
			}
		})
	}
	r := newRig(t)
	r.start()
	r.settles()
	assert.ErrorContains(t, r.o.Watch(t.Context()), "already")
}

// TestMoreThanHalf: what waits behind one repository is no room, and what is left is used.
func TestMoreThanHalf(t *testing.T) {
	r := newRig(t)
	r.config.MaxPending = 100
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	r.hold = func(call string) {
		if call == "push slow 1" {
			<-release
		}
	}
	r.start()
	r.settles()
	for range 60 {
		r.write(push("slow", "v1"))
	}
	for i := range 500 {
		r.write(push(fmt.Sprint("other", i%20), "v1"))
	}
	sinktest.Eventually(t, func() bool {
		n := 0
		for _, call := range r.read() {
			if strings.HasPrefix(call, "push other") {
				n++
			}
		}
		return n == 500
	}, "others go on")
	free()
	r.settles()
	require.NoError(t, r.stop())
}

// TestStoreHangs: the end waits for the store no longer than Grace.
func TestStoreHangs(t *testing.T) {
	r := newRig(t)
	r.config.Grace = 20 * time.Millisecond
	slow := &slowStore{memory: r.store, entered: make(chan struct{}), leave: make(chan struct{})}
	r.config.Store = slow
	r.write(push("a", "v1"))
	r.start()
	<-slow.entered
	assert.ErrorIs(t, r.stop(), context.DeadlineExceeded)
	assert.Empty(t, r.read(), "nobody is told what is not saved")
	r.config.Store = r.store
	assert.Equal(t, []string{"enable a"}, r.runs())
}

// slowStore is a store whose saves wait.
type slowStore struct {
	*memory
	once           sync.Once
	entered, leave chan struct{} // leave is closed by the test
}

func (s *slowStore) Save(ctx context.Context, changes map[string][]byte) error {
	s.once.Do(func() { close(s.entered) })
	select {
	case <-s.leave:
		return s.memory.Save(ctx, changes)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestGoexit: a call that ends its goroutine, as a test's FailNow does, has failed, and takes
// no place of others with it.
func TestGoexit(t *testing.T) {
	r := newRig(t)
	r.config.Activities, r.config.Lanes, r.config.Retries = 2, 1, 1
	k := &keeper{diary: r.diary}
	r.config.Initializer = k
	r.fail = func(call string) error {
		if strings.HasSuffix(call, " a") {
			runtime.Goexit()
		}
		return nil
	}
	r.start()
	r.settles()
	for range 3 {
		r.write(push("a", "v1"), push("b", "v1"))
	}
	r.settles()
	var s State
	require.NoError(t, json.Unmarshal([]byte(r.store.get("state/r/a")), &s))
	assert.Contains(t, s.Error, "Goexit")
	assert.Contains(t, r.take(), "push b 6")
	require.NoError(t, r.stop())
}
