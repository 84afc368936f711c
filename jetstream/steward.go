package jetstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// steward sees to it that a cursor has its share of the partitions: it renews its leases,
// takes those that nobody has, and gives some back when another instance comes.
type steward struct {
	*cursor
	member string // key under which this instance says that it is there

	ctx    context.Context // ends when the cursor is closed
	cancel context.CancelFunc
	now    chan struct{} // something was settled
	done   chan struct{}

	renewing chan struct{} // closed when it renews nothing any more
}

func newSteward(c *cursor) *steward {
	s := &steward{
		cursor: c, member: c.log.memberKey(c.name, c.log.config.Instance),
		now: make(chan struct{}, 1), done: make(chan struct{}), renewing: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	go s.keepRenewing()
	return s
}

// look has it look at once at what is to be given back.
func (s *steward) look() {
	select {
	case s.now <- struct{}{}:
	default:
	}
}

// run ends with all leases given back.
func (s *steward) run() {
	defer close(s.done)
	every := s.log.config.Lease / 5
	tick := time.NewTicker(every)
	defer tick.Stop()
	var faults episode
	for n := 0; ; n++ {
		if err := s.balance(); err != nil && s.ctx.Err() == nil {
			faults.failed(s.log.config.Logger.WithField("sink", s.name), err, "jetstream: partitions cannot be shared out; it is tried again")
		} else {
			faults.over(s.log.config.Logger.WithField("sink", s.name), "jetstream: partitions are shared out again")
		}
		if n%5 == 4 {
			for _, p := range s.all() {
				p.extend()
			}
		}
	wait:
		for {
			select {
			case <-tick.C:
				break wait
			case <-s.now:
				s.giveBack(false)
			case <-s.ctx.Done():
				s.end()
				return
			}
		}
	}
}

func (c *cursor) all() []*partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*partition(nil), c.partitions...)
}

// balance takes what is free, up to a fair share, and has given back what is more.
func (s *steward) balance() error {
	ctx, cancel := context.WithTimeout(s.ctx, s.log.config.Timeout)
	defer cancel()
	if _, err := s.log.leases.Put(ctx, s.member, nil); err != nil {
		return fmt.Errorf("saying that this instance is there: %w", err)
	}
	members, err := s.log.members(ctx, s.name)
	if err != nil {
		return fmt.Errorf("asking who else is there: %w", err)
	}
	total := s.log.config.Partitions
	fair := (total + max(1, members) - 1) / max(1, members)
	have := make(map[int]bool)
	for _, p := range s.all() {
		have[p.number] = true
	}
	if len(have) > fair {
		s.shrink(len(have) - fair)
		return nil
	}
	for _, n := range rand.Perm(total) { // or all instances ask for the same
		if len(have) >= fair {
			break
		}
		if have[n] {
			continue
		}
		taken, err := s.take(n)
		if err != nil {
			return err
		}
		if taken {
			have[n] = true
		}
	}
	return nil
}

// take takes a partition, if it is free.
func (s *steward) take(number int) (bool, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.log.config.Timeout)
	defer cancel()
	l := &lease{kv: s.log.leases, key: s.log.leaseKey(s.name, number), holder: s.log.config.Instance, term: s.log.config.Lease}
	if taken, err := l.take(ctx); !taken || err != nil {
		return false, err
	}
	name := s.log.consumerName(s.name, number)
	consumer, err := s.log.stream.Consumer(ctx, name)
	if err != nil {
		_ = l.give(ctx)
		return false, fmt.Errorf("consumer %q: %w", name, err)
	}
	p := &partition{
		cursor: s.cursor, number: number, name: name, consumer: consumer, lease: l,
		stopped: make(chan struct{}), room: make(chan struct{}, 1),
	}
	if info := consumer.CachedInfo(); info != nil {
		p.behind = info.NumPending + uint64(info.NumAckPending)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	s.mu.Lock()
	s.partitions = append(s.partitions, p)
	p.expire = time.AfterFunc(time.Until(l.until), func() {
		s.log.config.Logger.WithField("sink", s.name).WithField("partition", number).Warn("jetstream: lease not renewed in time; another instance may go on")
		s.lose(p)
	})
	s.mu.Unlock()
	go p.fetch()
	return true, nil
}

// keepRenewing renews all leases, again and again, whatever else there is to do.
func (s *steward) keepRenewing() {
	defer close(s.renewing)
	tick := time.NewTicker(s.log.config.Lease / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.renew()
		case <-s.ctx.Done():
			return
		}
	}
}

// renew renews all leases. One that is another's is lost; another try is made of what failed.
func (s *steward) renew() {
	ctx, cancel := context.WithTimeout(s.ctx, s.log.config.Lease/5)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range s.all() {
		wg.Go(func() {
			until, err := p.lease.renew(ctx)
			switch {
			case err == nil:
				s.prolong(p, until)
			case isOthers(err):
				s.log.config.Logger.WithField("sink", s.name).WithField("partition", p.number).WithError(err).Warn("jetstream: lease lost; another instance goes on")
				s.lose(p)
			}
		})
	}
	wg.Wait()
}

// prolong has a partition until then.
func (s *steward) prolong(p *partition, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.partitions, p) {
		p.expire.Reset(time.Until(until))
	}
}

// lose ends the work on a partition at once, whatever is under way.
func (s *steward) lose(p *partition) {
	p.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	p.expire.Stop()
	if !slices.Contains(s.partitions, p) {
		return // it was given back
	}
	s.remove(p)
	if s.lost != nil {
		s.lost()
	}
}

// remove takes a partition out. The caller holds the lock.
func (c *cursor) remove(p *partition) {
	for i, q := range c.partitions {
		if q == p {
			c.partitions = append(c.partitions[:i:i], c.partitions[i+1:]...)
		}
	}
}

// shrink has so many partitions given back, when the cursor has settled what it has of them.
func (s *steward) shrink(n int) {
	s.mu.Lock()
	for _, p := range s.partitions {
		if p.giving {
			n--
		}
	}
	for _, p := range s.partitions {
		if n > 0 && !p.giving {
			p.giving = true
			n--
		}
	}
	s.mu.Unlock()
	s.giveBack(false)
}

// giveBack gives back those that are to be and of which nothing is unsettled, or all.
func (s *steward) giveBack(all bool) {
	s.mu.Lock()
	var gone []*partition
	for _, p := range s.partitions {
		if all || p.giving && len(p.hand) == 0 {
			gone = append(gone, p)
		}
	}
	for _, p := range gone {
		s.remove(p)
		p.expire.Stop()
	}
	s.mu.Unlock()
	if len(gone) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.log.config.Timeout)
	defer cancel()
	_ = s.log.nc.FlushWithContext(ctx) // acknowledgements come before the next instance does
	var wg sync.WaitGroup
	for _, p := range gone {
		wg.Go(func() {
			p.cancel()
			<-p.stopped
			if err := p.lease.give(ctx); err != nil {
				s.log.config.Logger.WithError(err).Debug("jetstream: a lease could not be given back, and ends by itself")
			}
		})
	}
	wg.Wait()
}

// end gives everything back.
func (s *steward) end() {
	<-s.renewing
	s.giveBack(true)
	ctx, cancel := context.WithTimeout(context.Background(), s.log.config.Timeout)
	defer cancel()
	_ = s.log.leases.Purge(ctx, s.member) // or it ends by itself
}

// Close gives up what the cursor has; its steward gives it back.
func (c *cursor) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.steward.cancel()
	return nil
}

// stop closes it, and waits until everything is given back, which has its own time-outs.
func (c *cursor) stop() {
	_ = c.Close()
	<-c.steward.done
}
