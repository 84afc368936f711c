package notifications

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// lanes has several envelopes in flight at once. The events of one repository are all
// in one lane, so that their order is kept. At the first failure that is over: what is
// left of a block goes one by one through the retrying sink, whose policy wants to know
// what came before what.
type lanes struct {
	*retryingSink
	most int // lanes
}

var (
	_ Sink      = (*lanes)(nil)
	_ Deliverer = (*lanes)(nil)
)

// deliver returns what is settled from the front. What is settled behind it, when it has
// to give up, is forgotten, and comes to the receiver again.
func (s *lanes) deliver(ctx context.Context, events []*Event) (out outcome, err error) {
	err = s.door.run(ctx, func(ctx context.Context) error {
		block := &laneBlock{events: events, how: make([]outcome, len(events))}
		if s.gate.isOpen() && !s.hasRefused(events) {
			s.sideBySide(ctx, block)
		}
		var err error
		for rest := block.rest(); len(rest) > 0 && err == nil; rest = block.rest() {
			err = s.finish(ctx, block, rest)
			if parked := (*parkedError)(nil); errors.As(err, &parked) && block.witness() >= 0 {
				err = s.finish(ctx, block, append(rest, block.witness()))
			}
		}
		out = block.front()
		return err
	})
	return out, err
}

// sideBySide gives the events to their lanes, and waits until these are through or have
// ended because one of them failed. It tells the gate.
func (s *lanes) sideBySide(ctx context.Context, block *laneBlock) {
	var (
		wg     sync.WaitGroup
		failed atomic.Bool
	)
	split := block.split(s.most)
	errs := make([]error, len(split))
	for i, lane := range split {
		wg.Go(func() { errs[i] = s.run(ctx, block, lane, &failed) })
	}
	wg.Wait()
	if err := worst(errs); err != nil && ctx.Err() == nil {
		s.gate.note(err)
	}
}

// run sends a lane's events until one of the lanes fails.
func (s *lanes) run(ctx context.Context, block *laneBlock, lane []int, failed *atomic.Bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("notifications: sink panicked: %v\n%s", p, debug.Stack())
		}
		if err != nil {
			failed.Store(true)
		}
	}()
	for len(lane) > 0 && !failed.Load() && s.gate.isOpen() {
		out, err := deliver(ctx, s.sink, block.at(lane))
		block.settle(lane, out)
		if err != nil {
			return err
		}
		if out.settled() == 0 {
			return errNoProgress
		}
		lane = lane[out.settled():]
	}
	return nil
}

// finish settles some of what is left of a block.
func (s *lanes) finish(ctx context.Context, block *laneBlock, rest []int) error {
	settled, err := s.oneByOne(ctx, block.at(rest))
	block.settle(rest, settled)
	return err
}

// worst returns the failure that counts for all, as they are one receiver's: what an
// operator has to mend before what passes, and the longest Retry-After. Refused content
// is none.
func worst(errs []error) (worst error) {
	rank := func(err error) (FailureKind, int64) {
		if d := (*DeliveryError)(nil); errors.As(err, &d) {
			return d.Kind, int64(d.RetryAfter)
		}
		return Transient, 0
	}
	for _, err := range errs {
		if err == nil || errors.Is(err, ErrSinkClosed) || kindOfFailure(err) == Refused {
			continue
		}
		kind, after := rank(err)
		if k, a := rank(worst); worst == nil || kind > k || kind == k && after > a {
			worst = err
		}
	}
	return worst
}

func (s *lanes) maxEvents() int { return s.most * blockSize(s.sink) }

// laneBlock is a block and how its events were settled: not at all if that is zero.
// Lanes and the rest of a block are positions in it.
type laneBlock struct {
	events []*Event
	how    []outcome
}

// split deals the events out to at most that many lanes, each repository to one. It
// stops in front of a rename that joins two lanes.
func (b *laneBlock) split(most int) (lanes [][]int) {
	of := make(map[string]int)
	for i, e := range b.events {
		repo, old := e.read().Target.Repository, ""
		lane, ok := of[repo]
		if e.Action == ActionRename {
			old = e.Target.FromRepository
			switch from, known := of[old]; {
			case ok && known && from != lane:
				return lanes
			case known:
				lane, ok = from, true
			}
		}
		if !ok && len(lanes) < most {
			lane, lanes = len(lanes), append(lanes, nil)
		} else if !ok {
			lane = shortest(lanes)
		}
		of[repo] = lane
		if old != "" {
			of[old] = lane
		}
		lanes[lane] = append(lanes[lane], i)
	}
	return lanes
}

func shortest(lanes [][]int) (lane int) {
	for i := range lanes {
		if len(lanes[i]) < len(lanes[lane]) {
			lane = i
		}
	}
	return lane
}

// at returns the events at some positions.
func (b *laneBlock) at(positions []int) []*Event {
	events := make([]*Event, len(positions))
	for i, p := range positions {
		events[i] = b.events[p]
	}
	return events
}

// settle notes how events from the front of some positions were settled. Lanes have
// no position in common.
func (b *laneBlock) settle(positions []int, out outcome) {
	for i, p := range positions[:out.settled()] {
		if i < out.deadLettered {
			b.how[p].deadLettered = 1
		} else {
			b.how[p].delivered = 1
		}
	}
}

// witness returns where an event is that was accepted, or -1. Sent again, behind those
// that were refused, it says whether the receiver works.
func (b *laneBlock) witness() int {
	return slices.IndexFunc(b.how, func(o outcome) bool { return o.delivered > 0 })
}

// rest returns where the events are that are not settled.
func (b *laneBlock) rest() (positions []int) {
	for i := range b.how {
		if b.how[i].settled() == 0 {
			positions = append(positions, i)
		}
	}
	return positions
}

// front returns what is settled from the front.
func (b *laneBlock) front() (out outcome) {
	for i := range b.how {
		if b.how[i].settled() == 0 {
			break
		}
		out.add(b.how[i])
	}
	return out
}
