package clustertest

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/jetstream"
)

// TestNoRoom: a stream that is full of what nobody has had refuses events, and the spill keeps
// them. What is delivered then makes room: all go on, in order, and nothing comes twice.
func TestNoRoom(t *testing.T) {
	c := newChaos(t, func(c *jetstream.Config) { c.MaxBytes = 256 << 10 }, nil)
	for _, w := range c.alive() {
		w.shut.Store(true)
	}
	stop, written := c.write(0)
	c.until(func() bool {
		return c.publishers[0].full.Load() > 3 && c.publishers[1].hub.Load().Stat().Spilled > 0
	}, "there is no room")
	close(stop)
	c.follow() // before it goes
	for _, w := range c.alive() {
		w.shut.Store(false)
	}
	written.Wait()
	c.settle(0)
	wrong, repeats := c.ledger.close(func(repeat, uint64) bool { return false })
	assert.Empty(t, wrong)
	assert.Zero(t, repeats)
	assert.Zero(t, c.publishers[1].failures.Load(), "there is a spill")
	info, err := c.stream.Info(t.Context())
	require.NoError(t, err)
	assert.Greater(t, info.State.FirstSeq, uint64(1), "what was delivered made room")
}

// TestDiskIsFull: when the servers have no room on their disks, nothing works any more. When
// they are started again with more, what they have acknowledged is there, and all go on.
func TestDiskIsFull(t *testing.T) {
	if !*long {
		t.Skip("three servers that are started twice take some time: -long")
	}
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
		return position > floors[c.partition(r.repository)].fallback && slices.Contains(c.everyone(), r.before)
	})
	assert.Empty(t, wrong)
	assert.Zero(t, c.publishers[1].failures.Load(), "there is a spill")
	t.Logf("%d came once more", repeats)
}
