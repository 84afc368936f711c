package signature

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const eventID = "01890a5d-ac96-774b-bcce-b302099a8057"

// TestEnvelopeIDStays: an id has to outlive the process that made it.
func TestEnvelopeIDStays(t *testing.T) {
	assert.Equal(t, "msg_fXzeiK8kFp06f5w1wSYlRi9YVX50tiY0", EnvelopeID(eventID, "2", ""))
}

func TestEnvelopeID(t *testing.T) {
	seen := map[string][]string{}
	for _, ids := range [][]string{
		{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"a", "b"}, {"b", "a"}, {"ab"}, {"abc"}, {"a", "bc"}, {"ab", "c"},
		{"a", "a"}, {strings.Repeat("a", 10_000)}, {eventID}, {eventID, eventID}, {"\x00\x00\x00\x00\x00\x00\x00\x01a"},
	} {
		id := EnvelopeID(ids...)
		require.NoError(t, checkID(id))
		require.Len(t, id, 36)
		require.NotContains(t, seen, id, "%q", ids)
		seen[id] = ids
		require.Equal(t, id, EnvelopeID(ids...))
	}
}

func TestEnvelopeHash(t *testing.T) {
	var e EnvelopeHash
	assert.Equal(t, EnvelopeID(), e.ID())
	e.Add("a")
	assert.Equal(t, EnvelopeID("a"), e.ID())
	e.Add("b")
	assert.Equal(t, EnvelopeID("a", "b"), e.ID(), "ID changes nothing")
	e.Reset()
	assert.Equal(t, EnvelopeID(), e.ID())

	assert.Zero(t, testing.AllocsPerRun(100, func() { e.Add(eventID) }))
}

func BenchmarkEnvelopeHash(b *testing.B) {
	var e EnvelopeHash
	b.ReportAllocs()
	for b.Loop() {
		e.Reset()
		for range 256 {
			e.Add(eventID)
		}
		_ = e.ID()
	}
}
