package notifications_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// leasedLog is a log with one cursor, whose lease the test ends.
type leasedLog struct {
	mu      sync.Mutex // guards the rest
	events  []*notifications.Event
	at      int // what Next returns next
	settled int
	lease   context.Context
	end     context.CancelFunc
	leases  int
	news    chan struct{}
}

func (l *leasedLog) Append(_ context.Context, events ...*notifications.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
	select {
	case l.news <- struct{}{}:
	default:
	}
	return nil
}

func (l *leasedLog) Cursor(string) (notifications.Cursor, error) { return l, nil }
func (l *leasedLog) Forget(string) error                         { return nil }
func (l *leasedLog) Durable() bool                               { return true }
func (l *leasedLog) Close() error                                { return nil }

func (l *leasedLog) Next(ctx context.Context, block []*notifications.Event) (int, error) {
	for {
		l.mu.Lock()
		lease := l.lease
		n := 0
		if lease.Err() == nil {
			n = copy(block, l.events[l.at:])
			l.at += n
		}
		l.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		select {
		case <-l.news:
		case <-lease.Done():
			return 0, errors.New("lost")
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (l *leasedLog) Settle(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled += n
}

func (l *leasedLog) Lag() notifications.Lag {
	l.mu.Lock()
	defer l.mu.Unlock()
	return notifications.Lag{Accepted: uint64(len(l.events)), Pending: uint64(len(l.events) - l.settled)}
}

func (l *leasedLog) Lease() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = l.settled
	l.leases++
	l.lease, l.end = context.WithCancel(context.Background())
	return l.lease
}

func (l *leasedLog) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

func (l *leasedLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leases
}

// TestLease: when a lease ends, what is under way is ended, nothing of it is settled, and all
// of it comes again under the next, to a sink that hangs, waits or has nothing to do.
func TestLease(t *testing.T) {
	log := &leasedLog{news: make(chan struct{}, 1)}
	hub, err := notifications.NewHub(log, notifications.HubConfig{Backoff: time.Millisecond})
	require.NoError(t, err)
	fake := new(sinktest.Fake)
	require.NoError(t, hub.Add("fake", fake))
	sinktest.Eventually(t, func() bool { return log.count() == 1 }, "begins")
	log.lose()
	sinktest.Eventually(t, func() bool { return log.count() == 2 }, "with nothing to do")

	events := sinktest.Events("repo", 10)
	release := fake.Hold()
	require.NoError(t, hub.Write(t.Context(), events...))
	fake.WaitBusy(t)
	log.lose()
	sinktest.Eventually(t, func() bool { return log.count() == 3 }, "while it hangs")
	assert.Zero(t, hub.Metrics()["fake"].Delivered)
	release()
	assert.Equal(t, sinktest.IDs(events), sinktest.IDs(fake.Wait(t, 10)))
	sinktest.Eventually(t, func() bool { return hub.Metrics()["fake"].Delivered == 10 }, "settled")

	fake.Fail(-1, errors.New("not now"))
	require.NoError(t, hub.Write(t.Context(), sinktest.Events("more", 3)...))
	for n := 4; n < 10; n++ {
		log.lose()
		sinktest.Eventually(t, func() bool { return log.count() == n }, "while it is tried again")
	}
	fake.Fail(0, nil)
	fake.Wait(t, 13)
	sinktest.Eventually(t, func() bool { return hub.Metrics()["fake"].Pending == 0 }, "settled")
	require.NoError(t, sinktest.Conserved(hub.Metrics()["fake"]))
	require.NoError(t, hub.Close(t.Context()))
}
