package notifications_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/reference"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// What users, receivers and networks do that nobody expected.

func TestSinkThatReturnsEOFIsRetried(t *testing.T) {
	f := new(sinktest.Fake)
	f.Fail(2, fmt.Errorf("reading the answer: %w", io.EOF))
	hub := newBroadcaster(t)
	defer hub.Close(t.Context())
	require.NoError(t, hub.Add("fake", f))
	require.NoError(t, hub.Write(t.Context(), NewEvent(ActionPush)))
	f.Wait(t, 1)
}

// TestSwitchingProtocols: behind a 101 there is a raw connection, and no time-out.
func TestSwitchingProtocols(t *testing.T) {
	url := listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_, _ = c.Read(make([]byte, 1))
	})
	e := newEndpoint(t, "hook", url, EndpointConfig{})
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	sinktest.Eventually(t, func() bool { return e.Metrics().Failures > 2 }, "it is tried again")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	var left *UndeliveredError
	err := e.Close(ctx)
	require.ErrorAs(t, err, &left)
	assert.NotContains(t, err.Error(), "ignores")
}

// TestRemovedSinkGetsNothingMore, though it does not listen to its context and there
// is enough to give it.
func TestRemovedSinkGetsNothingMore(t *testing.T) {
	hub := newBroadcaster(t)
	defer hub.Close(t.Context())
	var removed, late atomic.Bool
	require.NoError(t, hub.Add("slow", sinkFunc(func([]*Event) error {
		late.Store(late.Load() || removed.Load())
		time.Sleep(time.Millisecond)
		return nil
	})))
	require.NoError(t, hub.Write(t.Context(), sinktest.Events("e", 100*1024)...))
	require.NoError(t, hub.Remove(t.Context(), "slow"))
	removed.Store(true)
	time.Sleep(20 * time.Millisecond)
	assert.False(t, late.Load())
}

// TestLoggingAnEndpointThatLogs: a hook may look at what it is told of.
func TestLoggingAnEndpointThatLogs(t *testing.T) {
	r := newReceiver(t)
	r.answers(statusHandler(503))
	var e atomic.Pointer[Endpoint]
	var hub atomic.Pointer[Broadcaster]
	var fired atomic.Int64
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.DebugLevel)
	logger.AddHook(hookFunc(func() {
		if e := e.Load(); e != nil {
			e.Metrics()
		}
		if hub := hub.Load(); hub != nil {
			hub.Metrics()
		}
		fired.Add(1)
	}))
	log := logrus.NewEntry(logger)
	b, err := NewBroadcaster(HubConfig{Logger: log, MaxPending: 2, Overflow: DropOldest})
	require.NoError(t, err)
	hub.Store(b)
	e.Store(newEndpoint(t, "hook", r.URL, EndpointConfig{Logger: log}))
	require.NoError(t, b.Add("hook", e.Load()))
	require.NoError(t, b.Write(t.Context(), sinktest.Events("e", 5)...))
	require.NoError(t, b.Write(t.Context(), sinktest.Events("f", 5)...))
	sinktest.Eventually(t, func() bool { return e.Load().Metrics().Failures > 1 }, "failures")
	r.answers(nil)
	sinktest.Eventually(t, func() bool { return e.Load().Metrics().Pending == 0 }, "recovery")
	require.NoError(t, b.Close(t.Context()))
	assert.Positive(t, fired.Load())
}

type hookFunc func()

func (hookFunc) Levels() []logrus.Level     { return logrus.AllLevels }
func (f hookFunc) Fire(*logrus.Entry) error { f(); return nil }

// counting is a decorator of somebody's.
type counting struct {
	*Endpoint
	calls atomic.Int64
}

func (c *counting) Deliver(ctx context.Context, events ...*Event) (int, error) {
	c.calls.Add(1)
	return c.Endpoint.Deliver(ctx, events...)
}

func TestDecoratorThatEmbedsAnEndpoint(t *testing.T) {
	r := newReceiver(t)
	c := &counting{Endpoint: newEndpoint(t, "hook", r.URL, EndpointConfig{})}
	hub := newBroadcaster(t)
	require.NoError(t, hub.Add("hook", c))
	require.NoError(t, hub.Write(t.Context(), NewEvent(ActionPush)))
	require.NoError(t, hub.Close(t.Context()))
	assert.Positive(t, c.calls.Load())
	assert.Equal(t, Metrics{Accepted: 1, Delivered: 1}, c.Metrics().Metrics)
	assert.Equal(t, Metrics{Accepted: 1, Delivered: 1}, hub.Metrics()["hook"])
}

func TestNilBridge(t *testing.T) {
	bridge, err := NewBridge(nil, BridgeConfig{})
	require.Error(t, err)
	registry := &fakeRegistry{}
	repo, _ := Listen(registry, nil, bridge) // by somebody who does not look at errors
	require.NoError(t, repo.Tags(t.Context()).Untag(t.Context(), "v1"))
}

func TestConfigurationIsCopied(t *testing.T) {
	r := newReceiver(t)
	config := EndpointConfig{Headers: http.Header{"X-A": {"1"}}, Ignore: Rules{Actions: []string{"pull"}}}
	e := newEndpoint(t, "hook", r.URL, config)
	config.Headers.Set("X-A", "2")
	config.Ignore.Actions[0] = "push"
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	require.NoError(t, e.Close(t.Context()))
	require.Equal(t, 1, r.posts())
	req, _ := r.last()
	assert.Equal(t, "1", req.Header.Get("X-A"))
}

// TestSinkThatLeavesWhileItDrains: what is lost with it is said, and it is closed.
func TestSinkThatLeavesWhileItDrains(t *testing.T) {
	s := &leaving{}
	hub := newBroadcaster(t)
	require.NoError(t, hub.Add("leaving", s))
	s.Lock()
	require.NoError(t, hub.Write(t.Context(), sinktest.Events("e", 5)...))
	go s.Unlock()
	var left *UndeliveredError
	require.ErrorAs(t, hub.Close(t.Context()), &left)
	assert.Equal(t, map[string]uint64{"leaving": 5}, left.Sinks)
	assert.True(t, s.closed.Load())

	s = &leaving{}
	q, err := NewQueue(s, quick)
	require.NoError(t, err)
	require.NoError(t, q.Write(t.Context(), NewEvent(ActionPush)))
	sinktest.Eventually(t, s.closed.Load, "a sink that leaves is closed")
	require.ErrorAs(t, q.Close(t.Context()), &left)
	assert.Equal(t, map[string]uint64{"queue": 1}, left.Sinks)
}

type leaving struct {
	sync.Mutex
	closed atomic.Bool
}

func (s *leaving) Write(context.Context, ...*Event) error {
	s.Lock()
	defer s.Unlock()
	return ErrSinkClosed
}
func (s *leaving) Close(context.Context) error { s.closed.Store(true); return nil }

// TestQueueLosesNothingUncounted when its sink leaves in the middle of writes.
func TestQueueLosesNothingUncounted(t *testing.T) {
	for range 200 {
		var taken atomic.Uint64
		s := sinkFunc(func(events []*Event) error {
			if taken.Load() > 3 {
				return ErrSinkClosed
			}
			taken.Add(uint64(len(events)))
			return nil
		})
		q, err := NewQueue(s, quick)
		require.NoError(t, err)
		var accepted atomic.Uint64
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for q.Write(t.Context(), NewEvent(ActionPush)) == nil {
					accepted.Add(1)
				}
			})
		}
		wg.Wait()
		var left *UndeliveredError
		lost := uint64(0)
		if errors.As(q.Close(t.Context()), &left) {
			lost = left.Sinks["queue"]
		}
		require.LessOrEqual(t, accepted.Load(), taken.Load()+lost, "accepted and neither taken nor lost")
	}
}

func TestDeliverNothing(t *testing.T) {
	r := newReceiver(t)
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{})
	n, err := e.Deliver(t.Context())
	assert.NoError(t, err)
	assert.Zero(t, n)

	// Once Close has begun, nobody gets in any more.
	release := r.hold()
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	sinktest.Eventually(t, func() bool { return r.posts() == 1 }, "a POST is under way")
	closed := make(chan error)
	go func() { closed <- e.Close(context.Background()) }()
	sinktest.Eventually(t, func() bool {
		_, err := e.Deliver(cancelledContext(t), NewEvent(ActionPush))
		return errors.Is(err, ErrSinkClosed)
	}, "intake has stopped")
	release()
	require.NoError(t, <-closed)
}

func cancelledContext(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestRefusalWithRetryAfterIsLoud(t *testing.T) {
	r := newReceiver(t)
	r.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "100")
		w.WriteHeader(401)
	})
	log, hook := quietLogger()
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{Logger: log})
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	sinktest.Eventually(t, func() bool { return e.Metrics().State.Reason == ReasonRetryAfter }, "it waits")
	sinktest.Eventually(t, func() bool { return hook.LastEntry().Level == logrus.ErrorLevel }, "loud")
}

func TestHTTPConfigIsEncodedWithoutSecrets(t *testing.T) {
	c := HTTPConfig{Headers: http.Header{"X": {"hunter2"}}}
	b, err := json.Marshal(c)
	require.NoError(t, err)
	assert.NotContains(t, string(b), "hunter2")
	y, err := c.MarshalYAML()
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprintf("%+v", y), "hunter2")
}

type panickyURLs struct{}

func (panickyURLs) BuildManifestURL(reference.Named) (string, error) { panic("boom") }
func (panickyURLs) BuildBlobURL(reference.Canonical) (string, error) { panic("boom") }

func TestBridgeSurvivesItsURLBuilder(t *testing.T) {
	f := new(sinktest.Fake)
	b := newBridge(t, f, BridgeConfig{URLs: panickyURLs{}, Logger: silent()})
	require.NoError(t, b.BlobPushed(t.Context(), someName, someBlob))
	require.NoError(t, b.ManifestPushed(t.Context(), someName, someDigest, fakeManifest{}, ""))
	require.Len(t, f.Events(), 2)
	assert.NotEmpty(t, f.Events()[1].Target.MediaType)
}

// badCloser is a sink whose Close panics.
type badCloser struct{ forgetful }

func (badCloser) Close(context.Context) error { panic("boom") }

func TestCloseThatPanicsOrHangs(t *testing.T) {
	s, err := NewFilter(badCloser{}, Filter{Ignore: Rules{Actions: []string{"x"}}})
	require.NoError(t, err)
	for range 2 {
		assert.ErrorContains(t, s.Close(context.Background()), "panicked")
	}
	hub := newBroadcaster(t)
	require.NoError(t, hub.Add("bad", badCloser{}))
	assert.ErrorContains(t, hub.Close(context.Background()), "panicked")

	release := make(chan struct{})
	defer close(release)
	s, err = NewFilter(deaf{nil, release}, Filter{Ignore: Rules{Actions: []string{"x"}}})
	require.NoError(t, err)
	assert.ErrorContains(t, s.Close(cancelledContext(t)), "ignores its context")
}

// badLog is a log whose cursor panics, then returns nonsense, then nothing.
type badLog struct{ oneEventLog }

func (l *badLog) Cursor(name string) (Cursor, error) {
	_, err := l.oneEventLog.Cursor(name)
	return &badCursor{oneEventCursor: oneEventCursor{&l.oneEventLog}}, err
}

type badCursor struct {
	oneEventCursor
	calls int
}

func (c *badCursor) Next(ctx context.Context, block []*Event) (int, error) {
	switch c.calls++; c.calls {
	case 1:
		panic("boom")
	case 2:
		return len(block) + 1, nil
	case 3:
		return 0, nil
	case 4:
		return 1, nil // and no event
	}
	return c.oneEventCursor.Next(ctx, block)
}

func TestBadLog(t *testing.T) {
	f := new(sinktest.Fake)
	hub, err := NewHub(new(badLog), quick)
	require.NoError(t, err)
	require.NoError(t, hub.Add("fake", f))
	require.NoError(t, hub.Write(t.Context(), NewEvent(ActionPush)))
	f.Wait(t, 1)
	require.NoError(t, hub.Close(t.Context()))
}

func TestOddEvents(t *testing.T) {
	var e Event
	require.NoError(t, json.Unmarshal([]byte(`null`), &e))
	b, err := e.MarshalJSON()
	require.NoError(t, err)
	assert.NotEqual(t, "null", string(b))

	hub := newBroadcaster(t)
	defer hub.Close(t.Context())
	odd := NewEvent(ActionPush)
	odd.Timestamp = odd.Timestamp.In(time.FixedZone("", 24*3600))
	assert.ErrorContains(t, hub.Write(t.Context(), odd), "zone")
}

func TestEndpointsThatCanNeverWork(t *testing.T) {
	for want, try := range map[string]func() error{
		"port: allowed are 1 to 65535": func() error {
			_, err := NewEndpoint("hook", "http://example.org:99999/", EndpointConfig{})
			return err
		},
		"Host: is not a host": func() error {
			_, err := NewEndpoint("hook", "http://example.org/", EndpointConfig{Headers: http.Header{"Host": {"a b"}}})
			return err
		},
		"ignoredmediatypes": func() error {
			_, err := NewEndpoint("hook", "http://example.org/", EndpointConfig{IgnoredMediaTypes: []string{""}})
			return err
		},
	} {
		assert.ErrorContains(t, try(), want)
	}
}

func TestDecodingKeepsWhatIsSet(t *testing.T) {
	header := http.Header{"X-A": {"1"}}
	c := EndpointConfig{Timeout: 5 * time.Second, Headers: header}
	require.NoError(t, json.Unmarshal([]byte(`{"threshold": 3, "headers": {"X-B": ["2"]}}`), &c))
	assert.Equal(t, 5*time.Second, c.Timeout)
	assert.Equal(t, 3, c.Threshold)
	assert.NotContains(t, header, "X-B")
}

func TestOwnIdempotencyKey(t *testing.T) {
	r := newReceiver(t)
	s := newHTTPSink(t, r.URL, HTTPConfig{Headers: http.Header{"Idempotency-Key": {"mine"}}})
	require.NoError(t, s.Write(t.Context(), NewEvent(ActionPush)))
	req, _ := r.last()
	assert.Equal(t, "mine", req.Header.Get("Idempotency-Key"))
}

// TestCloseOfAStoppedEndpoint: there is nothing to wait for.
func TestCloseOfAStoppedEndpoint(t *testing.T) {
	r := newReceiver(t)
	r.answers(statusHandler(410))
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{Ignore: Rules{Actions: []string{"x"}}})
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	sinktest.Eventually(t, func() bool { return e.Metrics().State.Phase == Stopped }, "gone")
	require.ErrorAs(t, e.Close(context.Background()), new(*UndeliveredError))
}

// TestFilteredEventsBehindAParkedOne neither wake the receiver nor stand in the way.
func TestFilteredEventsBehindAParkedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &picky{refuses: only("poison-0")}
		retrying, err := NewRetryingSink(p, RetryConfig{MaxBackoff: time.Hour, Logger: silent()})
		require.NoError(t, err)
		s, err := NewFilter(retrying, Filter{Ignore: Rules{Actions: []string{ActionPull}}})
		require.NoError(t, err)
		hub, err := NewBroadcaster(HubConfig{Logger: silent()})
		require.NoError(t, err)
		require.NoError(t, hub.Add("picky", s))
		require.NoError(t, hub.Write(t.Context(), sinktest.Events("poison", 1)...))
		for _, e := range sinktest.Events("pulled", 3000) {
			e.Action = ActionPull
			require.NoError(t, hub.Write(t.Context(), e))
			synctest.Wait()
		}
		_, posts := p.seen()
		assert.Equal(t, 1, posts)
		require.NoError(t, sinktest.Conserved(hub.Metrics()["picky"]))

		require.NoError(t, hub.Write(t.Context(), sinktest.Events("good", 1)...))
		synctest.Wait()
		took, _ := p.seen()
		assert.Equal(t, []string{"good-0"}, took)
		assert.Equal(t, Metrics{Accepted: 3002, Delivered: 1, Filtered: 3000, DeadLettered: 1}, hub.Metrics()["picky"])
		require.NoError(t, hub.Close(t.Context()))
	})
}

// TestGoneIsKept, and what an operator can mend, whatever the limits of the retries.
func TestGoneIsKept(t *testing.T) {
	for _, code := range []int{410, 403} {
		r := newReceiver(t)
		r.answers(statusHandler(code))
		e := newEndpoint(t, "hook", r.URL, EndpointConfig{MaxAttempts: 1, MaxAge: 1})
		require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
		sinktest.Eventually(t, func() bool { return e.Metrics().Failures > 0 }, "answered")
		time.Sleep(20 * time.Millisecond)
		assert.EqualValues(t, 1, e.Metrics().Pending)
		r.answers(nil)
		e.Resume()
		sinktest.Eventually(t, func() bool { return e.Metrics().Delivered == 1 }, "delivered")
	}
}

// TestThresholdOfOne: one refused event is not the end.
func TestThresholdOfOne(t *testing.T) {
	for _, poison := range [][]string{{"e-0"}, {"e-0", "e-1", "e-2", "e-3", "e-4"}} {
		synctest.Test(t, func(t *testing.T) {
			p := &picky{refuses: only(poison...)}
			hub, letters := letterbox(t, p, RetryConfig{Threshold: 1})
			require.NoError(t, hub.Write(t.Context(), sinktest.Events("e", 8)...))
			time.Sleep(time.Hour)
			synctest.Wait()
			assert.Equal(t, poison, letterIDs(letters))
			assert.EqualValues(t, 8-len(poison), hub.Metrics()["picky"].Delivered)
			require.NoError(t, hub.Close(t.Context()))
		})
	}
}

// TestAnswerCutInTheMiddleOfASecret shows no piece of it.
func TestAnswerCutInTheMiddleOfASecret(t *testing.T) {
	const secret = "hunter2hunter2hunter2"
	r := newReceiver(t)
	s := newHTTPSink(t, r.URL, HTTPConfig{Headers: http.Header{"X": {secret}}})
	for cut := range len(secret) + 2 {
		r.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, strings.Repeat(" ", 16<<10-cut)+secret)
		})
		var failed *DeliveryError
		require.ErrorAs(t, s.Write(t.Context(), NewEvent(ActionPush)), &failed)
		assert.NotContains(t, failed.Answer, "hunter", "cut at %d", cut)
	}
}

// slowLog is a log whose cursors take their time.
type slowLog struct {
	oneEventLog
	opening chan bool
	goOn    chan struct{}
}

func (l *slowLog) Cursor(name string) (Cursor, error) {
	c, err := l.oneEventLog.Cursor(name)
	l.opening <- true
	<-l.goOn
	return c, err
}

// TestSlowLog: while a log waits for its disk, everything else of the hub goes on.
func TestSlowLog(t *testing.T) {
	log := &slowLog{opening: make(chan bool, 1), goOn: make(chan struct{})}
	hub, err := NewHub(log, quick)
	require.NoError(t, err)
	f := new(sinktest.Fake)
	added := make(chan error)
	go func() { added <- hub.Add("fake", f) }()
	<-log.opening
	assert.Empty(t, hub.Metrics())
	assert.ErrorContains(t, hub.Add("fake", f), "is in use")
	assert.ErrorContains(t, hub.Remove(t.Context(), "fake"), "is not in the hub")
	require.NoError(t, hub.Close(t.Context()))
	close(log.goOn)
	assert.ErrorIs(t, <-added, ErrSinkClosed)
	assert.False(t, f.Closed(), "it was never the hub's")
	assert.Empty(t, hub.Metrics())
}
