package clustertest

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// one starts a server, and returns what makes hubs on it, each with a stream of its own.
func one(t *testing.T) (open func(t *testing.T, change func(*jetstream.Config)) *jetstream.Hub) {
	t.Helper()
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	n := 0
	return func(t *testing.T, change func(*jetstream.Config)) *jetstream.Hub {
		n++
		config := jetstream.Config{Stream: fmt.Sprint("events-", n), Lease: 5 * time.Second, Logger: quiet()}
		config.Hub.Backoff, config.Hub.MaxBackoff = time.Millisecond, 5*time.Millisecond
		if change != nil {
			change(&config)
		}
		return openHub(t, c.URL(), config)
	}
}

func openHub(t *testing.T, urls string, config jetstream.Config) *jetstream.Hub {
	t.Helper()
	nc, err := Connect(urls)
	require.NoError(t, err)
	h, err := jetstream.Open(t.Context(), nc, config)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		assert.NoError(t, h.Close(ctx))
		nc.Close()
	})
	return h
}

// TestHub: it passes what every hub passes.
func TestHub(t *testing.T) {
	open := one(t)
	sinktest.TestHub(t, sinktest.HubOptions{Durable: true}, func(t *testing.T) sinktest.Hub { return open(t, nil) })
}

// TestSink: and what every sink passes.
func TestSink(t *testing.T) {
	open := one(t)
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		h := open(t, nil)
		fake := new(sinktest.Fake)
		require.NoError(t, h.Add("fake", fake))
		return sinktest.Subject{Sink: h, Events: fake.Events, Hold: fake.Hold, Durable: true}
	})
}

// TestGoesOn: a sink goes on where it was, with what was written while nobody was there, and
// with nothing twice.
func TestGoesOn(t *testing.T) {
	open := one(t)
	same := func(c *jetstream.Config) { c.Stream = "same" }
	events := sinktest.Events("repo", 100)
	h := open(t, same)
	fake := new(sinktest.Fake)
	require.NoError(t, h.Add("fake", fake))
	require.NoError(t, h.Write(t.Context(), events[:40]...))
	fake.Wait(t, 40)
	sinktest.Eventually(t, func() bool { return h.Metrics()["fake"].Pending == 0 }, "settled")
	require.NoError(t, h.Close(t.Context()))

	h = open(t, same)
	require.NoError(t, h.Write(t.Context(), events[40:]...))
	fake = new(sinktest.Fake)
	require.NoError(t, h.Add("fake", fake))
	assert.Equal(t, sinktest.IDs(events[40:]), sinktest.IDs(fake.Wait(t, 60)))
}

// TestFeed: the stream is read again from any place.
func TestFeed(t *testing.T) {
	h := one(t)(t, nil)
	var _ notifications.Feed = h
	records, err := h.Read(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Empty(t, records)
	events := sinktest.Events("repo", 1000)
	require.NoError(t, h.Write(t.Context(), events...))
	require.NoError(t, h.Wait(t.Context(), 0))
	var got []*notifications.Event
	for after := uint64(0); len(got) < len(events); {
		records, err := h.Read(t.Context(), after, 300)
		require.NoError(t, err)
		require.NotEmpty(t, records)
		for _, r := range records {
			require.Equal(t, after+1, r.Position)
			after = r.Position
			got = append(got, r.Event)
		}
	}
	assert.Equal(t, sinktest.IDs(events), sinktest.IDs(got))
	assert.EqualValues(t, 1000, h.Last())
	_, err = h.Read(t.Context(), 1001, 1)
	var gone *notifications.PositionError
	require.ErrorAs(t, err, &gone)
	assert.Equal(t, notifications.PositionError{Position: 1001, First: 1, Last: 1000}, *gone)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, h.Wait(ctx, 1000), context.DeadlineExceeded)
	waited := make(chan error, 1)
	go func() { waited <- h.Wait(t.Context(), 1000) }()
	require.NoError(t, h.Write(t.Context(), sinktest.Events("more", 1)...))
	require.NoError(t, <-waited)
}
