package notifications

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func quietLog(t *testing.T) *memoryLog {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	c := HubConfig{Logger: logrus.NewEntry(logger)}
	require.NoError(t, c.setDefaults())
	return newMemoryLog(c)
}

func numbered(n int) []*Event {
	events := make([]*Event, n)
	for i := range events {
		e := NewEvent(ActionPush)
		e.Target = Target{Type: TypeManifest, Repository: fmt.Sprintf("app-%d", i), Tag: "<latest>", Size: int64(i)}
		e.Request = RequestRecord{Method: "PUT", UserAgent: "client"}
		events[i] = e
	}
	return events
}

// readN reads n events, as they come.
func readN(t *testing.T, c Cursor, n int) (events []*Event) {
	for len(events) < n {
		block := make([]*Event, 100)
		n, err := c.Next(t.Context(), block[:min(100, n-len(events))])
		require.NoError(t, err)
		events = append(events, block[:n]...)
	}
	return events
}

func packedChunks(c *chunk) (packed, all int) {
	for ; c != nil; c = c.next {
		all++
		if c.packed.Load() != nil {
			packed++
		}
	}
	return packed, all
}

func TestWhatWaitsForLongIsPacked(t *testing.T) {
	l := quietLog(t)
	slow, fast := l.cursor("slow", limits{}), l.cursor("fast", limits{})
	first := slow.chunk
	events := numbered(10_000)
	var got []*Event
	for i := 0; i < len(events); i += 100 {
		require.NoError(t, l.Append(t.Context(), events[i:i+100]...))
		got = append(got, readN(t, fast, 100)...)
	}
	for i, e := range got {
		require.Same(t, events[i], e, "a sink that keeps up gets what was written")
	}
	packed, all := packedChunks(first)
	assert.GreaterOrEqual(t, all, 10_000/chunkSize)
	assert.InDelta(t, all-packAfter/chunkSize, packed, packChunks+1)

	got = readN(t, slow, 10_000)
	for i, e := range got {
		want, err := events[i].encoded()
		require.NoError(t, err)
		b, err := e.encoded()
		require.NoError(t, err)
		require.Equal(t, string(want), string(b))
		e.read()
		require.Equal(t, events[i].ID, e.ID)
		require.True(t, events[i].Timestamp.Equal(e.Timestamp))
		require.Equal(t, events[i].Target, e.Target)
		require.Equal(t, events[i].Request, e.Request)
	}
	// An envelope of packed events is a few pieces, and not two for each event.
	parcel, err := newParcel(got[:1000], 1000, 0)
	require.NoError(t, err)
	assert.Less(t, len(parcel.pieces), 20)
	assert.Equal(t, parcel.size, len(parcel.bytes()))
	env := new(Envelope)
	require.NoError(t, env.UnmarshalJSON(parcel.bytes()))
	require.Len(t, env.Events, 1000)
	assert.Equal(t, events[999].ID, env.Events[999].ID)

	assert.NotSame(t, events[0], got[0])
	assert.Same(t, events[9_999], got[9_999])
}

// TestNothingIsPackedForSinksThatKeepUp would be wasted work.
func TestNothingIsPackedForSinksThatKeepUp(t *testing.T) {
	l := quietLog(t)
	a, b := l.cursor("a", limits{}), l.cursor("b", limits{})
	first := a.chunk
	for range 100 {
		require.NoError(t, l.Append(t.Context(), numbered(100)...))
		readN(t, a, 100)
		readN(t, b, 100)
	}
	packed, _ := packedChunks(first)
	assert.Zero(t, packed)
}

// TestEventsAreReleased looks at what the garbage collector can take once the last
// sink is past it.
func TestEventsAreReleased(t *testing.T) {
	l := quietLog(t)
	slow, fast := l.cursor("slow", limits{}), l.cursor("fast", limits{})
	var mu sync.Mutex
	released := 0
	for range 100 {
		events := numbered(100)
		for _, e := range events {
			runtime.AddCleanup(e, func(int) {
				mu.Lock()
				defer mu.Unlock()
				released++
			}, 0)
		}
		require.NoError(t, l.Append(t.Context(), events...))
		readN(t, fast, 100)
	}
	count := func() int {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		return released
	}
	collected := func(n int) func() bool { return func() bool { return count() >= n } }
	require.Eventually(t, collected(10_000-packAfter-(packChunks+2)*chunkSize), time.Minute, time.Millisecond, "what waits for the slow sink is bytes")
	assert.LessOrEqual(t, count(), 10_000-packAfter+chunkSize)
	readN(t, slow, 10_000)
	require.Eventually(t, collected(10_000-chunkSize), time.Minute, time.Millisecond, "all but the last chunk")
}

// TestPackingWhileReading has writers pack what readers are just coming to.
func TestPackingWhileReading(t *testing.T) {
	const writers, each = 4, 5_000
	l := quietLog(t)
	var readers, writing sync.WaitGroup
	for i := range 4 {
		c := l.cursor(fmt.Sprint(i), limits{})
		readers.Go(func() {
			next := make(map[string]int)
			for n := 0; n < writers*each; {
				block := make([]*Event, 1+n%300)
				m, err := c.Next(context.Background(), block)
				if !assert.NoError(t, err) {
					return
				}
				for _, e := range block[:m] {
					e.read()
					assert.EqualValues(t, next[e.Actor.Name], e.Target.Size, "in order for each writer")
					next[e.Actor.Name]++
				}
				n += m
				if n%7 == i {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	for w := range writers {
		writing.Go(func() {
			events := numbered(each)
			for _, e := range events {
				e.Actor.Name = fmt.Sprint(w)
			}
			for len(events) > 0 {
				n := min(len(events), 1+len(events)%50)
				assert.NoError(t, l.Append(context.Background(), events[:n]...))
				events = events[n:]
			}
		})
	}
	writing.Wait()
	readers.Wait()
}

// TestLettersDoNotKeepTheLog takes an event out of a packed chunk and keeps it.
func TestLettersDoNotKeepTheLog(t *testing.T) {
	l := quietLog(t)
	c := l.cursor("slow", limits{})
	require.NoError(t, l.Append(t.Context(), numbered(packAfter+packChunks*chunkSize)...))
	e := readN(t, c, 1)[0]
	require.True(t, e.unread)
	letter := (&record{}).letter(e, "hook", ReasonRefused)
	assert.NotSame(t, e, letter.Event)
	assert.Equal(t, "app-0", letter.Event.Target.Repository)
	assert.Less(t, cap(letter.Event.encoding), 1<<10, "a copy of its own")
	assert.Equal(t, string(e.encoding), string(letter.Event.encoding))
	mine := numbered(1)[0]
	assert.Same(t, mine, mine.detached())
}
