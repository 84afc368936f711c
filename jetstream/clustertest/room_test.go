package clustertest

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/jetstream"
)

// TestNoRoom: a stream that is full refuses events, and the spill keeps them. When what was
// delivered is purged, all go on, in order, and nothing comes twice.
func TestNoRoom(t *testing.T) {
	c := newChaos(t, func(c *jetstream.Config) { c.MaxBytes = 256 << 10 }, nil)
	stop, written := c.write(0)
	for n := range int64(2) {
		c.until(func() bool {
			return c.publishers[0].full.Load() > 3*n && c.publishers[1].hub.Load().Stat().Spilled > 0
		}, "there is no room")
		c.makeRoom()
		c.progress(100)
	}
	close(stop)
	done := make(chan struct{})
	go func() {
		defer close(done)
		written.Wait()
	}()
	c.until(func() bool {
		select {
		case <-done:
			return c.publishers[1].hub.Load().Stat().Spilled == 0
		default:
			c.makeRoom()
			return false
		}
	}, "all is written")
	c.settle(0)
	wrong, repeats := c.ledger.close(func(repeat, uint64) bool { return false })
	assert.Empty(t, wrong)
	assert.Zero(t, repeats)
	assert.Zero(t, c.publishers[1].failures.Load(), "there is a spill")
}

// makeRoom purges what everybody has had.
func (c *chaos) makeRoom() {
	c.t.Helper()
	c.until(func() bool { _, ok := c.settled(); return ok }, "everything that is stored is acknowledged")
	floors, err := c.floors()
	require.NoError(c.t, err)
	c.follow()
	upTo := c.read
	for _, floor := range floors {
		upTo = min(upTo, floor)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	c.purged = true
	require.NoError(c.t, c.stream.Purge(ctx, js.WithPurgeSequence(upTo+1)))
}

// TestDiskIsFull: when the servers have no room on their disks, nothing works any more. When
// they are started again with more, what they have acknowledged is there, and all go on.
func TestDiskIsFull(t *testing.T) {
	c := newChaos(t, nil, func(o *server.Options) { o.JetStreamMaxStore = 512 << 10 })
	floors, err := c.floors()
	require.NoError(t, err)
	stop, written := c.write(0)
	c.until(func() bool {
		return c.publishers[0].failures.Load() > 6 && c.publishers[1].hub.Load().Stat().Spilled > 0
	}, "there is no room")
	for _, i := range rand.Perm(3) {
		c.cluster.Kill(i)
		c.cluster.Change(i, func(o *server.Options) { o.JetStreamMaxStore = 1 << 30 })
	}
	for i := range 3 {
		require.NoError(t, c.cluster.Restart(i))
	}
	require.NoError(t, c.cluster.Wait())
	c.progress(100)
	close(stop)
	written.Wait()
	c.settle(0)
	wrong, repeats := c.ledger.close(func(r repeat, position uint64) bool {
		return position > floors[c.partition(r.repository)] && slices.Contains(c.everyone(), r.before)
	})
	assert.Empty(t, wrong)
	assert.Zero(t, c.publishers[1].failures.Load(), "there is a spill")
	t.Logf("%d came once more", repeats)
}
