package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	natsjetstream "github.com/nats-io/nats.go/jetstream"

	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/jetstream/clustertest"
)

// streamWindow is how many events are under way to a stream at once, whoever writes them:
// what jetstream.Config has for its default.
const streamWindow = 512

// cluster is JetStream servers in this process, on loopback, with their files where temporary
// files are.
type cluster struct {
	*clustertest.Cluster
	replicas int
	streams  int // that were made
}

// startCluster starts so many servers. Each has all that is written.
func startCluster(servers int) (*cluster, error) {
	c, err := clustertest.Start(servers, nil)
	return &cluster{Cluster: c, replicas: servers}, err
}

// config is that of a stream that nobody has had yet.
func (c *cluster) config(partitions int) jetstream.Config {
	c.streams++
	return jetstream.Config{
		Stream: fmt.Sprint("bench-", c.streams), Replicas: c.replicas,
		Partitions: partitions, Window: streamWindow,
	}
}

// instance is a hub over a stream, with a connection of its own.
type instance struct {
	*jetstream.Hub
	nc *nats.Conn
}

func (c *cluster) open(config jetstream.Config) (*instance, error) {
	nc, err := clustertest.Connect(c.URL())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h, err := jetstream.Open(ctx, nc, config)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &instance{Hub: h, nc: nc}, nil
}

func (i *instance) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	defer i.nc.Close()
	return i.Close(ctx)
}

// bare is a connection to the same stream without a hub.
type bare struct {
	natsjetstream.JetStream
	nc     *nats.Conn
	stream natsjetstream.Stream
	config jetstream.Config
}

// bare returns a connection to the stream that a hub with this configuration has, made as that
// makes it if there is none.
func (c *cluster) bare(config jetstream.Config, options ...natsjetstream.JetStreamOpt) (*bare, error) {
	hub, err := c.open(config)
	if err != nil {
		return nil, err
	}
	if err := hub.close(); err != nil {
		return nil, err
	}
	nc, err := clustertest.Connect(c.URL())
	if err != nil {
		return nil, err
	}
	b := &bare{nc: nc, config: config}
	if b.JetStream, err = natsjetstream.New(nc, options...); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		b.stream, err = b.Stream(ctx, config.Stream)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return b, nil
}

func (b *bare) close() error {
	b.nc.Close()
	return nil
}

// holds says whether the stream has as many messages as were written: no more, and no less.
func (b *bare) holds(n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	info, err := b.stream.Info(ctx)
	if err != nil {
		return err
	}
	if info.State.Msgs != uint64(n) {
		return fmt.Errorf("stream: %d messages: %d were written", info.State.Msgs, n)
	}
	return nil
}

// drop removes the stream with all that it has.
func (b *bare) drop() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(b.DeleteStream(ctx, b.config.Stream), b.DeleteKeyValue(ctx, b.config.Stream+"-leases"))
}
