package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/receiver"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestDuplicates(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name     string
		window   int
		requests []string
		written  [][]string
	}{
		{"the same again", 0, []string{withIDs("1", "2"), withIDs("1", "2")}, [][]string{{"1", "2"}}},
		{"some of them", 0, []string{withIDs("1", "2"), withIDs("0", "1", "3", "2", "4")}, [][]string{{"1", "2"}, {"0", "3", "4"}}},
		{"twice in one", 0, []string{withIDs("1", "2", "1", "1")}, [][]string{{"1", "2"}}},
		{"without an ID", 0, []string{`{"events":[{},{"id":""},{"id":null}]}`, `{"events":[{}]}`}, [][]string{{"", "", ""}, {""}}},
		{"long IDs", 0, []string{withIDs(long, long+"y"), withIDs(long), withIDs(long + "y")}, [][]string{{long, long + "y"}}},
		{"a window of two", 2, []string{withIDs("1"), withIDs("2"), withIDs("1"), withIDs("3"), withIDs("2"), withIDs("1"), withIDs("1")},
			[][]string{{"1"}, {"2"}, {"3"}, {"1"}}},
		{"which goes round", 3, []string{withIDs("1", "2", "3", "4", "5"), withIDs("1", "4", "5", "3")}, [][]string{{"1", "2", "3", "4", "5"}, {"1"}}},
		{"more at once than the window", 2, []string{withIDs("1", "2", "3"), withIDs("1", "2", "3")}, [][]string{{"1", "2", "3"}, {"1"}}},
		{"no window", -1, []string{withIDs("1", "1"), withIDs("1")}, [][]string{{"1", "1"}, {"1"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := new(sinktest.Fake)
			r := start(t, f, receiver.Config{Window: c.window})
			for _, body := range c.requests {
				assert.Equal(t, 200, r.post(body).status)
			}
			var written [][]string
			for _, block := range f.Blocks() {
				written = append(written, sinktest.IDs(block))
			}
			assert.Equal(t, c.written, written)
		})
	}
}

// TestTheSameAtOnce: the second request waits for what becomes of the first, and takes over
// if that fails.
func TestTheSameAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		fails   error
		status  int
		written []string
	}{
		"taken":  {nil, 200, []string{"1", "2", "3"}},
		"failed": {errors.New("boom"), 500, []string{"2", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := new(sinktest.Fake)
			release := f.Hold()
			defer release()
			if c.fails != nil {
				f.Fail(1, c.fails)
			}
			r := start(t, f, receiver.Config{})
			first := r.postLater(withIDs("1", "2"))
			f.WaitBusy(t)
			second := r.postLater(withIDs("2", "3"))
			sinktest.Eventually(t, func() bool { return r.Metrics().InFlight == 2 }, "both are inside")
			assert.Empty(t, r.Metrics().Answers)
			release()
			assert.Equal(t, c.status, (<-first).status)
			assert.Equal(t, 200, (<-second).status)
			assert.Equal(t, c.written, ids(f))
		})
	}
}

// TestOthersDoNotWait: who has nothing in common with a request that hangs is served.
func TestOthersDoNotWait(t *testing.T) {
	f := &deaf{release: make(chan struct{}), busy: make(chan struct{})}
	r := start(t, f, receiver.Config{})
	first := r.postLater(withIDs("1"))
	<-f.busy
	f.busy = make(chan struct{})
	second := r.postLater(withIDs("2"))
	<-f.busy // it has come to the sink
	close(f.release)
	assert.Equal(t, 200, (<-first).status)
	assert.Equal(t, 200, (<-second).status)
}

// TestWaitingEnds: a request does not wait for another one for ever.
func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &deaf{release: make(chan struct{}), busy: make(chan struct{})}
		r, err := receiver.New(f, receiver.Config{Logger: quiet()})
		require.NoError(t, err)
		first := make(chan int)
		go func() { first <- serve(r, withIDs("1")).Code }()
		<-f.busy
		began := time.Now()
		assert.Equal(t, 429, serve(r, withIDs("1")).Code)
		assert.Equal(t, receiver.DefaultTimeout, time.Since(began))
		close(f.release)
		assert.Equal(t, 200, <-first, "late, but taken")
		assert.Equal(t, 200, serve(r, withIDs("1")).Code)
		assert.Equal(t, []string{"1"}, ids(&f.Fake))
	})
}

// deaf is a sink that does not look at its context.
type deaf struct {
	sinktest.Fake
	release, busy chan struct{}
}

func (d *deaf) Write(_ context.Context, events ...*notifications.Event) error {
	close(d.busy)
	<-d.release
	return d.Fake.Write(context.Background(), events...)
}

// flaky is a sink that fails, or panics, every third time or so, and else remembers.
type flaky struct {
	sinktest.Fake
	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func (s *flaky) Write(ctx context.Context, events ...*notifications.Event) error {
	s.mu.Lock()
	dice := s.rng.IntN(6)
	s.mu.Unlock()
	switch dice {
	case 0:
		return notifications.ErrFull
	case 1:
		panic("boom")
	}
	return s.Fake.Write(ctx, events...)
}

// TestNoneTwiceNoneLost: senders that bring the same events at the same time, in blocks that
// overlap, and repeat what was not taken. In the end each event was written once.
func TestNoneTwiceNoneLost(t *testing.T) {
	const senders, blocks, numbers = 8, 60, 400
	sink := &flaky{rng: rand.New(rand.NewPCG(1, 2))}
	r := start(t, sink, receiver.Config{})
	var wg sync.WaitGroup
	for sender := range senders {
		rng := rand.New(rand.NewPCG(3, uint64(sender)))
		wg.Go(func() {
			for range blocks {
				first := rng.IntN(numbers)
				var block []string
				for i := range 1 + rng.IntN(20) {
					block = append(block, fmt.Sprint((first+i*(1+rng.IntN(2)))%numbers))
				}
				for {
					got := r.post(withIDs(block...)).status
					if got == 200 {
						break
					}
					assert.Contains(t, []int{429, 500}, got)
				}
				taken := sinktest.IDs(sink.Events())
				for _, id := range block {
					assert.True(t, slices.Contains(taken, id), "200 means that the sink has %s", id)
				}
			}
		})
	}
	wg.Wait()
	all := sinktest.IDs(sink.Events())
	slices.Sort(all)
	assert.Len(t, slices.Compact(slices.Clone(all)), len(all), "none twice")
	assert.EqualValues(t, len(all), r.Metrics().Events)
}

// past is a History.
type past struct {
	sinktest.Fake
	ids  []string
	gone uint64 // of these, from the front
	err  error
}

var _ notifications.Feed = (*past)(nil)

func (p *past) Last() uint64 { return uint64(len(p.ids)) }

func (p *past) Read(_ context.Context, after uint64, _ int) (records []notifications.Record, err error) {
	if after < p.gone {
		return nil, &notifications.PositionError{Position: after, First: p.gone + 1, Last: p.Last()}
	}
	for i, id := range p.ids[after:min(after+2, p.Last())] {
		records = append(records, notifications.Record{Position: after + uint64(i) + 1, Event: &notifications.Event{ID: id}})
	}
	return records, p.err
}

func (p *past) Wait(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestHistory(t *testing.T) {
	older := func() *past { return &past{ids: []string{"1", "2", "", "2", "3"}} }
	for name, c := range map[string]struct {
		sink    *past
		config  receiver.Config
		written []string
	}{
		"none":             {new(past), receiver.Config{}, []string{"0", "1", "2", "3"}},
		"the sink's":       {older(), receiver.Config{}, []string{"0"}},
		"another's":        {new(past), receiver.Config{History: older()}, []string{"0"}},
		"not the sink's":   {older(), receiver.Config{History: &past{ids: []string{"0"}}}, []string{"1", "2", "3"}},
		"the newest only":  {older(), receiver.Config{Window: 1}, []string{"0", "1", "2"}},
		"what is left":     {&past{ids: []string{"0", "1", "2"}, gone: 2}, receiver.Config{}, []string{"0", "1", "3"}},
		"nobody remembers": {&past{err: errors.New("asked")}, receiver.Config{Window: -1}, []string{"0", "1", "2", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, c.sink, c.config)
			require.Equal(t, 200, r.post(withIDs("0", "1", "2", "3")).status)
			assert.Equal(t, c.written, ids(&c.sink.Fake))
		})
	}

	boom := errors.New("boom")
	_, err := receiver.New(&past{ids: []string{"1"}, err: boom}, receiver.Config{Logger: quiet()})
	assert.ErrorIs(t, err, boom)
	assert.ErrorContains(t, err, "receiver: history: ")
}

// TestAfterACrash: the journal has the events, but its process ended before the answer. The
// sender brings them again.
func TestAfterACrash(t *testing.T) {
	dir := t.TempDir()
	open := func() *journal.Journal {
		j, err := journal.Open(dir, journal.Config{Logger: quiet(), Retain: time.Hour})
		require.NoError(t, err)
		return j
	}
	j := open()
	r := start(t, j, receiver.Config{})
	var first []string
	for i := range 3000 { // more than is read at once
		first = append(first, fmt.Sprint("first-", i))
	}
	require.Equal(t, 200, r.post(withIDs(first...)).status)
	require.NoError(t, r.Close(t.Context()))
	require.NoError(t, j.Close(t.Context()))

	j = open()
	defer j.Close(t.Context())
	r = start(t, j, receiver.Config{})
	require.Equal(t, 200, r.post(withIDs(append(first, "second")...)).status)
	assert.EqualValues(t, 3000, r.Metrics().Duplicates)
	assert.EqualValues(t, 3001, j.Stat().Last, "on disk once")

	small := start(t, j, receiver.Config{Window: 2})
	require.Equal(t, 200, small.post(withIDs("first-2998", "first-2999", "second")).status)
	assert.EqualValues(t, 2, small.Metrics().Duplicates, "the newest are known")
}
