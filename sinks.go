package notifications

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ErrSinkClosed is what Write returns after Close, wrapped or not: use errors.Is.
// A sink that returns it to a hub leaves the hub.
var ErrSinkClosed = errors.New("notifications: sink closed")

// Sink takes events away. A hub is one, an Endpoint is one, and so is whatever a
// program brings along; sinktest proves that it keeps this contract.
//
// All methods may be called at once from several goroutines.
type Sink interface {
	// Write takes a block of events, in order. It returns nil when all of them were
	// taken. After an error the caller may give the block again; what had been taken
	// then comes twice, with the same ID.
	//
	// Write may block, and returns an error once ctx ends. The slice is the caller's
	// again when Write returns; the events belong to everybody and are never
	// changed. A nil event is an error (ErrNilEvent), as is any call after Close
	// (ErrSinkClosed). No events is no error.
	Write(ctx context.Context, events ...*Event) error

	// Close stops intake at once, lets what was taken go out until ctx ends, then
	// stops and reports what was left. A second Close returns the first's result.
	Close(ctx context.Context) error
}

// Deliverer is a Sink that can say how far it got. A hub prefers Deliver to Write.
type Deliverer interface {
	// Deliver is Write, and returns how many events, counted from the front, are
	// settled for good: accepted by the receiver, filtered out, or in the dead
	// letters. Fewer than all of them without an error means that the rest is to be
	// given in the next call, at once.
	Deliver(ctx context.Context, events ...*Event) (settled int, err error)
}

// EncodedDeliverer is a Sink that needs no more of an event than its JSON, as one that
// passes it on. A hub prefers DeliverEncoded to Deliver, and then decodes nothing that its
// log keeps as JSON.
type EncodedDeliverer interface {
	// DeliverEncoded is Deliver for what Event.AppendJSON returns. The bytes are shared
	// with others, and the sink's until it has settled the event: whoever wants to keep
	// them copies them. The list of them is used again when it returns.
	DeliverEncoded(ctx context.Context, events ...[]byte) (settled int, err error)
}

// outcome says how the settled events at the front of a block were settled.
type outcome struct {
	delivered    int
	filtered     int
	deadLettered int
}

func (o outcome) settled() int { return o.delivered + o.filtered + o.deadLettered }

func (o *outcome) add(p outcome) {
	o.delivered += p.delivered
	o.filtered += p.filtered
	o.deadLettered += p.deadLettered
}

// deliverer is Deliverer for the sinks of this package, which tell the outcomes
// apart.
type deliverer interface {
	deliver(ctx context.Context, events []*Event) (outcome, error)
}

var errBadSettled = errors.New("notifications: sink says that it settled a number of events that it was not given")

// deliver hands a block to a sink in the best way that the sink has.
func deliver(ctx context.Context, sink Sink, events []*Event) (outcome, error) {
	if s, ok := sink.(deliverer); ok {
		return s.deliver(ctx, events)
	}
	switch s := sink.(type) {
	case EncodedDeliverer:
		return deliverEncoded(ctx, s, events)
	case Deliverer:
		return settledOf(len(events))(s.Deliver(ctx, detachedAll(events)...))
	default:
		if err := sink.Write(ctx, detachedAll(events)...); err != nil {
			return outcome{}, err
		}
		return outcome{delivered: len(events)}, nil
	}
}

// settledOf makes an outcome of what somebody else's sink says of a block.
func settledOf(block int) func(settled int, err error) (outcome, error) {
	return func(n int, err error) (outcome, error) {
		if n < 0 || n > block {
			return outcome{}, errors.Join(fmt.Errorf("%w: %d of %d", errBadSettled, n, block), err)
		}
		return outcome{delivered: n}, err
	}
}

// encodings are lists of what a sink was given encoded, to be used again: of those whose
// sink is lost in them, none comes back.
var encodings = sync.Pool{New: func() any { return new([][]byte) }}

func deliverEncoded(ctx context.Context, sink EncodedDeliverer, events []*Event) (outcome, error) {
	list := encodings.Get().(*[][]byte)
	encoded := (*list)[:0]
	for _, e := range events {
		b, err := e.encoded()
		if err != nil {
			return outcome{}, err
		}
		encoded = append(encoded, b)
	}
	out, err := settledOf(len(events))(sink.DeliverEncoded(ctx, encoded...))
	clear(encoded)
	*list = encoded
	encodings.Put(list)
	return out, err
}

// detachedAll is detached for a block. The slice is the caller's, and stays as it is.
func detachedAll(events []*Event) []*Event {
	if !slices.ContainsFunc(events, func(e *Event) bool { return e.packed }) {
		return events
	}
	own := make([]*Event, len(events))
	for i, e := range events {
		own[i] = e.detached()
	}
	return own
}

// deliverValid is Deliver for the sinks of this package.
func deliverValid(ctx context.Context, d deliverer, events []*Event) (settled int, err error) {
	if err := validate(events); err != nil {
		return 0, err
	}
	out, err := d.deliver(ctx, events)
	return out.settled(), err
}

var errNoProgress = errors.New("notifications: sink settled nothing and gave no error")

// deliverAll delivers until the whole block is settled or there is an error. It is
// Write for a sink that has deliver.
func deliverAll(ctx context.Context, d deliverer, events []*Event) (total outcome, err error) {
	for total.settled() < len(events) {
		out, err := d.deliver(ctx, events[total.settled():])
		total.add(out)
		if err != nil {
			return total, err
		}
		if out.settled() == 0 {
			return total, errNoProgress
		}
	}
	return total, nil
}
