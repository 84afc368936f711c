package notifications_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func limited(t *testing.T, c HubConfig) *Broadcaster {
	c.Backoff = time.Millisecond
	if c.Logger == nil {
		c.Logger = silent()
	}
	b, err := NewBroadcaster(c)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_ = b.Close(ctx)
	})
	return b
}

// eventSize is what an event of sinktest's, with this time, has encoded.
func sized(t *testing.T, prefix string, n int) ([]*Event, int) {
	events := sinktest.Events(prefix, n)
	for _, e := range events {
		e.Timestamp = time.Unix(1e9, 0).UTC()
	}
	b, err := events[0].MarshalJSON()
	require.NoError(t, err)
	return events, len(b)
}

// held has a hub with a sink that is held in the middle of its first event, and
// writes events one by one.
func held(t *testing.T, c HubConfig, n int) (b *Broadcaster, stuck, free *sinktest.Fake, release func(), events []*Event, errs []error) {
	b = limited(t, c)
	stuck, free = new(sinktest.Fake), new(sinktest.Fake)
	release = stuck.Hold()
	t.Cleanup(release)
	require.NoError(t, b.Add("stuck", stuck))
	require.NoError(t, b.Add("free", free))
	events, _ = sized(t, "e", n)
	for i, e := range events {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		errs = append(errs, b.Write(ctx, e))
		if i == 0 {
			stuck.WaitBusy(t)
		}
		if errs[i] == nil {
			sinktest.Eventually(t, func() bool { return b.Metrics()["free"].Pending == 0 }, "the free sink keeps up")
		}
	}
	return b, stuck, free, release, events, errs
}

func TestOverflow(t *testing.T) {
	_, size := sized(t, "e", 1)
	for _, limit := range []HubConfig{{MaxPending: 4}, {MaxPendingBytes: 4 * size}, {MaxPending: 4, MaxPendingBytes: 100 * size}} {
		name := fmt.Sprintf("%d events %d bytes", limit.MaxPending, limit.MaxPendingBytes)

		t.Run(name+" block", func(t *testing.T) {
			b, stuck, free, release, events, errs := held(t, limit, 6)
			for i, err := range errs {
				if i < 4 {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, ErrFull)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "stuck")
			}
			assert.Len(t, free.Events(), 4, "nobody got what was not taken")
			done := make(chan error)
			go func() { done <- b.Write(context.Background(), events[4:]...) }()
			select {
			case err := <-done:
				t.Fatal("did not block", err)
			case <-time.After(5 * time.Millisecond):
			}
			release()
			require.NoError(t, <-done)
			assert.Equal(t, sinktest.IDs(events), sinktest.IDs(stuck.Wait(t, 6)))
		})

		t.Run(name+" drop-newest", func(t *testing.T) {
			limit.Overflow = DropNewest
			b, stuck, free, release, events, errs := held(t, limit, 6)
			for i, err := range errs {
				require.Equal(t, i >= 4, errors.Is(err, ErrFull), "%d: %v", i, err)
			}
			assert.Equal(t, Metrics{Accepted: 4, Pending: 4, Rejected: 2}, b.Metrics()["stuck"])
			assert.Equal(t, sinktest.IDs(events), sinktest.IDs(free.Wait(t, 6)), "the others have it all")
			release()
			sinktest.Eventually(t, func() bool { return b.Metrics()["stuck"].Pending == 0 }, "room again")
			more, _ := sized(t, "more", 2)
			require.NoError(t, b.Write(t.Context(), more...))
			assert.Equal(t, sinktest.IDs(append(events[:4:4], more...)), sinktest.IDs(stuck.Wait(t, 6)))
			sinktest.Eventually(t, func() bool { return b.Metrics()["stuck"].Delivered == 6 }, "counted")
			assert.NoError(t, sinktest.Conserved(b.Metrics()["stuck"]))
		})

		t.Run(name+" drop-oldest", func(t *testing.T) {
			limit.Overflow = DropOldest
			b, stuck, free, release, events, errs := held(t, limit, 7)
			for _, err := range errs {
				require.NoError(t, err)
			}
			assert.Equal(t, Metrics{Accepted: 7, Pending: 4, Dropped: map[string]uint64{DroppedOverflow: 3}}, b.Metrics()["stuck"])
			free.Wait(t, 7)
			release()
			// The one that was being tried stays, and of the others the newest.
			assert.Equal(t, sinktest.IDs(append(events[:1:1], events[4:]...)), sinktest.IDs(stuck.Wait(t, 4)))
			require.NoError(t, b.Close(t.Context()))
			m := b.Metrics()["stuck"]
			assert.Equal(t, Metrics{Accepted: 7, Delivered: 4, Dropped: map[string]uint64{DroppedOverflow: 3}}, m)
		})
	}
}

func TestOverflowAtClose(t *testing.T) {
	b, _, _, _, _, _ := held(t, HubConfig{MaxPending: 4, Overflow: DropOldest}, 7)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var left *UndeliveredError
	require.ErrorAs(t, b.Close(ctx), &left)
	assert.EqualValues(t, 4, left.Sinks["stuck"], "what was dropped before is not dropped again")
	assert.Equal(t, map[string]uint64{DroppedOverflow: 3, DroppedClosed: 4}, b.Metrics()["stuck"].Dropped)
}

func TestOverflowABlockLargerThanTheLimit(t *testing.T) {
	for _, overflow := range []Overflow{Block, DropNewest} {
		b := limited(t, HubConfig{MaxPending: 4, Overflow: overflow})
		f := new(sinktest.Fake)
		require.NoError(t, b.Add("fake", f))
		require.NoError(t, b.Write(t.Context(), sinktest.Events("e", 100)...))
		f.Wait(t, 100)
	}
}

func TestOverflowClosedWhileBlocked(t *testing.T) {
	b, _, _, release, _, _ := held(t, HubConfig{MaxPending: 1}, 1)
	done := make(chan error)
	go func() { done <- b.Write(context.Background(), NewEvent(ActionPush)) }()
	time.Sleep(time.Millisecond)
	go release()
	require.NoError(t, b.Close(t.Context()))
	if err := <-done; err != nil {
		require.ErrorIs(t, err, ErrSinkClosed)
	}
}

func TestOverflowIsLoggedOnceAnEpisode(t *testing.T) {
	log, hook := quietLogger()
	b, stuck, _, release, _, _ := held(t, HubConfig{MaxPending: 4, Overflow: DropOldest, Logger: log}, 50)
	release()
	stuck.Wait(t, 4)
	require.NoError(t, b.Close(t.Context()))
	var lines []string
	for _, e := range hook.AllEntries() {
		if e.Data["sink"] == "stuck" && e.Level.String() == "warning" {
			lines = append(lines, e.Message)
		}
	}
	assert.Equal(t, []string{"notifications: sink is full; events are lost", "notifications: sink has room again; events were lost"}, lines)
}

// TestOverflowConserves reads the counts all the time, for each policy.
func TestOverflowConserves(t *testing.T) {
	for _, overflow := range []Overflow{Block, DropNewest, DropOldest} {
		b := limited(t, HubConfig{MaxPending: 20, MaxPendingBytes: 5000, Overflow: overflow})
		sinks := []*sinktest.Fake{new(sinktest.Fake), new(sinktest.Fake)}
		require.NoError(t, b.Add("a", sinks[0]))
		require.NoError(t, b.Add("b", sinks[1]))
		ctx, stop := context.WithCancel(t.Context())
		var watch, wg sync.WaitGroup
		watch.Go(func() {
			for ctx.Err() == nil {
				for name, m := range b.Metrics() {
					if !assert.NoError(t, sinktest.Conserved(m), name) {
						return
					}
				}
			}
		})
		for w := range 4 {
			wg.Go(func() {
				for i, e := range sinktest.Events(fmt.Sprint("w", w), 1000) {
					if i%50 == 0 {
						sinks[0].Fail(1, errors.New("boom"))
					}
					if err := b.Write(ctx, e); err != nil && !errors.Is(err, ErrFull) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, b.Close(t.Context()))
		stop()
		watch.Wait()
		for i, name := range []string{"a", "b"} {
			m := b.Metrics()[name]
			assert.NoError(t, sinktest.Conserved(m))
			assert.EqualValues(t, 4000, m.Accepted+m.Rejected, overflow)
			assert.Len(t, sinks[i].Events(), int(m.Delivered))
			assertInOrderWithGaps(t, sinks[i].Events())
		}
	}
}

func assertInOrderWithGaps(t *testing.T, events []*Event) {
	t.Helper()
	last := make(map[string]int)
	for _, e := range events {
		var n int
		_, err := fmt.Sscanf(e.Target.Tag, "v%d", &n)
		require.NoError(t, err)
		if before, ok := last[e.Target.Repository]; ok {
			require.Greater(t, n, before, e.Target.Repository)
		}
		last[e.Target.Repository] = n
	}
}

func TestOverflowBadInput(t *testing.T) {
	for want, c := range map[string]HubConfig{
		`maxpending: -1`:          {MaxPending: -1},
		`maxpendingbytes: -1`:     {MaxPendingBytes: -1},
		`overflow: "drop-random"`: {Overflow: "drop-random"},
	} {
		_, err := NewBroadcaster(c)
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "allowed")
	}
}

// TestEndpointsHaveLimitsOfTheirOwn, side by side in one hub.
func TestEndpointsHaveLimitsOfTheirOwn(t *testing.T) {
	r := newReceiver(t)
	release := r.hold()
	defer release()
	hub := limited(t, HubConfig{})
	endpoints := make(map[string]*Endpoint)
	for name, c := range map[string]EndpointConfig{
		"unbounded": {},
		"newest":    {MaxPending: 4, Overflow: DropNewest, MaxEvents: 1},
		"oldest":    {MaxPendingBytes: 2000, Overflow: DropOldest, MaxEvents: 1},
	} {
		endpoints[name] = newEndpoint(t, name, r.URL, c)
		require.NoError(t, hub.Add(name, endpoints[name]))
	}
	events := sinktest.Events("e", 100)
	require.NoError(t, hub.Write(t.Context(), events[0]))
	sinktest.Eventually(t, func() bool { return r.posts() == 3 }, "all are busy")
	for _, e := range events[1:] {
		if err := hub.Write(t.Context(), e); err != nil {
			require.ErrorIs(t, err, ErrFull)
			require.Equal(t, "notifications: sink full: newest", err.Error())
		}
	}
	for name, e := range endpoints {
		m := e.Metrics().Metrics
		assert.NoError(t, sinktest.Conserved(m), name)
		switch name {
		case "unbounded":
			assert.EqualValues(t, 100, m.Pending)
		case "newest":
			assert.EqualValues(t, 4, m.Pending)
			assert.EqualValues(t, 96, m.Rejected)
		case "oldest":
			assert.Less(t, m.Pending, uint64(12))
			assert.Equal(t, m.Accepted-m.Pending, m.Dropped[DroppedOverflow])
		}
	}
	release()
	require.NoError(t, hub.Close(t.Context()))
	assert.EqualValues(t, 100, endpoints["unbounded"].Metrics().Delivered)
}

// TestRefusedEventsCostNothing: what a full sink does not get is not kept for it.
func TestRefusedEventsCostNothing(t *testing.T) {
	for _, healthy := range []bool{false, true} {
		b := limited(t, HubConfig{MaxPending: 5, Overflow: DropNewest})
		stuck := new(sinktest.Fake)
		release := stuck.Hold()
		require.NoError(t, b.Add("stuck", stuck))
		var released atomic.Int64
		const events = 5000
		for i := range events {
			e := sinktest.Events(fmt.Sprint(i), 1)[0]
			runtime.AddCleanup(e, func(struct{}) { released.Add(1) }, struct{}{})
			_ = b.Write(t.Context(), e)
			if i == 0 {
				stuck.WaitBusy(t)
			}
			if i == 100 && healthy {
				require.NoError(t, b.Add("healthy", forgetful{}))
			}
		}
		sinktest.Eventually(t, func() bool {
			runtime.GC()
			return released.Load() > events-200
		}, "what was refused is released")
		release()
		assert.Len(t, stuck.Wait(t, 5), 5)
	}
}

// TestByteLimitsThatComeLate, with a sink that is added to a busy hub.
func TestByteLimitsThatComeLate(t *testing.T) {
	r := newReceiver(t)
	hub := limited(t, HubConfig{MaxPending: 50, Overflow: Block})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = hub.Write(t.Context(), NewEvent(ActionPush))
				}
			}
		})
	}
	require.NoError(t, hub.Add("first", forgetful{}))
	var late []*Endpoint
	for i := range 20 {
		e := newEndpoint(t, fmt.Sprint("late", i), r.URL, EndpointConfig{MaxPendingBytes: 100 << 20, Overflow: DropOldest})
		late = append(late, e)
		require.NoError(t, hub.Add(e.Name(), e))
	}
	time.Sleep(20 * time.Millisecond)
	close(stop)
	wg.Wait()
	require.NoError(t, hub.Close(t.Context()))
	for _, e := range late {
		assert.Empty(t, e.Metrics().Dropped)
	}
}

func TestEndpointCountsARefusalOnce(t *testing.T) {
	r := newReceiver(t)
	defer r.hold()()
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{MaxPending: 1, Overflow: DropNewest})
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	for range 3 {
		require.ErrorIs(t, e.Write(t.Context(), NewEvent(ActionPush)), ErrFull)
	}
	require.NoError(t, e.Write(t.Context()), "nothing always fits")
	assert.EqualValues(t, 3, e.Metrics().Rejected)
}

func TestOneEventOverTheLimit(t *testing.T) {
	b := limited(t, HubConfig{MaxPendingBytes: 10, Overflow: DropOldest})
	f := new(sinktest.Fake)
	require.NoError(t, b.Add("fake", f))
	require.NoError(t, b.Write(t.Context(), NewEvent(ActionPush)))
	f.Wait(t, 1)
}
