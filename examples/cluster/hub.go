package main

import (
	"context"
	"errors"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/jetstream/clustertest"
)

const (
	servers    = 3
	stream     = "events"
	partitions = 4
)

// instance is what each machine would have: a connection of its own, and on it a hub.
// Registries only write to theirs, workers only deliver from theirs.
type instance struct {
	*link
	name string
	hub  *jetstream.Hub
}

// join opens a hub on the stream that all instances share. Who writes to it has a directory for
// what the cluster does not take; empty means none.
func join(ctx context.Context, cluster *clustertest.Cluster, name, spill string, log *logrus.Entry) (*instance, error) {
	l, err := newLink(cluster, name)
	if err != nil {
		return nil, err
	}
	hub, err := jetstream.Open(ctx, l.conn, jetstream.Config{
		Stream: stream, Instance: name, Replicas: servers, Partitions: partitions,
		MaxAge: time.Hour, Lease: 10 * time.Second, Spill: jetstream.Spill{Dir: spill},
		Logger: log.WithField("instance", name),
	})
	if err != nil {
		l.close()
		return nil, err
	}
	return &instance{link: l, name: name, hub: hub}, nil
}

// leave ends it as a process that was asked to end.
func (i *instance) leave(ctx context.Context) error {
	defer i.close()
	return i.hub.Close(ctx)
}

var errKilled = errors.New("killed")

// kill ends it as a process that was killed: nobody hears from it any more.
func (i *instance) kill() {
	i.cut(true)
	i.close()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errKilled)
	_ = i.hub.Close(ctx) // says what it could not finish
}
