package jetstream

import (
	"context"
	"io"
	"sync"

	"github.com/registry-notifications/notifications"
)

// cursor is a sink's place in the stream, as this instance sees it: in those partitions of
// which it has the lease. It gives what these have in turn.
type cursor struct {
	log     *log
	name    string
	steward *steward

	news    chan struct{} // something is ready
	reading troubles

	mu         sync.Mutex // guards the rest
	partitions []*partition
	turn       int
	hand       []*partition // whose events Next has returned, and Settle has not been told of
	settled    uint64
	expired    uint64          // too old before they were fetched
	gone       uint64          // was pending when the place was forgotten
	forgotten  bool            // the place is
	ended      bool            // the hub has closed it
	lease      context.Context // of all of it
	lost       context.CancelFunc
	closed     bool
}

var (
	_ notifications.EncodedCursor = (*cursor)(nil)
	_ notifications.LeasedCursor  = (*cursor)(nil)
	_ notifications.AttemptCursor = (*cursor)(nil)
)

func newCursor(l *log, name string) *cursor {
	return &cursor{log: l, name: name, news: make(chan struct{}, 1)}
}

// wake has Next look again.
func (c *cursor) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// NextEncoded gives what is ready.
func (c *cursor) NextEncoded(ctx context.Context, block [][]byte, _ bool) (int, error) {
	for {
		n, lease := c.takeReady(block)
		if n > 0 {
			return n, nil
		}
		select {
		case <-c.news:
		case <-lease.Done():
			return 0, errLost
		case <-c.log.shutting:
			return 0, io.EOF
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Next is not called by a Hub, which prefers NextEncoded.
func (c *cursor) Next(ctx context.Context, block []*notifications.Event) (int, error) {
	encoded := make([][]byte, len(block))
	n, err := c.NextEncoded(ctx, encoded, false)
	for i, b := range encoded[:n] {
		block[i] = new(notifications.Event)
		if err := block[i].UnmarshalJSON(b); err != nil {
			block[i] = nil
		}
	}
	return n, err
}

// takeReady takes what is ready, under a lease that has not ended: otherwise what was given
// has to be taken back first.
func (c *cursor) takeReady(block [][]byte) (n int, lease context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease == nil {
		c.lease, c.lost = context.WithCancel(context.Background())
	}
	if c.closed || c.lease.Err() != nil {
		return 0, c.lease
	}
	for range c.partitions {
		c.turn = (c.turn + 1) % len(c.partitions)
		p := c.partitions[c.turn]
		if !p.giving.IsZero() || p.ctx.Err() != nil {
			continue
		}
		k := min(len(block)-n, len(p.ready))
		for _, d := range p.ready[:k] {
			block[n] = d.message.Data()
			n++
			p.bytes -= len(d.message.Data())
			c.hand = append(c.hand, p)
			p.handed = d.position
		}
		p.hand = append(p.hand, p.ready[:k]...)
		if p.ready = p.ready[k:]; k > 0 {
			select {
			case p.room <- struct{}{}:
			default:
			}
		}
		if n == len(block) {
			break
		}
	}
	return n, c.lease
}

// Settle acknowledges the next n events.
func (c *cursor) Settle(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled += uint64(n)
	each := make(map[*partition]int)
	for _, p := range c.hand[:n] {
		each[p]++
	}
	c.hand = c.hand[n:]
	for p, k := range each {
		if len(p.hand) >= k { // or its lease is over
			p.settle(p.hand[k-1].position)
		}
		if !p.giving.IsZero() {
			c.steward.look()
		}
	}
}

// Lease takes back what was given, and returns a context for what comes now.
func (c *cursor) Lease() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		c.lost()
	}
	c.hand = nil
	for _, p := range c.partitions {
		for _, d := range p.hand {
			p.bytes += len(d.message.Data())
		}
		p.ready = append(p.hand, p.ready...)
		p.hand = nil
		p.handed = p.settled
	}
	c.lease, c.lost = context.WithCancel(context.Background())
	c.wake()
	c.steward.look()
	return c.lease
}

// Lag counts what is in the partitions of this instance.
func (c *cursor) Lag() notifications.Lag {
	c.mu.Lock()
	defer c.mu.Unlock()
	lag := notifications.Lag{Pending: c.pending(), Dropped: map[string]uint64{notifications.DroppedExpired: c.expired}}
	lag.Accepted = c.settled + lag.Pending + c.expired
	if c.forgotten && c.ended {
		lag.Pending = 0 // nobody will get it
	}
	return lag
}

// pending is called with the lock held.
func (c *cursor) pending() (n uint64) {
	if c.forgotten {
		return c.gone
	}
	for _, p := range c.partitions {
		n += uint64(len(p.hand)+len(p.ready)) + p.behind
	}
	return n
}

// forget counts what is pending now, and goes on counting it when the partitions are gone.
func (c *cursor) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone, c.forgotten = c.pending(), true
}
