package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	natsjetstream "github.com/nats-io/nats.go/jetstream"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
)

// publisher publishes messages that are as a hub's, and are there before the clock starts.
type publisher struct {
	*bare
	maker   *maker
	async   bool
	failed  atomic.Pointer[error] // the last one
	written int
}

var _ writer = (*publisher)(nil)

// startBare starts a publisher that waits for each answer, or for none until there are as many
// on their way as a hub would have.
func (c *cluster) startBare(async bool) func() (writer, error) {
	return func() (writer, error) { return c.newPublisher(c.config(8), async) }
}

func (c *cluster) newPublisher(config jetstream.Config, async bool) (*publisher, error) {
	p := &publisher{maker: newMaker(), async: async}
	var err error
	p.bare, err = c.bare(config,
		natsjetstream.WithPublishAsyncMaxPending(streamWindow),
		natsjetstream.WithPublishAsyncErrHandler(func(_ natsjetstream.JetStream, _ *nats.Msg, err error) { p.failed.Store(&err) }),
	)
	return p, err
}

func (p *publisher) prepare(n int) func(int) error {
	messages := make([]*nats.Msg, n)
	var err error
	for i := range messages {
		if messages[i], err = p.message(p.maker.ours()); err != nil {
			return func(int) error { return err }
		}
	}
	p.written += n
	if !p.async {
		return func(i int) error {
			_, err := p.PublishMsg(context.Background(), messages[i])
			return err
		}
	}
	return func(i int) error {
		m := messages[i]
		messages[i] = nil
		if _, err := p.PublishMsgAsync(m, natsjetstream.WithRetryAttempts(0), natsjetstream.WithStallWait(patience)); err != nil {
			return err
		}
		if i < n-1 {
			return nil
		}
		<-p.PublishAsyncComplete()
		if err := p.failed.Load(); err != nil {
			return *err
		}
		return nil
	}
}

// message returns an event as a hub puts it into the stream.
func (p *publisher) message(e *notifications.Event) (*nats.Msg, error) {
	data, err := e.AppendJSON(nil)
	if err != nil {
		return nil, err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.Target.Repository))
	return &nats.Msg{
		Subject: fmt.Sprintf("%s.%d.%s", p.config.Stream, h.Sum32()%uint32(p.config.Partitions), e.Action),
		Header:  nats.Header{"Repository": {e.Target.Repository}, natsjetstream.MsgIDHeader: {e.ID}},
		Data:    data,
	}, nil
}

func (p *publisher) stop() error {
	return errors.Join(p.holds(p.written), p.drop(), p.close())
}
