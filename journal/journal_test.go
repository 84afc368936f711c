package journal

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMain(m *testing.M) {
	if code, ok := runChild(); ok {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}

func silent() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// quick is a configuration for tests: retries do not wait long, and nothing is logged.
func quick() Config {
	return Config{
		Logger: silent(),
		Hub:    notifications.HubConfig{Backoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond},
	}
}

func openJournal(t *testing.T, dir string, config Config) *Journal {
	t.Helper()
	j, err := Open(dir, config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close(t.Context()) })
	return j
}

func TestHub(t *testing.T) {
	for _, sync := range []Sync{SyncAlways, SyncInterval, SyncNone} {
		t.Run(string(sync), func(t *testing.T) {
			sinktest.TestHub(t, sinktest.HubOptions{Durable: true}, func(t *testing.T) sinktest.Hub {
				config := quick()
				config.Sync = sync
				return openJournal(t, t.TempDir(), config)
			})
		})
	}
}

func TestSink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		j := openJournal(t, t.TempDir(), quick())
		f := new(sinktest.Fake)
		require.NoError(t, j.Add("fake", f))
		return sinktest.Subject{Sink: j, Events: f.Events, Hold: f.Hold, Durable: true}
	})
}

// TestRestart: each sink goes on where it was, with the old IDs.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	events := sinktest.Events("restart", 2500)
	j := openJournal(t, dir, quick())
	fast, away := new(sinktest.Fake), new(sinktest.Fake)
	release := away.Hold()
	require.NoError(t, j.Add("fast", fast))
	require.NoError(t, j.Add("away", away))
	for i := 0; i < len(events); i += 10 {
		require.NoError(t, j.Write(t.Context(), events[i:i+10]...))
	}
	fast.Wait(t, len(events))
	sinktest.Eventually(t, func() bool { return j.Metrics()["fast"].Pending == 0 }, "settled")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.NoError(t, j.Close(ctx))
	release()

	j = openJournal(t, dir, quick())
	fast, away = new(sinktest.Fake), new(sinktest.Fake)
	require.NoError(t, j.Add("fast", fast))
	require.NoError(t, j.Add("away", away))
	more := sinktest.Events("more", 10)
	require.NoError(t, j.Write(t.Context(), more...))
	fast.Wait(t, len(more))
	away.Wait(t, len(events)+len(more))
	require.Equal(t, sinktest.IDs(more), sinktest.IDs(fast.Events()))
	require.Equal(t, append(sinktest.IDs(events), sinktest.IDs(more)...), sinktest.IDs(away.Events()))
	for name, m := range j.Metrics() {
		require.NoError(t, sinktest.Conserved(m), name)
	}
	require.NoError(t, j.Close(t.Context()))
}
