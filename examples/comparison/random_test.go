package comparison

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// What clients do that nobody has thought of, one at a time and several at once, is told
// in the same way by the decorators and by the handler.
func TestRandom(t *testing.T) {
	seen = newTally()
	for _, c := range []struct {
		name        string
		clients     int
		each        int // things that a client does
		differences []difference
	}{
		{"one client", 1, 800, nil},
		// One may mount what another's upload has just brought, before the handler has
		// seen that it was taken.
		{"several clients", 8, 80, []difference{notPassedBy}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPair(t, setup{wrap: func(_ *testing.T, app http.Handler, around func(http.Handler) http.Handler) http.Handler {
				return notifications.RecordRequests(around(app))
			}})
			var clients sync.WaitGroup
			for seed := range c.clients {
				clients.Go(func() {
					client := p.client.Random(uint64(seed))
					for range c.each {
						if !assert.NoError(t, client.Next(t.Context())) {
							return
						}
					}
				})
			}
			clients.Wait()
			require.NoError(t, p.last.Do(t.Context()))

			inner, outer := byRequest(p.inner.until(t, "sentinel/repo")), byRequest(p.outer.until(t, "sentinel/repo"))
			compare(t, inner, outer, p.requests.by, append(c.differences, untagged(inner)))
		})
	}
	t.Log(&seen)
	require.Greater(t, seen.events, 300)
	for _, kind := range []string{
		"push manifest", "push manifest by tag", "push blob", "pull manifest", "pull manifest by tag", "pull blob",
		"mount blob", "delete manifest", "delete blob", "delete tag",
	} {
		require.NotZero(t, seen.kinds[kind], kind)
	}
}

// byRequest brings events into the order of their requests, which several clients make at
// once.
func byRequest(events []values) []values {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b values) int {
		return strings.Compare(text(a, "request", "id"), text(b, "request", "id"))
	})
	return events
}
