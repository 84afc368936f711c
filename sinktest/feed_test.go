package sinktest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// all reads what is there behind a position.
func all(t *testing.T, f *sinktest.Feed, after uint64) (events []*notifications.Event) {
	t.Helper()
	records, err := f.Read(t.Context(), after, 0)
	require.NoError(t, err)
	for i, r := range records {
		require.Equal(t, after+uint64(i)+1, r.Position)
		require.False(t, r.Time.IsZero())
		events = append(events, r.Event)
	}
	return events
}

// TestFeedIsASink like any other.
func TestFeedIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		f := new(sinktest.Feed)
		return sinktest.Subject{Sink: f, Events: func() []*notifications.Event {
			var events []*notifications.Event
			for last := f.Last(); uint64(len(events)) < last; {
				events = append(events, all(t, f, uint64(len(events)))...)
			}
			return events
		}}
	})
}

func TestFeedPositions(t *testing.T) {
	var f sinktest.Feed
	assert.Zero(t, f.Last())
	assert.Empty(t, all(t, &f, 0))
	events := sinktest.Events("app", 2000)
	require.NoError(t, f.Write(t.Context(), events[:3]...))
	require.NoError(t, f.Write(t.Context(), events[3:]...))
	assert.Equal(t, uint64(2000), f.Last())
	assert.Equal(t, events[1990:], all(t, &f, 1990))
	assert.Empty(t, all(t, &f, 2000))

	for most, want := range map[int]int{0: 1024, 1: 1, 10: 10, 1024: 1024, 5000: 1024} {
		records, err := f.Read(t.Context(), 100, most)
		require.NoError(t, err)
		assert.Len(t, records, want, "at most %d", most)
	}
	// What a reader appends to what it got, is its own.
	records, err := f.Read(t.Context(), 0, 1)
	require.NoError(t, err)
	_ = append(records, notifications.Record{})
	assert.Equal(t, events[1:2], all(t, &f, 1)[:1])

	_, err = f.Read(t.Context(), 2001, 0)
	wants(t, err, notifications.PositionError{Position: 2001, First: 1, Last: 2000})
}

func wants(t *testing.T, err error, want notifications.PositionError) {
	t.Helper()
	var got *notifications.PositionError
	require.ErrorAs(t, err, &got)
	assert.Equal(t, want, *got)
}

func TestFeedForgets(t *testing.T) {
	var f sinktest.Feed
	events := sinktest.Events("app", 10)
	require.NoError(t, f.Write(t.Context(), events...))
	f.Forget(4)
	f.Forget(2)
	assert.Equal(t, events[4:], all(t, &f, 4))
	_, err := f.Read(t.Context(), 3, 0)
	wants(t, err, notifications.PositionError{Position: 3, First: 5, Last: 10})
	wants(t, f.Wait(t.Context(), 3), notifications.PositionError{Position: 3, First: 5, Last: 10})

	f.Forget(100) // all there is
	assert.Equal(t, uint64(10), f.Last())
	assert.Empty(t, all(t, &f, 10))
	_, err = f.Read(t.Context(), 0, 0)
	wants(t, err, notifications.PositionError{Position: 0, First: 11, Last: 10})
	require.NoError(t, f.Write(t.Context(), events[0]))
	assert.Equal(t, events[:1], all(t, &f, 10), "positions are not given twice")
}

func TestFeedWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f sinktest.Feed
		waits := func(ctx context.Context, after uint64) <-chan error {
			c := make(chan error, 1)
			go func() { c <- f.Wait(ctx, after) }()
			synctest.Wait()
			return c
		}
		first, second := waits(t.Context(), 0), waits(t.Context(), 0)
		assert.Empty(t, first)
		require.NoError(t, f.Write(t.Context())) // nothing
		synctest.Wait()
		assert.Empty(t, first)
		require.NoError(t, f.Write(t.Context(), sinktest.Events("app", 2)...))
		assert.NoError(t, <-first)
		assert.NoError(t, <-second)
		assert.NoError(t, f.Wait(t.Context(), 1), "it is there already")
		wants(t, f.Wait(t.Context(), 3), notifications.PositionError{Position: 3, First: 1, Last: 2})

		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errEnough)
		defer cancel()
		assert.ErrorIs(t, <-waits(ctx, 2), errEnough)

		open := waits(t.Context(), 2)
		require.NoError(t, f.Close(t.Context()))
		assert.ErrorIs(t, <-open, notifications.ErrSinkClosed)
		assert.ErrorIs(t, f.Wait(t.Context(), 2), notifications.ErrSinkClosed)
		assert.NoError(t, f.Wait(t.Context(), 1), "what is there can be read")
		assert.Len(t, all(t, &f, 0), 2)
		require.NoError(t, f.Close(t.Context()))
		require.ErrorIs(t, f.Write(t.Context(), sinktest.Events("late", 1)...), notifications.ErrSinkClosed)
	})
}

var errEnough = errors.New("enough")

func TestFeedFails(t *testing.T) {
	var f sinktest.Feed
	require.NoError(t, f.Write(t.Context(), sinktest.Events("app", 1)...))
	f.Fail(errEnough)
	for range 2 {
		_, err := f.Read(t.Context(), 0, 0)
		require.ErrorIs(t, err, errEnough)
	}
	require.NoError(t, f.Wait(t.Context(), 0), "only Read does")
	f.Fail(nil)
	assert.Len(t, all(t, &f, 0), 1)
}
