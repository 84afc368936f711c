package notifications_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quick = HubConfig{Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond, Logger: silent()}

func silent() *logrus.Entry {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return logrus.NewEntry(logger)
}

func newBroadcaster(t *testing.T) *Broadcaster {
	b, err := NewBroadcaster(quick)
	require.NoError(t, err)
	return b
}

func TestBroadcasterIsAHub(t *testing.T) {
	sinktest.TestHub(t, sinktest.HubOptions{}, func(t *testing.T) sinktest.Hub { return newBroadcaster(t) })
}

func TestFakeIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		f := new(sinktest.Fake)
		return sinktest.Subject{Sink: f, Events: f.Events, Hold: f.Hold}
	})
}

func TestBroadcasterIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		f, b := new(sinktest.Fake), newBroadcaster(t)
		require.NoError(t, b.Add("fake", f))
		return sinktest.Subject{Sink: b, Events: f.Events, Hold: f.Hold}
	})
}

func TestQueueIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		f := new(sinktest.Fake)
		q, err := NewQueue(f, quick)
		require.NoError(t, err)
		return sinktest.Subject{Sink: q, Events: f.Events, Hold: f.Hold}
	})
}

func TestFilterIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		f := new(sinktest.Fake)
		s, err := NewFilter(f, Filter{Ignore: Rules{Actions: []string{"nothing"}}})
		require.NoError(t, err)
		return sinktest.Subject{Sink: s, Events: f.Events, Hold: f.Hold}
	})
}

func TestRetryingSinkIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		f := new(sinktest.Fake)
		s, err := NewRetryingSink(f, RetryConfig{Backoff: time.Millisecond})
		require.NoError(t, err)
		return sinktest.Subject{Sink: s, Events: f.Events, Hold: f.Hold}
	})
}

// TestSinksShareOneEvent: however many sinks there are, there is one copy.
func TestSinksShareOneEvent(t *testing.T) {
	a, b, hub := new(sinktest.Fake), new(sinktest.Fake), newBroadcaster(t)
	defer hub.Close(t.Context())
	require.NoError(t, hub.Add("a", a))
	require.NoError(t, hub.Add("b", b))
	e := NewEvent(ActionPush)
	require.NoError(t, hub.Write(t.Context(), e))
	assert.Same(t, e, a.Wait(t, 1)[0])
	assert.Same(t, e, b.Wait(t, 1)[0])
}

// TestDeliveredEventsAreReleased: what the slowest sink has had costs no memory, but
// for the last few.
func TestDeliveredEventsAreReleased(t *testing.T) {
	hub := newBroadcaster(t)
	defer hub.Close(t.Context())
	for _, name := range []string{"a", "b"} {
		require.NoError(t, hub.Add(name, forgetful{}))
	}
	const events = 5000
	var released atomic.Int64
	for range events {
		e := NewEvent(ActionPush)
		runtime.AddCleanup(e, func(struct{}) { released.Add(1) }, struct{}{})
		require.NoError(t, hub.Write(t.Context(), e))
	}
	sinktest.Eventually(t, func() bool {
		runtime.GC()
		return released.Load() > events-200
	}, "delivered events are released")
	runtime.KeepAlive(hub)
}

// forgetful is a sink that keeps nothing.
type forgetful struct{}

func (forgetful) Write(context.Context, ...*Event) error { return nil }
func (forgetful) Close(context.Context) error            { return nil }

// TestOwnLog: whoever brings a log gets a hub.
func TestOwnLog(t *testing.T) {
	f := new(sinktest.Fake)
	hub, err := NewHub(&oneEventLog{}, quick)
	require.NoError(t, err)
	require.NoError(t, hub.Add("fake", f))
	require.NoError(t, hub.Write(t.Context(), NewEvent(ActionPush)))
	f.Wait(t, 1)
	require.NoError(t, hub.Close(t.Context()))
	assert.True(t, f.Closed())
	assert.Equal(t, Metrics{Accepted: 1, Delivered: 1}, hub.Metrics()["fake"])
}

// oneEventLog is a log for one sink and one event, which fails once to be read.
type oneEventLog struct {
	event  chan *Event
	closed chan struct{}
	read   int
	given  atomic.Uint64
	done   uint64
}

func (l *oneEventLog) Append(_ context.Context, events ...*Event) error {
	l.given.Add(1)
	l.event <- events[0]
	return nil
}
func (l *oneEventLog) Cursor(string) (Cursor, error) {
	l.event, l.closed = make(chan *Event, 1), make(chan struct{})
	return oneEventCursor{l}, nil
}
func (l *oneEventLog) Forget(string) error { return nil }

func (l *oneEventLog) Durable() bool { return false }
func (l *oneEventLog) Close() error  { close(l.closed); return nil }

type oneEventCursor struct{ *oneEventLog }

func (c oneEventCursor) Next(ctx context.Context, block []*Event) (int, error) {
	if c.oneEventLog.read++; c.oneEventLog.read == 1 {
		return 0, errors.New("cannot be read just now")
	}
	select {
	case block[0] = <-c.event:
		return 1, nil
	case <-c.closed:
		return 0, io.EOF
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
func (c oneEventCursor) Settle(n int) { c.done += uint64(n) }
func (c oneEventCursor) Lag() Lag {
	return Lag{Accepted: c.given.Load(), Pending: c.given.Load() - c.done}
}
func (c oneEventCursor) Close() error { return nil }

// TestSinkThatIgnoresItsContext cannot be stopped, and is said so; nobody waits for
// it.
func TestSinkThatIgnoresItsContext(t *testing.T) {
	release := make(chan struct{})
	hub := newBroadcaster(t)
	busy := make(chan bool, 2)
	require.NoError(t, hub.Add("a", deaf{busy, release}))
	require.NoError(t, hub.Add("b", deaf{busy, release}))
	require.NoError(t, hub.Write(t.Context(), NewEvent(ActionPush)))
	<-busy
	<-busy
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorContains(t, hub.Remove(ctx, "a"), "ignores")
	err := hub.Close(ctx)
	assert.ErrorContains(t, err, "ignores")
	assert.ErrorAs(t, err, new(*UndeliveredError))
	m := hub.Metrics()["b"]
	assert.NoError(t, sinktest.Conserved(m))
	close(release)
	time.Sleep(10 * time.Millisecond) // the late answer changes nothing
	assert.Equal(t, m, hub.Metrics()["b"])
}

// deaf is a sink that does not listen to its context.
type deaf struct {
	busy    chan bool
	release chan struct{}
}

func (s deaf) Write(context.Context, ...*Event) error { s.busy <- true; <-s.release; return nil }
func (s deaf) Close(context.Context) error            { <-s.release; return nil }

func TestQueueIsClosedWithItsSink(t *testing.T) {
	f := new(sinktest.Fake)
	q, err := NewQueue(f, quick)
	require.NoError(t, err)
	defer q.Close(t.Context())
	require.NoError(t, f.Close(t.Context()))
	require.NoError(t, q.Write(t.Context(), NewEvent(ActionPush)), "nobody knows yet")
	sinktest.Eventually(t, func() bool {
		return errors.Is(q.Write(t.Context(), NewEvent(ActionPush)), ErrSinkClosed)
	}, "the queue says so too")
}

// TestProgressResetsBackoff: a sink that takes a little at a time is not a sink that
// fails.
func TestProgressResetsBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &sinktest.Partial{Most: 1}
		hub, err := NewBroadcaster(HubConfig{Backoff: time.Second, MaxBackoff: time.Hour, Logger: silent()})
		require.NoError(t, err)
		require.NoError(t, hub.Add("partial", p))
		require.NoError(t, hub.Write(t.Context(), sinktest.Events("app", 100)...))
		time.Sleep(100 * time.Second)
		synctest.Wait()
		assert.Len(t, p.Events(), 100)
		require.NoError(t, hub.Close(t.Context()))
	})
}
