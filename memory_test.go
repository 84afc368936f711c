package notifications

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMemoryCursorAfterACancelledWait: a wake-up that nobody waited for any more is
// not in the way of the next.
func TestMemoryCursorAfterACancelledWait(t *testing.T) {
	l := newMemoryLog(HubConfig{})
	c, err := l.Cursor("a")
	require.NoError(t, err)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	block := make([]*Event, 10)
	for range 3 {
		_, err = c.Next(cancelled, block) // waits, and is told to stop
		assert.ErrorIs(t, err, context.Canceled)
		require.NoError(t, l.Append(t.Context(), NewEvent(ActionPush))) // wakes it nevertheless
		n, err := c.Next(t.Context(), block)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
	}
}

// TestMemoryCursorReadsWhatIsThere, in blocks of every size, beginning anywhere.
func TestMemoryCursorReadsWhatIsThere(t *testing.T) {
	for _, start := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize} {
		for _, size := range []int{1, 2, chunkSize - 1, chunkSize, chunkSize + 1, 5 * chunkSize} {
			l := newMemoryLog(HubConfig{})
			for range start {
				require.NoError(t, l.Append(t.Context(), NewEvent(ActionPush)))
			}
			c, err := l.Cursor("a")
			require.NoError(t, err)
			var events []*Event
			for range 3*chunkSize + 1 {
				events = append(events, NewEvent(ActionPush))
			}
			require.NoError(t, l.Append(t.Context(), events...))

			var got []*Event
			for len(got) < len(events) {
				block := make([]*Event, size)
				n, err := c.Next(t.Context(), block)
				require.NoError(t, err)
				got = append(got, block[:n]...)
			}
			require.Equal(t, events, got, "from %d in blocks of %d", start, size)
		}
	}
}
