package journal

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestFeed(t *testing.T) {
	config := small()
	config.Retain = time.Hour
	dir := t.TempDir()
	j := openJournal(t, dir, config)
	events := sinktest.Events("feed", 3000)
	var middle time.Time
	for i, e := range events {
		if i == 1500 {
			time.Sleep(2 * time.Millisecond)
			middle = time.Now()
		}
		require.NoError(t, j.Write(t.Context(), e))
	}
	readAll := func(after uint64) (ids []string) {
		for {
			records, err := j.Read(t.Context(), after, 0)
			require.NoError(t, err)
			if len(records) == 0 {
				return ids
			}
			for _, r := range records {
				after++
				require.Equal(t, after, r.Position)
				ids = append(ids, r.Event.ID)
			}
		}
	}
	want := sinktest.IDs(events)
	assert.Equal(t, want, readAll(0))
	assert.Equal(t, want[2999:], readAll(2999))
	records, err := j.Read(t.Context(), 10, 3)
	require.NoError(t, err)
	require.Len(t, records, 3)
	assert.Equal(t, "feed-10", records[0].Event.ID)
	assert.Equal(t, events[10].Timestamp.UnixNano(), records[0].Event.Timestamp.UnixNano())

	after, err := j.After(t.Context(), middle)
	require.NoError(t, err)
	assert.EqualValues(t, 1500, after)
	after, err = j.After(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	assert.EqualValues(t, 3000, after)
	after, err = j.After(t.Context(), time.Time{})
	require.NoError(t, err)
	assert.EqualValues(t, 0, after)

	var wrong *notifications.PositionError
	_, err = j.Read(t.Context(), 3001, 0)
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, notifications.PositionError{Position: 3001, First: 1, Last: 3000}, *wrong)
	require.ErrorAs(t, j.Wait(t.Context(), 3001), &wrong)
	require.ErrorAs(t, j.Rewind("new", 3001), &wrong)

	// Wait returns with the next event, with its context, and with the journal.
	require.NoError(t, j.Wait(t.Context(), 2999))
	waited := make(chan error, 1)
	go func() { waited <- j.Wait(t.Context(), 3000) }()
	require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
	require.NoError(t, <-waited)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, j.Wait(ctx, 3001), context.Canceled)
	go func() { waited <- j.Wait(t.Context(), 3001) }()
	require.NoError(t, j.Close(t.Context()))
	require.ErrorIs(t, <-waited, notifications.ErrSinkClosed)
}

// TestStart: a name that was never seen begins at the end, at the beginning, or where
// Rewind has put it.
func TestStart(t *testing.T) {
	config := small()
	config.Retain = time.Hour
	dir := t.TempDir()
	j := openJournal(t, dir, config)
	writeAll(t, j, sinktest.Events("start", 100))
	end, middle := new(sinktest.Fake), new(sinktest.Fake)
	require.NoError(t, j.Add("end", end))
	require.NoError(t, j.Rewind("middle", 50))
	require.NoError(t, j.Add("middle", middle))
	require.NoError(t, j.Write(t.Context(), notifications.NewEvent("push")))
	end.Wait(t, 1)
	middle.Wait(t, 51)
	require.NoError(t, j.Close(t.Context()))

	config.Start = Beginning
	j = openJournal(t, dir, config)
	all := new(sinktest.Fake)
	require.NoError(t, j.Add("all", all))
	all.Wait(t, 101)
	require.NoError(t, j.Close(t.Context()))
}

// TestRewindWhileBusy: what is on its way is finished, then it is given again; and the
// place is on disk at once.
func TestRewindWhileBusy(t *testing.T) {
	config := small()
	config.Retain = time.Hour
	dir := t.TempDir()
	j := openJournal(t, dir, config)
	f := new(sinktest.Fake)
	require.NoError(t, j.Add("sink", f))
	writeAll(t, j, sinktest.Events("a", 10))
	f.Wait(t, 10)
	sinktest.Eventually(t, func() bool { return j.Metrics()["sink"].Pending == 0 }, "settled")
	release := f.Hold()
	require.NoError(t, j.Write(t.Context(), sinktest.Events("b", 5)...))
	f.WaitBusy(t)
	require.NoError(t, j.Rewind("sink", 8))
	require.NoError(t, sinktest.Conserved(j.Metrics()["sink"]))
	_, places, _, err := looking(reading{}, dir)
	require.NoError(t, err)
	assert.EqualValues(t, 8, places.Places["sink"])
	release()
	events := f.Wait(t, 10+5+2+5)
	assert.Equal(t, []string{"b-0", "b-1", "b-2", "b-3", "b-4", "a-8", "a-9", "b-0", "b-1", "b-2", "b-3", "b-4"}, sinktest.IDs(events[10:]))
	sinktest.Eventually(t, func() bool { return j.Metrics()["sink"].Pending == 0 }, "settled")
	m := j.Metrics()["sink"]
	require.NoError(t, sinktest.Conserved(m))
	assert.EqualValues(t, 22, m.Accepted)

	release = f.Hold()
	writeAll(t, j, sinktest.Events("c", 5))
	f.WaitBusy(t)
	writeAll(t, j, sinktest.Events("d", 5))
	require.NoError(t, j.Rewind("sink", 25))
	release()
	sinktest.Eventually(t, func() bool { return j.Metrics()["sink"].Pending == 0 }, "settled")
	m = j.Metrics()["sink"]
	require.NoError(t, sinktest.Conserved(m))
	assert.Positive(t, m.Dropped[notifications.DroppedSkipped])
}

func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, quick())
	for _, e := range sinktest.Events("letter", 5) {
		letter := notifications.DeadLetter{Event: e, Endpoint: "hook", Reason: notifications.ReasonRefused, Status: 400}
		require.NoError(t, j.DeadLetters().Put(t.Context(), letter))
	}
	require.ErrorIs(t, j.DeadLetters().Put(t.Context(), notifications.DeadLetter{}), notifications.ErrNilEvent)
	var taken []string
	take := func(d *DeadLetters, only string) {
		taken = nil
		require.NoError(t, d.Take(t.Context(), func(l *notifications.DeadLetter) bool { return only == "" || l.Event.ID == only },
			func(l *notifications.DeadLetter) error {
				taken = append(taken, l.Event.ID)
				return nil
			}))
	}
	take(j.DeadLetters(), "letter-2")
	assert.Equal(t, []string{"letter-2"}, taken)
	boom := assert.AnError
	require.ErrorIs(t, j.DeadLetters().Take(t.Context(), func(*notifications.DeadLetter) bool { return true },
		func(*notifications.DeadLetter) error { return boom }), boom)
	assert.Equal(t, 4, j.DeadLetters().Count())
	require.NoError(t, j.Close(t.Context()))
	require.ErrorIs(t, j.DeadLetters().Put(t.Context(), notifications.DeadLetter{Event: notifications.NewEvent("push")}), notifications.ErrSinkClosed)

	j = openJournal(t, dir, quick())
	assert.Equal(t, 4, j.DeadLetters().Count())
	take(j.DeadLetters(), "")
	assert.Equal(t, []string{"letter-0", "letter-1", "letter-3", "letter-4"}, taken)
	require.NoError(t, j.Close(t.Context()))
	j = openJournal(t, dir, quick())
	assert.Zero(t, j.DeadLetters().Count())
}
