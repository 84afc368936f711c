package jetstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	stream "github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
)

// deadLetters keeps what endpoints give up in a stream of its own, beside that of the events:
// the disk of one server of many is no place where it would be looked for. Each message is a
// letter as JSON. What the stream keeps of them is the operators' business, who may set limits.
type deadLetters struct {
	name string // of the stream, and its subject
	log  *logrus.Entry

	opened chan struct{} // closed when the rest is there
	nc     *nats.Conn
	js     stream.JetStream
}

var _ notifications.DeadLetterSink = (*deadLetters)(nil)

func newDeadLetters(config *jetstream.Config) *deadLetters {
	return &deadLetters{name: config.Stream + "-deadletters", log: config.Logger, opened: make(chan struct{})}
}

// open makes the stream, if there is none.
func (d *deadLetters) open(ctx context.Context, nc *nats.Conn, config *jetstream.Config) (err error) {
	d.nc = nc
	if d.js, err = stream.New(nc); err != nil {
		return err
	}
	s, err := d.js.Stream(ctx, d.name)
	if errors.Is(err, stream.ErrStreamNotFound) {
		s, err = d.js.CreateStream(ctx, stream.StreamConfig{
			Name: d.name, Description: "events of container registries that could not be delivered",
			Subjects: []string{d.name}, Discard: stream.DiscardNew,
			Storage: config.Storage, Replicas: max(1, config.Replicas),
		})
		if errors.Is(err, stream.ErrStreamNameAlreadyInUse) { // another instance was first
			s, err = d.js.Stream(ctx, d.name)
		}
	}
	if err != nil {
		return fmt.Errorf("stream %q: %w", d.name, err)
	}
	if has := s.CachedInfo().Config; !slices.Equal(has.Subjects, []string{d.name}) || has.NoAck || has.Sealed {
		return wrong("stream", "%q is there, and is no stream of dead letters: it has to have the subject %q alone, and acknowledge: allowed is any other name", d.name, d.name)
	}
	close(d.opened)
	return nil
}

// Put returns when the stream has the letter. Before the stream is open it waits: a hub may have
// letters from its last run while it is being opened.
func (d *deadLetters) Put(ctx context.Context, letter notifications.DeadLetter) error {
	if letter.Event == nil {
		return notifications.ErrNilEvent
	}
	select {
	case <-d.opened:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	m, err := d.message(&letter, d.nc.MaxPayload())
	if err != nil {
		return err
	}
	if _, err := d.js.PublishMsg(ctx, m, stream.WithExpectStream(d.name)); err != nil {
		return fmt.Errorf("jetstream: dead letters: stream %q: %w", d.name, err)
	}
	e := letter.Event
	d.log.WithFields(logrus.Fields{
		"endpoint": letter.Endpoint, "event.id": e.ID, "action": e.Action, "repository": e.Target.Repository,
		"http.request.id": e.Request.ID, "reason": letter.Reason, "status": letter.Status, "attempts": letter.Attempts, "answer": letter.Answer,
	}).Error("notifications: event is a dead letter")
	return nil
}

// message returns a letter as the stream has it. It is made small where it is larger than the
// servers take: its event was just as large as that.
func (d *deadLetters) message(letter *notifications.DeadLetter, limit int64) (*nats.Msg, error) {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false) // a letter is hardly longer than its event
	if err := encoder.Encode(letter); err != nil {
		return nil, err
	}
	// A letter is put again where nobody knows whether it was taken. It is the same then;
	// the event that is given up a second time has another.
	id := sha256.Sum256(data.Bytes())
	m := &nats.Msg{Subject: d.name, Data: data.Bytes(), Header: nats.Header{stream.MsgIDHeader: {hex.EncodeToString(id[:16])}}}
	if int64(m.Size()) > limit {
		m.Header.Set("Content-Encoding", "gzip")
		m.Data = compressed(m.Data)
	}
	return m, nil
}

func compressed(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}
