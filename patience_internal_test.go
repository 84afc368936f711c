package notifications

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPatience(t *testing.T) {
	errOver := errors.New("over")
	type key struct{}
	parent, leave := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	leave()
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(parent, time.Second, errOver)
		assert.NoError(t, p.Err(), "its parent's end is not its own")
		assert.Equal(t, "kept", p.Value(key{}))
		assert.Nil(t, p.timed, "nobody has waited yet")

		child, cancel := context.WithCancel(p)
		defer cancel()
		start := time.Now()
		<-child.Done()
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, errOver, context.Cause(child))
		assert.Equal(t, errOver, context.Cause(p))
		assert.ErrorIs(t, p.Err(), context.DeadlineExceeded)
		assert.Equal(t, "kept", p.Value(key{}))
		p.giveUp()
		assert.ErrorIs(t, p.Err(), context.DeadlineExceeded)

		late := newPatience(parent, time.Second, errOver)
		time.Sleep(2 * time.Second)
		assert.ErrorIs(t, late.Err(), context.DeadlineExceeded, "whoever only looks sees it too")
		assert.Equal(t, errOver, context.Cause(late))

		for _, waited := range []bool{false, true} {
			p := newPatience(parent, time.Second, errOver)
			if waited {
				p.Done()
			}
			p.giveUp()
			assert.ErrorIs(t, p.Err(), context.Canceled)
			assert.Nil(t, p.Value(key{}), "it keeps nothing of its parent")
			<-p.Done()
		}
	})
}

func newPatience(ctx context.Context, d time.Duration, cause error) *patience {
	p := &patience{end: time.Now().Add(d)}
	p.begin(ctx, cause)
	return p
}

// TestPatienceHasNoOtherEnd: what its parent ended of is nobody's business.
func TestPatienceHasNoOtherEnd(t *testing.T) {
	parent, leave := context.WithCancelCause(t.Context())
	leave(errors.New("the client left"))
	p := newPatience(parent, time.Hour, nil)
	assert.NoError(t, context.Cause(p))
	child, cancel := context.WithCancel(p)
	defer cancel()
	assert.NoError(t, context.Cause(child))
	assert.NoError(t, context.Cause(p))
	p.giveUp()
	<-child.Done()
}
