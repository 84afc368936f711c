package notifications

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestBackoff(t *testing.T) {
	for _, c := range []struct{ min, max time.Duration }{
		{time.Second, time.Minute},
		{time.Second, 10 * time.Second}, // not a power of two apart
		{1, math.MaxInt64},
		{math.MaxInt64 - 1, math.MaxInt64},
		{time.Second, time.Second},
		{1, 1},
	} {
		b := backoff{min: c.min, max: c.max}
		last := time.Duration(0)
		for i := range 200 { // arithmetic that shifts overflows after sixty
			ceiling := b.ceiling()
			assert.GreaterOrEqual(t, ceiling, last, "failure %d of %v to %v", i, c.min, c.max)
			assert.GreaterOrEqual(t, ceiling, c.min)
			assert.LessOrEqual(t, ceiling, c.max)
			last = ceiling
			d := b.next()
			assert.Positive(t, d)
			assert.LessOrEqual(t, d, ceiling)
		}
		assert.Equal(t, c.max, last, "never reaches its maximum")
		b.reset()
		assert.Equal(t, c.min, b.ceiling())
	}
}

// TestBackoffIsFullJitter sees the whole range used: a thousand registries must not
// come back together.
func TestBackoffIsFullJitter(t *testing.T) {
	low, high := 0, 0
	for range 1000 {
		b := backoff{min: time.Second, max: time.Second}
		switch d := b.next(); {
		case d < 100*time.Millisecond:
			low++
		case d > 900*time.Millisecond:
			high++
		}
	}
	assert.Greater(t, low, 50)
	assert.Greater(t, high, 50)
}
