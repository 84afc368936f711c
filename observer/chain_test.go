package observer

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDepChain(t *testing.T) {
	var c DepChain
	assert.Zero(t, c.Gc())
	first, other := c.Next("a"), c.Next("b")
	second, third := c.Next("a"), c.Next("a")
	assert.True(t, isClosed(first.Wait), "nothing is in front of it")
	assert.True(t, isClosed(other.Wait), "another name")
	assert.False(t, isClosed(second.Wait))
	assert.False(t, isClosed(third.Wait))

	second.Done() // too early: who comes behind it waits for nothing else
	assert.False(t, isClosed(second.Wait))
	assert.True(t, isClosed(third.Wait))
	first.Done()
	first.Done()
	assert.True(t, isClosed(second.Wait))

	assert.Equal(t, 2, c.Gc())
	other.Done()
	assert.Equal(t, 1, c.Gc())
	fourth := c.Next("a")
	assert.False(t, isClosed(fourth.Wait), "what is not done is not forgotten")
	third.Done()
	assert.True(t, isClosed(fourth.Wait))
	assert.Equal(t, 1, c.Gc())
	fourth.Done()
	assert.Zero(t, c.Gc())
	assert.Empty(t, c.last)
	assert.True(t, isClosed(c.Next("a").Wait), "as new")
}

// TestDepChainAtOnce: each name's links are worked on one after another, in their order,
// whatever is forgotten meanwhile. The race detector watches.
func TestDepChainAtOnce(t *testing.T) {
	const names, workers, each = 5, 8, 200
	var (
		c     DepChain
		mu    sync.Mutex
		asked [names][]int // in which order links were given
		took  [names][]int // and used: guarded by the chain of the name alone
		wg    sync.WaitGroup
	)
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				name, id := (w+i)%names, w*each+i
				mu.Lock()
				d := c.Next(strconv.Itoa(name))
				asked[name] = append(asked[name], id)
				mu.Unlock()
				wg.Go(func() {
					<-d.Wait
					took[name] = append(took[name], id)
					d.Done()
				})
				if i%16 == 0 {
					assert.LessOrEqual(t, c.Gc(), names)
				}
			}
		})
	}
	wg.Wait()
	for name := range names {
		require.Equal(t, asked[name], took[name])
	}
	assert.Zero(t, c.Gc())
}
