package clustertest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/sinktest"
)

// book is a log that a test reads.
type book struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *book) logger() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(b)
	return logrus.NewEntry(l)
}

// TestLateAnswers: a network that stands still for less than a lease costs no lease, though the
// answers to renewals are lost.
func TestLateAnswers(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	proxy, err := NewProxy(c.URLOf(0)[len("nats://"):])
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	log := new(book)
	config := jetstream.Config{Lease: 10 * time.Second, Timeout: 500 * time.Millisecond, Partitions: 4, Logger: log.logger()}
	h := openHub(t, "nats://"+proxy.Addr(), config)
	fake := new(sinktest.Fake)
	require.NoError(t, h.Add("sink", fake))
	events := sinktest.Events("repo", 20)
	require.NoError(t, h.Write(t.Context(), events[:10]...))
	fake.Wait(t, 10)
	sinktest.Eventually(t, func() bool { return h.Stat().Partitions["sink"] == 4 }, "it has all")

	// What is asked for in here is answered for nobody.
	proxy.Hole(true)
	time.Sleep(3 * time.Second)
	proxy.Hole(false)
	require.NoError(t, h.Write(t.Context(), events[10:]...))
	time.Sleep(3 * time.Second) // of a lease, in which it is renewed again
	assert.Equal(t, sinktest.IDs(events), sinktest.IDs(fake.Wait(t, 20)))
	assert.Equal(t, 4, h.Stat().Partitions["sink"])
	assert.NotContains(t, log.String(), "lease lost")
	assert.NotContains(t, log.String(), "lease not renewed")
}

// stuck is a sink that fails for as long as it is told to.
type stuck struct {
	to
	fails chan struct{} // closed when it fails no more
}

func (s *stuck) Write(ctx context.Context, events ...*notifications.Event) error {
	select {
	case <-s.fails:
		return s.to.Write(ctx, events...)
	default:
		return errors.New("fails")
	}
}

// TestFailingSinkGivesBack: an instance whose sink takes nothing keeps others from nothing.
func TestFailingSinkGivesBack(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	config := jetstream.Config{Lease: 2 * time.Second, Partitions: 8, Logger: quiet()}
	config.Hub.Backoff, config.Hub.MaxBackoff = time.Millisecond, 10*time.Millisecond
	first := openHub(t, c.URL(), config)
	all := newChecker()
	broken := &stuck{to{all, 0}, make(chan struct{})}
	require.NoError(t, first.Add("sink", broken))
	events := number(40, 5)
	require.NoError(t, first.Write(t.Context(), events...))
	sinktest.Eventually(t, func() bool { return first.Stat().Partitions["sink"] == 8 }, "it has all")
	second := openHub(t, c.URL(), config)
	require.NoError(t, second.Add("sink", &to{all, 0}))
	sinktest.Eventually(t, func() bool { return first.Stat().Partitions["sink"] == 4 && second.Stat().Partitions["sink"] == 4 }, "they share")
	sinktest.Eventually(t, func() bool { return all.count() > 0 }, "it delivers")
	close(broken.fails)
	sinktest.Eventually(t, func() bool { return all.count() == len(events) }, "all")
	assert.Empty(t, all.wrong)
}

// TestRemovedElsewhere: who still has a sink that another has removed says so.
func TestRemovedElsewhere(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	log := new(book)
	config := jetstream.Config{Lease: time.Second, Partitions: 2, Logger: log.logger()}
	first, second := openHub(t, c.URL(), config), openHub(t, c.URL(), config)
	require.NoError(t, first.Add("sink", new(sinktest.Fake)))
	require.NoError(t, second.Add("sink", new(sinktest.Fake)))
	require.NoError(t, first.Remove(t.Context(), "sink"))
	sinktest.Eventually(t, func() bool { return bytes.Contains([]byte(log.String()), []byte("remove it here, too")) }, "said")
	require.NoError(t, second.Remove(t.Context(), "sink"))
}

// TestExpired: what is too old before it was delivered is counted.
func TestExpired(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	nc := connect(t, c.URL())
	config := jetstream.Config{Lease: time.Second, Partitions: 1, MaxAge: time.Hour, Logger: quiet()}
	h := openHub(t, c.URL(), config)
	fake := new(sinktest.Fake)
	release := fake.Hold()
	require.NoError(t, h.Add("sink", fake))
	events := sinktest.Events("repo", 8000)
	for i := 0; i < len(events); i += 1000 {
		require.NoError(t, h.Write(t.Context(), events[i:i+1000]...))
	}
	pending := func() uint64 { return h.Metrics()["sink"].Pending }
	sinktest.Eventually(t, func() bool { return pending() == 8000 }, "pending: %d", pending())
	j, err := js.New(nc)
	require.NoError(t, err)
	stream, err := j.Stream(t.Context(), "notifications")
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context(), js.WithPurgeSequence(7001))) // as age does
	var m notifications.Metrics
	sinktest.Eventually(t, func() bool {
		m = h.Metrics()["sink"]
		return m.Dropped[notifications.DroppedExpired] > 0
	}, "counted")
	assert.NoError(t, sinktest.Conserved(m))
	release()
	sinktest.Eventually(t, func() bool { return pending() == 0 }, "delivered")
	m = h.Metrics()["sink"]
	assert.NoError(t, sinktest.Conserved(m))
	assert.EqualValues(t, 8000, m.Accepted)
	assert.EqualValues(t, 8000, m.Delivered+m.Dropped[notifications.DroppedExpired])
	assert.Less(t, m.Delivered, uint64(8000))
}

// TestDeletedEnd: a stream whose last message was deleted by hand has readers wait, and not go
// round.
func TestDeletedEnd(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	h := openHub(t, c.URL(), jetstream.Config{Lease: 5 * time.Second, Logger: quiet()})
	require.NoError(t, h.Write(t.Context(), sinktest.Events("repo", 10)...))
	nc := connect(t, c.URL(), nats.Name("operator"))
	j, err := js.New(nc)
	require.NoError(t, err)
	stream, err := j.Stream(t.Context(), "notifications")
	require.NoError(t, err)
	require.NoError(t, stream.DeleteMsg(t.Context(), 5))
	require.NoError(t, stream.DeleteMsg(t.Context(), 10))
	records, err := h.Read(t.Context(), 0, 100)
	require.NoError(t, err)
	assert.Len(t, records, 8)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, h.Wait(ctx, 9), context.DeadlineExceeded)
	waited := make(chan error, 1)
	go func() { waited <- h.Wait(t.Context(), 9) }()
	more := sinktest.Events("more", 1)
	require.NoError(t, h.Write(t.Context(), more...))
	require.NoError(t, <-waited)
	records, err = h.Read(t.Context(), 9, 100)
	require.NoError(t, err)
	require.Len(t, records, 1)
	assert.Equal(t, more[0].ID, records[0].Event.ID)
}

// TestCloseGivesBack: a sink that takes all of Close's time costs nobody the time of a lease.
func TestCloseGivesBack(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	config := jetstream.Config{Lease: time.Hour, Logger: quiet()}
	first := openHub(t, c.URL(), config)
	held := new(sinktest.Fake)
	t.Cleanup(held.Hold())
	require.NoError(t, first.Add("sink", held))
	events := sinktest.Events("repo", 10)
	require.NoError(t, first.Write(t.Context(), events...))
	held.WaitBusy(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.NoError(t, first.Close(ctx))
	second := openHub(t, c.URL(), config)
	fake := new(sinktest.Fake)
	require.NoError(t, second.Add("sink", fake))
	assert.Equal(t, sinktest.IDs(events), sinktest.IDs(fake.Wait(t, 10)))
}

// TestBacklog: what is read at once, in whatever sizes, comes without a gap.
func TestBacklog(t *testing.T) {
	c, err := Start(3, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	log := new(book)
	config := jetstream.Config{Replicas: 3, Partitions: 4, Logger: log.logger()}
	h := openHub(t, c.URL(), config)
	fake := new(sinktest.Fake)
	release := fake.Hold()
	require.NoError(t, h.Add("sink", fake))
	events := number(50, 100)
	for i, e := range events {
		if i%100 < 3 {
			e.Target.URL = strings.Repeat("x", 200<<10)
		}
	}
	for i := 0; i < len(events); i += 250 {
		require.NoError(t, h.Write(t.Context(), events[i:i+250]...))
	}
	release()
	assert.ElementsMatch(t, sinktest.IDs(events), sinktest.IDs(fake.Wait(t, len(events))))
	assert.NotContains(t, log.String(), "a delivery is missing")
}
