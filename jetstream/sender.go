package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// sender puts messages into the stream, in order, one caller at a time. What it says is stored
// is so, whatever became of those before.
type sender struct {
	nc       *nats.Conn
	replicas int
	payload  atomic.Int64 // bytes that the servers take; not above zero: not known
	saw      func(position uint64)
	turn     chan struct{} // has room for who sends

	// These belong to who sends.
	batch    *batcher
	doubts   doubts
	unproved int // how often in a row a server did not know what another had taken
}

func newSender(nc *nats.Conn, config *Config, saw func(uint64)) (*sender, error) {
	b, err := newBatcher(nc, config.Window)
	s := &sender{nc: nc, replicas: config.Replicas, saw: saw, turn: make(chan struct{}, 1), batch: b, doubts: doubts{any: true}} // by the last run
	s.payload.Store(nc.MaxPayload())
	return s, err
}

func (s *sender) close() { s.batch.close() }

// sent is what has become of messages.
type sent struct {
	stored int
	err    error
}

// send returns how many messages, from the front, are stored, and tells it meanwhile. It waits so
// long for each answer, and no longer than ctx. The client may: while it connects, and while the network takes
// nothing, it keeps whoever calls it. Who comes next then waits for that.
func (s *sender) send(ctx context.Context, messages []*nats.Msg, timeout time.Duration, progress func(stored int)) (stored int, err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
	result := make(chan sent, 1)
	go func() {
		defer func() { <-s.turn }()
		var r sent
		r.stored, r.err = s.sendNow(ctx, messages, timeout, progress)
		result <- r
	}()
	select {
	case r := <-result:
		return r.stored, r.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case r := <-result:
		return r.stored, r.err
	case <-grace.C:
		return 0, errStuck
	}
}

// stopGrace is how long what was cancelled may take to say so.
const stopGrace = 100 * time.Millisecond

func (s *sender) sendNow(ctx context.Context, messages []*nats.Msg, timeout time.Duration, progress func(stored int)) (stored int, err error) {
	switch status := s.nc.Status(); status {
	case nats.CONNECTED:
	case nats.CLOSED:
		return 0, nats.ErrConnectionClosed
	default:
		return 0, fmt.Errorf("connection: %v", status) // or the client would keep it until it is back
	}
	s.payload.Store(s.nc.MaxPayload())
	if s.replicas > 1 && s.doubts.has(messages) {
		progress = func(int) {} // they have to be proved first
	}
	stored, err = s.batch.send(ctx, messages, timeout, progress)
	err = withReason(s.nc, err)
	s.saw(s.batch.last)
	if s.replicas == 1 {
		return stored, err
	}
	if i := s.doubts.last(messages[:stored]); i >= 0 {
		if proof := s.prove(ctx, messages[i], timeout); proof != nil {
			s.doubts.add(messages)
			return 0, errors.Join(err, proof)
		}
	}
	s.doubts.remove(messages[:stored])
	if err != nil {
		s.doubts.add(messages[stored:])
	}
	return stored, err
}

// mostUnproved is how often it asks for a proof: a server that compares in another order than
// those of today would never give one.
const mostUnproved = 5

// prove asks whether a message is stored that was sent more than once. A server counts one as
// stored whose first copy is still on its way to the others, and is lost if it dies just then.
// The question is the message's ID, with a condition that does not hold: so it is never stored,
// and a server that has it says that before it looks at the condition. What is in front of it
// is stored if it is.
func (s *sender) prove(ctx context.Context, m *nats.Msg, timeout time.Duration) error {
	id := m.Header.Get(jetstream.MsgIDHeader)
	if id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	question := neverStored(m.Subject, nats.Header{jetstream.MsgIDHeader: {id}})
	for n := 0; ; n++ {
		m, err := s.nc.RequestMsgWithContext(ctx, question)
		if err != nil {
			return fmt.Errorf("proof of what is stored: %w", err)
		}
		var a struct {
			Sequence  uint64              `json:"seq"`
			Duplicate bool                `json:"duplicate"`
			Error     *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(m.Data, &a); err != nil {
			return fmt.Errorf("proof of what is stored: %w", err)
		}
		switch {
		case a.Duplicate && a.Sequence > 0:
			s.unproved = 0
			return nil
		case a.Error != nil && a.Error.ErrorCode == codeInProcess:
			sleep(ctx, delay(n))
			continue
		}
		if s.unproved++; s.unproved >= mostUnproved {
			s.unproved = 0
			return nil
		}
		return fmt.Errorf("proof of what is stored: none: %w", orUnknown(a.Error))
	}
}

// What servers refuse messages for.
const (
	codeStore     = 10077 // with the reason
	codeNoStorage = 10023 // left on the servers
	codeInProcess = 10158 // one of the same ID
	codeSize      = 10054 // of a message
	codeHeaders   = 10097 // too large
)

// isFull says whether there is no room for a message.
func isFull(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode == codeNoStorage || api.ErrorCode == codeStore && strings.Contains(api.Description, "maximum")
}

// isRefused says whether it is a message that is wrong, and no time will mend it.
func isRefused(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == codeSize || api.ErrorCode == codeHeaders
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject)
}
