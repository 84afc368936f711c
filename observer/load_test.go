package observer

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

const loadRepositories = 10_000

// BenchmarkLoad compares what it takes to load 100,000 events (with -long, 1,000,000) over
// 10,000 repositories from a journal, until each was enabled, with what it takes to read and
// decode them.
func BenchmarkLoad(b *testing.B) {
	events := 100_000
	if *long {
		events = 1_000_000
	}
	j := loadJournal(b, events)
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			readAll(b, j, events)
		}
		b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			end := loadAll(b, j)
			b.StopTimer()
			end()
			b.StartTimer()
		}
		b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
}

// TestLoadTime: loading takes at most twice as long as reading alone, the best of three each.
func TestLoadTime(t *testing.T) {
	if !*long {
		t.Skip("measures time: -long")
	}
	const events = 1_000_000
	j := loadJournal(t, events)
	var reads, loads []time.Duration
	for range 3 {
		start := time.Now()
		readAll(t, j, events)
		reads = append(reads, time.Since(start))
		start = time.Now()
		end := loadAll(t, j)
		loads = append(loads, time.Since(start))
		end()
	}
	read, load := slices.Min(reads), slices.Min(loads)
	t.Logf("%d events over %d repositories: read in %v, loaded in %v: %.2f times as long", events, loadRepositories, read, load, float64(load)/float64(read))
	assert.LessOrEqual(t, load, 2*read)
}

func loadJournal(t testing.TB, events int) *journal.Journal {
	j, err := journal.Open(t.TempDir(), journal.Config{Sync: journal.SyncNone, Retain: time.Hour, Logger: quiet()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.Close(context.Background())) })
	var block []*notifications.Event
	for i := range events {
		e := event(notifications.ActionPush, notifications.TypeManifest, fmt.Sprintf("team%d/app%d", i%100, i%loadRepositories))
		e.Target.MediaType, e.Target.Size = "application/vnd.oci.image.manifest.v1+json", 7143
		e.Target.Digest = digest.FromString(e.ID)
		e.Target.Tag = fmt.Sprint("v1.", i/loadRepositories)
		e.Target.URL = "https://registry.example.org/v2/" + e.Target.Repository + "/manifests/" + string(e.Target.Digest)
		e.Request = notifications.RequestRecord{ID: e.ID, Addr: "10.0.0.7:41822", Host: "registry.example.org", Method: "PUT", UserAgent: "docker/27.3.1 go/go1.22.7"}
		e.Actor.Name = "ci"
		e.Source.Addr = "registry-0:5000"
		if block = append(block, e); len(block) == 1000 || i == events-1 {
			require.NoError(t, j.Write(t.Context(), block...))
			block = block[:0]
		}
	}
	return j
}

func readAll(t testing.TB, j *journal.Journal, events int) {
	n, after := 0, uint64(0)
	for {
		records, err := j.Read(t.Context(), after, batch)
		require.NoError(t, err)
		if len(records) == 0 {
			break
		}
		n += len(records)
		after = records[len(records)-1].Position
	}
	require.Equal(t, events, n)
}

// loadAll returns when all have been enabled. What ends it then saves the states, which is no
// part of loading.
func loadAll(t testing.TB, j *journal.Journal) (end func()) {
	p := &counter{all: make(chan struct{})}
	o, err := New(Config{
		Feeds: map[string]notifications.Feed{"r": j}, Store: new(memory), Processor: p, Logger: quiet(), SaveInterval: time.Hour,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Watch(ctx) }()
	<-p.all
	return func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

// counter is a Processor that says when enough was enabled.
type counter struct {
	nobody
	n   atomic.Int64
	all chan struct{}
}

func (c *counter) Enable(context.Context, *State) error {
	if c.n.Add(1) == loadRepositories {
		close(c.all)
	}
	return nil
}
