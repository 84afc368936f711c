package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// batcher sends messages in batches, of which the stream stores a piece from the front, in
// order, whatever happens on the way: what a server calls fast batch publishing (2.14, with
// allow_batched, gaps "fail"; ADR-50). A message whose ID is in the stream counts as stored.
// So what is sent again behind a failure never stands in front of what it came behind, as it
// would with messages that are sent on their own. It is used by one goroutine.
type batcher struct {
	nc      *nats.Conn
	inbox   string
	answers *nats.Subscription
	window  int
	last    uint64 // position that the stream was heard to have
}

func newBatcher(nc *nats.Conn, window int) (*batcher, error) {
	b := &batcher{nc: nc, inbox: nc.NewInbox(), window: window}
	var err error
	b.answers, err = nc.SubscribeSync(b.inbox + ".>")
	return b, err
}

func (b *batcher) close() { _ = b.answers.Unsubscribe() } // a connection that is gone has none

// What a message of a batch is.
const (
	opStart  = 0
	opAppend = 1
	opCommit = 2
)

// answer is what a server says of a batch: how far it is, or how it has ended.
type answer struct {
	Type  string              `json:"type"` // ack, gap, err, or none: the end
	Seq   int                 `json:"seq"`  // in the batch, of ack and err; in the stream, of the end
	Count int                 `json:"count"`
	Error *jetstream.APIError `json:"error"`
}

// batch is one that is under way.
type batch struct {
	*batcher
	prefix   string        // of the subjects of its answers
	timeout  time.Duration // of each
	progress func(stored int)
	stored   int // from the front
	ended    bool
	err      error
}

// send sends messages, and returns how many of them, from the front, are stored. The error
// says why the rest is not, or that nobody knows. It ends at the latest when no answer has
// come for the timeout.
func (b *batcher) send(ctx context.Context, messages []*nats.Msg, timeout time.Duration, progress func(stored int)) (stored int, err error) {
	// The servers say how far they are each time that an eighth of the window is stored, and
	// who waits for that writes on while the rest is.
	flow := max(1, b.window/8)
	now := &batch{batcher: b, timeout: timeout, progress: progress, prefix: fmt.Sprintf("%s.%s.%d.fail.", b.inbox, newID(), flow)}
	for i, m := range messages {
		if ctx.Err() != nil {
			return now.stored, context.Cause(ctx)
		}
		op := opAppend
		switch {
		case i == len(messages)-1:
			op = opCommit
		case i == 0:
			op = opStart
		}
		reply := now.prefix + strconv.Itoa(i+1) + "." + strconv.Itoa(op) + ".$FI"
		if err := b.nc.PublishMsg(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data, Reply: reply}); err != nil {
			return now.stored, err
		}
		for now.goesOn() && op != opCommit && (i+1-now.stored >= b.window || b.hasAnswer()) {
			if err := now.receive(ctx); err != nil {
				return now.stored, err
			}
		}
		if !now.goesOn() {
			break
		}
	}
	for !now.ended {
		if err := now.receive(ctx); err != nil {
			return now.stored, errors.Join(now.err, err)
		}
	}
	if now.err == nil && now.stored < len(messages) {
		now.err = errors.New("the server has ended the batch early")
	}
	return min(now.stored, len(messages)), now.err
}

func (b *batcher) hasAnswer() bool {
	n, _, err := b.answers.Pending()
	return err == nil && n > 0
}

func (b *batch) goesOn() bool { return !b.ended && b.err == nil }

// receive takes one answer.
func (b *batch) receive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	m, err := b.answers.NextMsgWithContext(ctx)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	if !strings.HasPrefix(m.Subject, b.prefix) {
		return nil // a late one, to a batch before
	}
	if len(m.Data) == 0 {
		return fmt.Errorf("no answer: %w", nats.ErrNoResponders)
	}
	var a answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	switch a.Type {
	case "ack":
		b.stored = max(b.stored, a.Seq)
		b.progress(b.stored)
	case "gap":
		b.err = errors.New("the server misses a message")
	case "err":
		b.err = orUnknown(a.Error)
	default:
		b.ended = true
		if a.Error != nil {
			b.err = a.Error
			return nil
		}
		b.stored = max(b.stored, a.Count)
		b.last = uint64(a.Seq)
	}
	return nil
}

func orUnknown(e *jetstream.APIError) error {
	if e == nil {
		return errors.New("the server gives no reason")
	}
	return e
}
