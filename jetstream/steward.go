package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// steward sees to it that a cursor has its share of the partitions: it renews its leases,
// takes those that nobody has, and gives some back when another instance comes.
type steward struct {
	*cursor
	holder string // of its leases

	ctx    context.Context // ends when the cursor is closed
	cancel context.CancelFunc
	now    chan struct{} // something was settled
	done   chan struct{}

	patience context.Context // ends when nobody waits for what is given back any more
	hurry    context.CancelFunc

	renewing chan struct{} // closed when it renews nothing any more
}

func newSteward(c *cursor) *steward {
	s := &steward{
		cursor: c, holder: c.log.config.Instance + " " + newID(),
		now: make(chan struct{}, 1), done: make(chan struct{}), renewing: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.patience, s.hurry = context.WithCancel(context.Background())
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
	defer s.hurry()
	tick := time.NewTicker(s.log.config.Lease / 5)
	defer tick.Stop()
	log := s.log.config.Logger.WithField("sink", s.name)
	var faults episode
	for n := 0; ; n++ {
		if err := s.balance(); err != nil && s.ctx.Err() == nil {
			faults.failed(log, err, "jetstream: partitions cannot be shared out; it is tried again")
		} else {
			faults.over(log, "jetstream: partitions are shared out again")
		}
		s.storeTries()
		if n%5 == 4 {
			s.attend()
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

func (s *steward) storeTries() {
	ctx, cancel := context.WithTimeout(s.ctx, s.log.config.Timeout)
	defer cancel()
	for _, p := range s.all() {
		p.storeTries(ctx)
	}
}

// attend does, once for each lease, what would not be done otherwise where a sink is slow or
// fails.
func (s *steward) attend() {
	ctx, cancel := context.WithTimeout(s.ctx, s.log.config.Timeout)
	defer cancel()
	for _, p := range s.all() {
		if _, waits := p.isWaiting(); waits {
			p.measure(ctx)
		} else {
			p.extend()
			p.check(ctx)
		}
	}
	s.takeBack()
}

// takeBack takes from the sink what it could not settle for a whole lease, if another instance
// waits for that.
func (s *steward) takeBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := slices.ContainsFunc(s.partitions, func(p *partition) bool {
		return !p.giving.IsZero() && len(p.hand) > 0 && time.Since(p.giving) > s.log.config.Lease
	})
	if late && s.lost != nil {
		s.lost()
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
	if _, err := s.log.leases.Put(ctx, s.log.memberKey(s.name, s.log.config.Instance), nil); err != nil {
		return fmt.Errorf("saying that this instance is there: %w", err)
	}
	members, err := s.log.leases.count(ctx, s.log.membersKey(s.name))
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
	l := &lease{kv: s.log.leases, key: s.log.partitionKey(s.name, number), holder: s.holder, term: s.log.config.Lease}
	if taken, err := l.take(ctx); !taken || err != nil {
		return false, err
	}
	name := s.log.consumerName(s.name, number)
	consumer, err := s.log.stream.Consumer(ctx, name)
	if err != nil {
		_ = l.give(ctx)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			err = errors.Join(errRemoved, err)
		}
		return false, fmt.Errorf("consumer %q: %w", name, err)
	}
	p := &partition{
		cursor: s.cursor, number: number, name: name, consumer: consumer, lease: l,
		stopped: make(chan struct{}), room: make(chan struct{}, 1), acks: make(chan struct{}, 1),
	}
	if info := consumer.CachedInfo(); info != nil {
		p.behind = info.NumPending + uint64(info.NumAckPending)
	}
	if err := p.loadTries(ctx); err != nil {
		_ = l.give(ctx)
		return false, err
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
	for s.ctx.Err() == nil {
		pause := s.log.config.Lease / 5
		if !s.renew() { // there may be an election
			pause = min(pause, 250*time.Millisecond)
		}
		sleep(s.ctx, pause)
	}
}

// renew renews all leases. One that is another's is lost; what failed otherwise is to be tried
// again.
func (s *steward) renew() (ok bool) {
	ctx, cancel := context.WithTimeout(s.ctx, s.log.config.Lease/5)
	defer cancel()
	var failed atomic.Bool
	var wg sync.WaitGroup
	for _, p := range s.all() {
		wg.Go(func() {
			until, err := p.lease.renew(ctx)
			switch {
			case err == nil:
				s.prolong(p, until)
			case errors.Is(err, errLost):
				s.log.config.Logger.WithField("sink", s.name).WithField("partition", p.number).Warn("jetstream: lease lost; another instance goes on")
				s.lose(p)
			default:
				failed.Store(true)
			}
		})
	}
	wg.Wait()
	return !failed.Load()
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
		if !p.giving.IsZero() {
			n--
		}
	}
	for _, p := range s.partitions {
		if n > 0 && p.giving.IsZero() {
			p.giving = time.Now()
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
		if all || !p.giving.IsZero() && len(p.hand) == 0 {
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
	ctx, cancel := context.WithTimeout(s.patience, s.log.config.Timeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range gone { // acknowledgements come before the next instance does
		wg.Go(p.sendAck)
	}
	wg.Wait()
	_ = s.log.nc.FlushWithContext(ctx)
	for _, p := range gone {
		wg.Go(func() {
			p.cancel()
			<-p.stopped
			p.storeTries(ctx)
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
	ctx, cancel := context.WithTimeout(s.patience, s.log.config.Timeout)
	defer cancel()
	_ = s.log.leases.forget(ctx, s.log.memberKey(s.name, s.log.config.Instance)) // or the key ends by itself
}

// Close gives up what the cursor has; its steward gives it back.
func (c *cursor) Close() error {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.shut()
	return nil
}

// shut has it take and give nothing any more.
func (c *cursor) shut() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.steward.cancel()
}

// stop shuts it, and waits until everything is given back. When ctx ends, which it may have with
// the sinks, there is a moment left for that; what is left then ends by itself, and what the
// client keeps, with the connection.
func (c *cursor) stop(ctx context.Context) {
	c.shut()
	if waitFor(ctx, c.steward.done, func() {}) {
		return
	}
	c.steward.hurry()
	waitFor(ctx, c.steward.done, func() {})
}

// waitFor waits for done until ctx ends; then it cancels, and waits a moment.
func waitFor(ctx context.Context, done <-chan struct{}, cancel func()) (ok bool) {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	cancel()
	grace := time.NewTimer(2 * stopGrace)
	defer grace.Stop()
	select {
	case <-done:
		return true
	case <-grace.C:
		return false
	}
}
