package notifications_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestConservation: eight writers, five endpoints over real sockets, of which one is
// healthy, one slow, one refuses again and again, one hangs and one is closed in the
// middle, and 100,000 events. At every moment, each endpoint's counts add up; in the
// end nothing is lost that was not counted, and what came, came in order.
func TestConservation(t *testing.T) {
	const writers, each = 8, 12500
	log, _ := quietLogger()
	b, err := NewBroadcaster(HubConfig{Logger: log})
	require.NoError(t, err)

	receivers := make(map[string]*receiver)
	endpoints := make(map[string]*Endpoint)
	for _, name := range []string{"healthy", "slow", "refusing", "hanging", "closing"} {
		r := newReceiver(t)
		receivers[name] = r
		endpoints[name] = newEndpoint(t, name, r.URL, EndpointConfig{Timeout: time.Minute})
		require.NoError(t, b.Add(name, endpoints[name]))
	}
	var mu sync.Mutex // guards came
	came := make(map[string][]string)
	tell := func(name string, answer func(n int64) int) {
		r := receivers[name]
		var posts atomic.Int64
		r.answers(func(w http.ResponseWriter, req *http.Request) {
			code := answer(posts.Add(1))
			if code == 200 {
				_, body := r.last() // one request at a time
				mu.Lock()
				came[name] = append(came[name], eventIDs(body)...)
				mu.Unlock()
			}
			w.WriteHeader(code)
		})
	}
	for name := range receivers {
		tell(name, func(int64) int { return 200 })
	}
	tell("slow", func(int64) int { time.Sleep(5 * time.Millisecond); return 200 })
	tell("refusing", func(n int64) int { return []int{503, 200, 429, 500}[n%4] })
	release := receivers["hanging"].hold()
	defer release()

	// Somebody always looks at the counts.
	ctx, stop := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	looks := 0
	watch.Go(func() {
		for ; ctx.Err() == nil; looks++ {
			time.Sleep(time.Millisecond) // leaves the others something of the machine
			for name, e := range endpoints {
				if err := sinktest.Conserved(e.Metrics().Metrics); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		}
	})

	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			events := sinktest.Events(fmt.Sprintf("writer%d", w), each)
			for i := 0; i < each; i += 5 {
				if err := b.Write(ctx, events[i:i+5]...); err != nil {
					t.Errorf("Write: %v", err)
					return
				}
				if w == 0 && i == each/2/5*5 {
					assert.NoError(t, endpoints["closing"].Close(ctx))
				}
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"healthy", "slow", "refusing"} {
		sinktest.Eventually(t, func() bool { return endpoints[name].Metrics().Delivered == writers*each }, "%s has all", name)
	}

	// The end: the hanging endpoint does not answer in time.
	closing, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = b.Close(closing)
	stop()
	watch.Wait()
	var left *UndeliveredError
	require.ErrorAs(t, err, &left)
	mu.Lock()
	defer mu.Unlock()

	for name, e := range endpoints {
		m := e.Metrics().Metrics
		t.Logf("%-8s %+v", name, m)
		assert.NoError(t, sinktest.Conserved(m), name)
		assert.Zero(t, m.Pending, name)
		got := came[name]
		assert.GreaterOrEqual(t, uint64(len(got)), m.Delivered, name)
		assertInOrder(t, name, got)
		switch name {
		case "hanging":
			assert.Equal(t, Metrics{Accepted: writers * each, Dropped: map[string]uint64{DroppedClosed: writers * each}}, m)
			assert.EqualValues(t, map[string]uint64{name: writers * each}, left.Sinks)
		case "closing":
			assert.Equal(t, m.Accepted, m.Delivered+m.Dropped[DroppedSinkClosed])
			assert.Less(t, m.Delivered, uint64(writers*each))
		default:
			assert.EqualValues(t, writers*each, m.Accepted, name)
			assert.EqualValues(t, writers*each, m.Delivered, name)
			assert.Len(t, got, writers*each, name)
		}
	}
	t.Logf("the counts were read %d times", looks)
	assert.Positive(t, looks)
}

// eventIDs picks the IDs out of an envelope of this test's events. Decoding half a
// million of them would take longer than all the rest.
func eventIDs(envelope string) (ids []string) {
	for _, piece := range strings.Split(envelope, `{"id":"writer`)[1:] {
		id, _, _ := strings.Cut(piece, `"`)
		ids = append(ids, "writer"+id)
	}
	return ids
}

// assertInOrder checks that each repository's events came without a gap, in order,
// none twice.
func assertInOrder(t *testing.T, name string, ids []string) {
	t.Helper()
	next := make(map[string]int)
	for _, id := range ids {
		repository, _, _ := strings.Cut(id, "-")
		if want := fmt.Sprintf("%s-%d", repository, next[repository]); id != want {
			t.Errorf("%s: got %s, want %s", name, id, want)
			return
		}
		next[repository]++
	}
}
