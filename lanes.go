package notifications

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// lanes has several envelopes in flight at once. The events of one repository are all
// in one lane, so that their order is kept. At the first failure that is over: what is
// left of a block goes one after the other through the retrying sink, whose policy
// wants to know what came before what.
type lanes struct {
	*retryingSink
	most int  // lanes
	turn turn // of whoever delivers: what is settled ahead is of one block

	mu   sync.Mutex           // guards the rest
	done map[*Event][]outcome // settled before those in front of them were, once or more
}

var (
	_ Sink      = (*lanes)(nil)
	_ Deliverer = (*lanes)(nil)
)

func newLanes(retry *retryingSink, most int) *lanes {
	return &lanes{retryingSink: retry, most: most, turn: newTurn(), done: make(map[*Event][]outcome)}
}

func (s *lanes) Deliver(ctx context.Context, events ...*Event) (int, error) {
	return deliverValid(ctx, s, events)
}

// Write waits for parked events too, as the retrying sink does.
func (s *lanes) Write(ctx context.Context, events ...*Event) error {
	return writeAll(ctx, s, s.door, events)
}

// deliver returns what is settled from the front, and remembers the rest.
func (s *lanes) deliver(ctx context.Context, events []*Event) (out outcome, err error) {
	err = s.door.run(ctx, func(ctx context.Context) error {
		if err := s.turn.take(ctx); err != nil {
			return err
		}
		defer s.turn.give()
		var failure error
		if s.gate.isOpen() && !s.hasRefused(events) {
			failure = s.sideBySide(ctx, s.unsettled(events))
		}
		for {
			if out = s.front(events); out.settled() > 0 || len(events) == 0 {
				return nil
			}
			rest := s.unsettled(events)
			settled, err := s.oneByOne(ctx, rest, failure)
			s.settle(rest, settled)
			if err != nil {
				out = s.front(events)
				return err
			}
			failure = nil
		}
	})
	return out, err
}

// sideBySide gives the events to their lanes and waits for all of these. It returns the
// first failure, which the gate has been told of.
func (s *lanes) sideBySide(ctx context.Context, events []*Event) error {
	var wg sync.WaitGroup
	split := split(events, s.most)
	results := make([]error, len(split))
	for i, lane := range split {
		wg.Go(func() { results[i] = s.run(ctx, lane) })
	}
	wg.Wait()
	for _, err := range results {
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrSinkClosed) && kindOfFailure(err) != Refused {
			s.gate.note(err) // one for all: they are one receiver's
			return err
		}
	}
	return nil
}

// run sends a lane's events until there is a failure.
func (s *lanes) run(ctx context.Context, lane []*Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("notifications: sink panicked: %v", p)
		}
	}()
	for len(lane) > 0 && s.gate.isOpen() {
		out, err := deliver(ctx, s.sink, lane)
		s.settle(lane, out)
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

// split deals events out to at most that many lanes, each repository to one. It stops
// in front of a rename that joins two lanes.
func split(events []*Event, most int) (lanes [][]*Event) {
	of := make(map[string]int)
	for _, e := range events {
		lane, ok := of[e.read().Target.Repository]
		if e.Action == ActionRename {
			switch from, known := of[e.Target.FromRepository]; {
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
		of[e.Target.Repository] = lane
		if e.Action == ActionRename {
			of[e.Target.FromRepository] = lane
		}
		lanes[lane] = append(lanes[lane], e)
	}
	return lanes
}

func shortest(lanes [][]*Event) (lane int) {
	for i := range lanes {
		if len(lanes[i]) < len(lanes[lane]) {
			lane = i
		}
	}
	return lane
}

// settle remembers how events from the front of a piece of a block were settled.
func (s *lanes) settle(events []*Event, out outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range events[:out.settled()] {
		how := outcome{delivered: 1}
		if i < out.deadLettered {
			how = outcome{deadLettered: 1}
		}
		s.done[e] = append(s.done[e], how)
	}
}

// unsettled returns the events of a block that are not settled.
func (s *lanes) unsettled(events []*Event) (rest []*Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.done) == 0 {
		return events
	}
	seen := make(map[*Event]int)
	for _, e := range events {
		if seen[e] == len(s.done[e]) {
			rest = append(rest, e)
		} else {
			seen[e]++
		}
	}
	return rest
}

// front forgets what is settled in front of a block, and returns it.
func (s *lanes) front(events []*Event) (out outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		how := s.done[e]
		if len(how) == 0 {
			break
		}
		out.add(how[0])
		if s.done[e] = how[1:]; len(how) == 1 {
			delete(s.done, e)
		}
	}
	return out
}

func (s *lanes) maxEvents() int { return s.most * blockSize(s.sink) }
