package main

import (
	"context"
	"errors"

	"github.com/registry-notifications/notifications"
)

// Who the peers are: the client of the same servers, without a hub.
const (
	bareAsync = "PublishMsgAsync"
	bareSync  = "PublishMsg"
)

func streamPublish() experiment {
	return experiment{
		rows: []row{
			{name: "stream/publish", unit: eventsPerSecond, peer: bareAsync, targets: []target{atLeast(ratio, 0.8)}},
			{name: "stream/publish/ones", unit: eventsPerSecond, peer: bareAsync},
			{name: "stream/publish/block", unit: eventsPerSecond, peer: bareAsync},
			{name: "stream/publish/single", unit: eventsPerSecond, peer: bareSync},
		},
		round: func(s scale) ([]sample, error) { return publishRound(s, 1, 100_000) },
	}
}

func streamPublish3() experiment {
	return experiment{
		rows: []row{
			{name: "stream/publish-3", unit: eventsPerSecond, peer: bareAsync, targets: []target{atLeast(ratio, 0.8)}},
			{name: "stream/publish-3/ones", unit: eventsPerSecond, peer: bareAsync},
			{name: "stream/publish-3/block", unit: eventsPerSecond, peer: bareAsync},
			{name: "stream/publish-3/single", unit: eventsPerSecond, peer: bareSync},
		},
		round: func(s scale) ([]sample, error) { return publishRound(s, 3, 50_000) },
	}
}

// publishRound has all of them write to the same servers, in turn, each into a stream of its
// own.
func publishRound(s scale, servers, events int) (samples []sample, err error) {
	c, err := startCluster(servers)
	if err != nil {
		return nil, err
	}
	defer c.Stop()
	rates, err := compete(s, []contender{
		{c.startOurs(gang), events, 8},
		{c.startOurs(1), events, gang},
		{c.startOurs(gang), events, 1},
		{c.startOurs(1), events / 40, 1},
		{c.startBare(true), events, 1},
		{c.startBare(false), events / 40, 1},
	})
	if err != nil {
		return nil, err
	}
	async, sync := rates[4], rates[5]
	return []sample{
		{ours: rates[0], peer: async},
		{ours: rates[1], peer: async},
		{ours: rates[2], peer: async},
		{ours: rates[3], peer: sync},
	}, nil
}

// streamWriter is a hub over a stream that has nobody to deliver to. Its events come in blocks.
type streamWriter struct {
	*instance
	stream   *bare // to see what has come of it
	maker    *maker
	together int // events in a block: a divisor of how many there are
	written  int
}

var _ writer = (*streamWriter)(nil)

// startOurs starts a writer with so many events in a block.
func (c *cluster) startOurs(together int) func() (writer, error) {
	return func() (writer, error) {
		config := c.config(8)
		hub, err := c.open(config)
		if err != nil {
			return nil, err
		}
		stream, err := c.bare(config)
		if err != nil {
			return nil, errors.Join(err, hub.close())
		}
		return &streamWriter{instance: hub, stream: stream, maker: newMaker(), together: together}, nil
	}
}

// prepare writes with each last event of a block the whole of it.
func (w *streamWriter) prepare(n int) func(int) error {
	events := make([]*notifications.Event, n)
	for i := range events {
		events[i] = w.maker.ours()
	}
	w.written += n
	return func(i int) error {
		if (i+1)%w.together != 0 {
			return nil
		}
		block := events[i+1-w.together : i+1]
		err := w.Write(context.Background(), block...)
		clear(block)
		return err
	}
}

func (w *streamWriter) stop() error {
	return errors.Join(w.close(), w.stream.holds(w.written), w.stream.drop(), w.stream.close())
}
