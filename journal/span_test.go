package journal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSpans compares them with a set of positions.
func TestSpans(t *testing.T) {
	const most = 60
	for range 300 {
		var s spans
		set := make(map[uint64]bool)
		for range 20 {
			first := 1 + rand.Uint64N(most)
			row := Span{first, first + rand.Uint64N(6)}
			var fresh uint64
			for p := row.First; p <= row.Last; p++ {
				if !set[p] {
					set[p] = true
					fresh++
				}
			}
			require.Equal(t, fresh, s.add(row), "%v into %v", row, s)
		}
		require.Zero(t, s.add(Span{}))
		before := rand.Uint64N(most)
		s.forget(before)
		for i, row := range s {
			require.GreaterOrEqual(t, row.Last, before)
			require.True(t, i == 0 || s[i-1].Last+1 < row.First, "%v", s)
		}
		for p := before; p < most+10; p++ {
			row, in := s.at(p)
			require.Equal(t, set[p], in, "%d in %v", p, s)
			require.True(t, !in || row.First <= p && p <= row.Last)
		}
	}
}
