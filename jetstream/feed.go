package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/registry-notifications/notifications"
)

// feed reads the stream from any place. It keeps nothing at the servers: what is read is asked
// for, a batch at a time, of whichever of them is near.
type feed struct {
	log  *log
	last atomic.Uint64 // position
}

// Read returns what comes behind a position.
func (h *Hub) Read(ctx context.Context, after uint64, most int) ([]notifications.Record, error) {
	return h.feed.read(ctx, after, most)
}

// Wait returns when there is something behind a position.
func (h *Hub) Wait(ctx context.Context, after uint64) error { return h.feed.wait(ctx, after) }

// Last returns the last position that was heard of here, by Write, Read and Open.
func (h *Hub) Last() uint64 { return h.feed.last.Load() }

// What one question asks for, at most.
const (
	readSize  = 512
	readBytes = 8 << 20
)

func (f *feed) read(ctx context.Context, after uint64, most int) ([]notifications.Record, error) {
	last, err := f.check(ctx, after)
	if err != nil {
		return nil, err
	}
	for after < last {
		records, to, err := f.batch(ctx, after, most)
		if err != nil || len(records) > 0 || to == after {
			return records, err
		}
		after = to // nothing but others' messages
	}
	return nil, nil
}

// batch reads once, and returns up to which position that was: what it has been given if there
// is nothing.
func (f *feed) batch(ctx context.Context, after uint64, most int) (records []notifications.Record, to uint64, err error) {
	records, to, err = f.near(ctx, after, most)
	if err == nil && to == after { // the server that was asked may be behind
		return f.sure(ctx, after)
	}
	return records, to, err
}

// sure asks the leader of the stream for one message.
func (f *feed) sure(ctx context.Context, after uint64) (records []notifications.Record, to uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.log.config.Timeout)
	defer cancel()
	m, err := f.log.messageBehind(ctx, after, f.log.config.Subject+".>")
	if err != nil {
		return nil, after, fmt.Errorf("jetstream: reading behind position %d: %w", after, err)
	}
	if m == nil {
		return nil, after, nil
	}
	header, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		header = nil // somebody else's
	}
	if e := eventOf(header, m.Data); e != nil {
		records = append(records, notifications.Record{Position: m.Sequence, Time: m.Time, Event: e})
	}
	return records, m.Sequence, nil
}

// stored is a message as the stream has it.
type stored struct {
	Sequence uint64    `json:"seq"`
	Header   []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`
}

// messageBehind asks the stream's leader for the first message on some subjects behind a
// position, and returns nil if there is none.
func (l *log) messageBehind(ctx context.Context, after uint64, subjects string) (*stored, error) {
	question, err := json.Marshal(map[string]any{"seq": after + 1, "next_by_subj": subjects})
	if err != nil {
		return nil, err
	}
	m, err := l.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+l.config.Stream, question)
	if err != nil {
		return nil, err
	}
	var a struct {
		Message *stored             `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &a); {
	case err != nil:
		return nil, err
	case a.Error != nil && a.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case a.Error != nil:
		return nil, a.Error
	}
	return a.Message, nil
}

// near asks whichever server is near. What has come by the time-out is better than nothing.
func (f *feed) near(ctx context.Context, after uint64, most int) (records []notifications.Record, to uint64, err error) {
	to = after
	if most <= 0 || most > readSize {
		most = readSize
	}
	ctx, cancel := context.WithTimeout(ctx, f.log.config.Timeout)
	defer cancel()
	answers, err := f.ask(after+1, most)
	if err != nil {
		return nil, to, fmt.Errorf("jetstream: reading: %w", err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	for previous := uint64(0); ; previous = to {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil && to > after {
			return records, to, nil
		}
		if err != nil {
			return nil, to, fmt.Errorf("jetstream: reading behind position %d: %w", after, err)
		}
		if isStatus(m) {
			switch m.Header.Get("Status") {
			case statusEnd, statusNone: // of the batch; or the server that was asked is behind
				return records, to, nil
			}
			return nil, to, fmt.Errorf("jetstream: reading behind position %d: %s %s", after, m.Header.Get("Status"), m.Header.Get("Description"))
		}
		r, before, err := record(m)
		if err != nil {
			return nil, to, fmt.Errorf("jetstream: reading behind position %d: %w", after, err)
		}
		if before != previous {
			return records, to, nil // an answer was lost
		}
		if to = r.Position; r.Event != nil {
			records = append(records, r)
		}
	}
}

// ask asks for messages from a position on.
func (f *feed) ask(from uint64, most int) (*nats.Subscription, error) {
	question, err := json.Marshal(map[string]any{
		"seq": from, "batch": most, "max_bytes": readBytes, "next_by_subj": f.log.config.Subject + ".>",
	})
	if err != nil {
		return nil, err
	}
	answers, err := f.log.nc.SubscribeSync(f.log.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		answers.SetPendingLimits(-1, -1), // the question has them
		f.log.nc.PublishRequest("$JS.API.DIRECT.GET."+f.log.config.Stream, answers.Subject, question),
	); err != nil {
		return nil, errors.Join(err, answers.Unsubscribe())
	}
	return answers, nil
}

// What an answer without a message says.
const (
	statusEnd  = "204"
	statusNone = "404"
)

// isStatus says whether an answer is none of the stream's messages, which may have what headers
// they like.
func isStatus(m *nats.Msg) bool {
	return m.Header.Get(jetstream.SequenceHeader) == "" && len(m.Data) == 0
}

// record makes one of an answer, without an event if that is none, and returns the position of
// the message that was sent before it.
func record(m *nats.Msg) (r notifications.Record, previous uint64, err error) {
	if r.Position, err = strconv.ParseUint(last(m, jetstream.SequenceHeader), 10, 64); err != nil {
		return r, 0, err
	}
	if previous, err = strconv.ParseUint(last(m, jetstream.LastSequenceHeader), 10, 64); err != nil {
		return r, 0, err
	}
	if r.Time, err = time.Parse(time.RFC3339Nano, last(m, jetstream.TimeStampHeaer)); err != nil {
		return r, 0, err
	}
	r.Event = eventOf(m.Header, m.Data)
	return r, previous, nil
}

// eventOf returns nil for somebody else's data.
func eventOf(header nats.Header, data []byte) *notifications.Event {
	e := new(notifications.Event)
	if !isEvent(header, data) || e.UnmarshalJSON(data) != nil {
		return nil
	}
	return e
}

// last returns a header as the server has set it: behind those of the message's own.
func last(m *nats.Msg, header string) string {
	values := m.Header.Values(header)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// check returns a *notifications.PositionError if there is no such place, and otherwise what
// is last.
func (f *feed) check(ctx context.Context, after uint64) (last uint64, err error) {
	if ctx.Err() == nil && f.log.isShut() {
		return 0, notifications.ErrSinkClosed
	}
	ctx, cancel := context.WithTimeout(ctx, f.log.config.Timeout)
	defer cancel()
	info, err := f.log.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("jetstream: asking for the state of the stream: %w", err)
	}
	first, last := max(1, info.State.FirstSeq), info.State.LastSeq
	f.saw(last)
	if after+1 < first || after > last {
		return 0, &notifications.PositionError{Position: after, First: first, Last: last}
	}
	return last, nil
}

func (f *feed) saw(last uint64) {
	for {
		old := f.last.Load()
		if old >= last || f.last.CompareAndSwap(old, last) {
			return
		}
	}
}

// wait returns when there is an event.
func (f *feed) wait(ctx context.Context, after uint64) error {
	last, err := f.check(ctx, after)
	if err != nil {
		return err
	}
	for {
		for most := 1; after < last; most = readSize { // past others' messages
			records, to, err := f.batch(ctx, after, most)
			if err != nil || len(records) > 0 {
				return err
			}
			if to == after {
				break // the last ones were deleted
			}
			after = to
		}
		if last, err = f.next(ctx, after); err != nil {
			return err
		}
	}
}

// next waits for the next message, asks for nothing but its header, and returns its position.
func (f *feed) next(ctx context.Context, after uint64) (uint64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-f.log.shutting:
			cancel(notifications.ErrSinkClosed)
		case <-ctx.Done():
		}
	}()
	consumer, err := f.log.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, HeadersOnly: true, InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return 0, f.waited(ctx, err)
	}
	defer f.drop(consumer)
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return 0, f.waited(ctx, err)
	}
	defer messages.Stop()
	m, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return 0, f.waited(ctx, err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return 0, f.waited(ctx, err)
	}
	return meta.Sequence.Stream, nil
}

// drop has the servers forget a consumer, which they would do a while later by themselves.
func (f *feed) drop(c jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.Background(), f.log.config.Timeout)
	defer cancel()
	if info := c.CachedInfo(); info != nil {
		_ = f.log.stream.DeleteConsumer(ctx, info.Name)
	}
}

func (f *feed) waited(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), notifications.ErrSinkClosed):
		return notifications.ErrSinkClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("jetstream: waiting: %w", err)
}
