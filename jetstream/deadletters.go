package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// DeadLetters keeps what the endpoints of all instances have given up in a stream of its own,
// <stream>-deadletters: the newest 100,000 letters. Each is one line in the program's log. Its
// methods may be called at once from several goroutines.
type DeadLetters struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	prefix string // of the subjects
	logger *logrus.Entry
	taking chan struct{} // has room for who takes
}

var _ notifications.DeadLetterStore = (*DeadLetters)(nil)

const mostLetters = 100_000

// letterSize is how much larger than its event a letter may be.
const letterSize = 8 << 10

func (c *Config) openDeadLetters(ctx context.Context, js jetstream.JetStream) (*DeadLetters, error) {
	name := c.Stream + "-deadletters"
	d := &DeadLetters{js: js, prefix: c.Subject + "-deadletters.", logger: c.Logger, taking: make(chan struct{}, 1)}
	want := jetstream.StreamConfig{
		Name:        name,
		Description: "events that endpoints have given up",
		Subjects:    []string{d.prefix + ">"},
		Discard:     jetstream.DiscardOld,
		MaxMsgs:     mostLetters,
		Storage:     c.Storage,
		Replicas:    c.Replicas,
	}
	var err error
	if d.stream, err = openOrCreate(ctx, js, want); err != nil {
		return nil, err
	}
	has := d.stream.CachedInfo().Config
	return d, compare(name, []setting{
		{"subjects", has.Subjects, want.Subjects},
		{"retention", has.Retention, want.Retention},
		{"storage", has.Storage, want.Storage},
		{"replicas", has.Replicas, want.Replicas},
		{"acknowledgements", !has.NoAck, true},
		{"sealed", has.Sealed, false},
		{"deleting", !has.DenyDelete, true},
	})
}

// Put keeps a letter, which the stream has when it returns nil.
func (d *DeadLetters) Put(ctx context.Context, letter notifications.DeadLetter) error {
	if letter.Event == nil {
		return notifications.ErrNilEvent
	}
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false) // a letter is hardly longer than its event
	if err := encoder.Encode(letter); err != nil {
		d.logger.WithError(err).WithField("endpoint", letter.Endpoint).Error("jetstream: a dead letter is lost: its event is none")
		return nil // it would be so for ever
	}
	e := letter.Event
	m := &nats.Msg{Subject: d.prefix + token(letter.Endpoint), Data: data.Bytes(), Header: nats.Header{
		// A letter that is put again because the answer was lost is there once.
		jetstream.MsgIDHeader: {nameOf(letter.Endpoint + e.ID + strconv.FormatInt(letter.Last.UnixNano(), 10))},
	}}
	if _, err := d.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("jetstream: dead letter: %w", err)
	}
	d.logger.WithFields(logrus.Fields{
		"endpoint": letter.Endpoint, "event.id": e.ID, "action": e.Action, "repository": e.Target.Repository,
		"reason": letter.Reason, "status": letter.Status, "attempts": letter.Attempts, "answer": letter.Answer,
	}).Error("notifications: event is a dead letter")
	return nil
}

// Count returns how many letters there are, of all instances.
func (d *DeadLetters) Count(ctx context.Context) (uint64, error) {
	info, err := d.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("jetstream: dead letters: %w", err)
	}
	return info.State.Msgs, nil
}

// Take takes letters out: see notifications.DeadLetterStore. Two instances that take the same
// at once may both be given it; it has its event's ID both times.
func (d *DeadLetters) Take(ctx context.Context, match func(*notifications.DeadLetter) bool, give func(*notifications.DeadLetter) error) error {
	select {
	case d.taking <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-d.taking }()
	info, err := d.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("jetstream: dead letters: %w", err)
	}
	for next, last := info.State.FirstSeq, info.State.LastSeq; next <= last; next++ { // what is given up again waits
		m, err := d.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(d.prefix+">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("jetstream: dead letters: %w", err)
		}
		if next = m.Sequence; next > last {
			return nil
		}
		var letter notifications.DeadLetter
		if err := json.Unmarshal(m.Data, &letter); err != nil || letter.Event == nil {
			continue // somebody else's
		}
		if !match(&letter) {
			continue
		}
		if err := give(&letter); err != nil {
			return err
		}
		if err := d.takeOut(ctx, m.Sequence); err != nil {
			return fmt.Errorf("jetstream: dead letters: taking one out that was given: %w", err)
		}
	}
	return nil
}

// takeOut takes a letter out, if no other instance has.
func (d *DeadLetters) takeOut(ctx context.Context, sequence uint64) error {
	err := d.stream.DeleteMsg(ctx, sequence)
	if err == nil {
		return nil
	}
	if _, get := d.stream.GetMsg(ctx, sequence); errors.Is(get, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}
