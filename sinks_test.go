package notifications_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quick = HubConfig{Backoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond}

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
