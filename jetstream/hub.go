package jetstream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/registry-notifications/notifications"
)

// Hub is a hub over a stream. All instances that open the same stream write into it, and share
// the work for each sink. Its methods may be called at once from several goroutines.
type Hub struct {
	*notifications.Hub
	log  *log
	feed *feed
}

var (
	_ notifications.Sink = (*Hub)(nil)
	_ notifications.Feed = (*Hub)(nil)
)

// patience is how long the servers may take for what is asked of them once.
const patience = 30 * time.Second

// Open opens a hub over a connection, which stays the caller's: it should reconnect for ever
// (nats.MaxReconnects(-1)), and buffer nothing meanwhile (nats.ReconnectBufSize(-1)). The
// errors are of the configuration (*notifications.ConfigError), a *SettingError for a stream
// that is there with other settings, and what the servers say.
func Open(ctx context.Context, nc *nats.Conn, config Config) (*Hub, error) {
	if nc == nil {
		return nil, wrong("connection", "nil: is needed")
	}
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	if err := reach(ctx, nc, js); err != nil {
		return nil, err
	}
	l := &log{config: config, nc: nc, js: js, shutting: make(chan struct{})}
	if l.stream, err = config.openStream(ctx, js); err != nil {
		return nil, err
	}
	if l.leases, err = config.openLeases(ctx, js); err != nil {
		return nil, err
	}
	h := &Hub{log: l, feed: &feed{log: l}}
	h.feed.saw(l.stream.CachedInfo().State.LastSeq)
	if h.Hub, err = notifications.NewHub(l, config.Hub); err != nil {
		return nil, err
	}
	if l.publisher, err = newPublisher(nc, &l.config, l.stream.CachedInfo().Config.MaxMsgSize); err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	return h, nil
}

// Metrics returns the counts of each sink: of what this instance has delivered, and what waits
// in the partitions that it has. It asks the servers where it has not read everything.
func (h *Hub) Metrics() map[string]notifications.Metrics {
	h.log.measure()
	return h.Hub.Metrics()
}

// Close stops intake at once, lets the sinks finish what is in flight until ctx ends, gives
// the partitions back, and leaves the rest to other instances and the next start. The
// connection stays open.
func (h *Hub) Close(ctx context.Context) error {
	err := h.Hub.Close(ctx)
	h.log.wait(ctx)
	return err
}
