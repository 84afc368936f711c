package notifications

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		overdue := errors.New("overdue")
		var closed atomic.Int32
		w := newWatchdog(15*time.Second, overdue, func() { closed.Add(1) })
		defer w.stop()
		start := time.Now()

		// Many attempts that end in time are one setting of the timer; the next one has
		// all of its time.
		for range 100 {
			ctx, a := w.begin(t.Context())
			time.Sleep(100 * time.Millisecond)
			assert.NoError(t, ctx.Err())
			a.end()
		}
		slow, a := w.begin(t.Context())
		time.Sleep(time.Second)
		slower, b := w.begin(t.Context())
		<-slow.Done()
		assert.Equal(t, 25*time.Second, time.Since(start))
		assert.Equal(t, overdue, context.Cause(slow))
		assert.NoError(t, slower.Err())
		<-slower.Done()
		assert.Equal(t, 26*time.Second, time.Since(start))
		a.end()
		b.end()

		// A timer that is set for what is not used does not keep an attempt waiting.
		time.Sleep(20 * time.Second)
		late, c := w.begin(t.Context())
		begun := time.Now()
		<-late.Done()
		assert.Equal(t, 15*time.Second, time.Since(begun))
		c.end()

		// What is not used for so long is closed, once.
		time.Sleep(idleTimeout - time.Second)
		synctest.Wait()
		assert.Zero(t, closed.Load())
		time.Sleep(time.Second)
		synctest.Wait()
		assert.EqualValues(t, 1, closed.Load())
		time.Sleep(time.Hour)
		assert.EqualValues(t, 1, closed.Load())
		_, a = w.begin(t.Context())
		a.end()
		time.Sleep(idleTimeout + time.Second)
		synctest.Wait()
		assert.EqualValues(t, 2, closed.Load())
	})
}

// TestWatchdogLongTimeout: connections do not stay open for as long as an attempt may take.
func TestWatchdogLongTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed atomic.Int32
		w := newWatchdog(time.Hour, nil, func() { closed.Add(1) })
		defer w.stop()
		_, a := w.begin(t.Context())
		time.Sleep(10 * time.Second)
		a.end()
		time.Sleep(idleTimeout)
		synctest.Wait()
		assert.EqualValues(t, 1, closed.Load())
	})
}
