package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/registry-notifications/notifications"
)

// Hub is a hub over a stream. All instances that open the same stream write into it, and share
// the work for each sink. Its methods may be called at once from several goroutines.
//
// Write returns a *FullError, a *SizeError, or what the servers said when its context ended. A
// Write that fails may have stored a piece of its block, from the front, or all of it: written
// again, it is stored once, if that is within Config.Duplicates. For as long, an event that is
// written anew under its old ID is not delivered again, either.
type Hub struct {
	*notifications.Hub
	log     *log
	feed    *feed
	letters *DeadLetters

	closing  atomic.Bool
	closed   chan struct{} // closed when closeErr is final
	closeErr error
}

var (
	_ notifications.Sink = (*Hub)(nil)
	_ notifications.Feed = (*Hub)(nil)
)

// patience is how long the servers may take for what is asked of them once, for each partition.
func (c *Config) patience() time.Duration {
	return 30*time.Second + time.Duration(c.Partitions)*100*time.Millisecond
}

// Open opens a hub over a connection, which stays the caller's: it should reconnect for ever
// (nats.MaxReconnects(-1)), and buffer nothing meanwhile (nats.ReconnectBufSize(-1)). The
// errors are of the configuration (*notifications.ConfigError), a *SettingError for a stream
// that is there with other settings, what the servers say, and what opening the spill does.
func Open(ctx context.Context, nc *nats.Conn, config Config) (*Hub, error) {
	if nc == nil {
		return nil, wrong("connection", "nil: is needed")
	}
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	if _, err := notifications.NewHub(new(log), config.Hub); err != nil { // before there is anything
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, config.patience())
	defer cancel()
	if nc.Opts.ReconnectBufSize > 0 {
		config.Logger.Warn("jetstream: the connection keeps what is sent while it is away, and sends it late: nats.ReconnectBufSize(-1) is better")
	}
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
	if err := config.mayPublish(ctx, nc); err != nil {
		return nil, err
	}
	if l.leases, err = config.openLeases(ctx, js); err != nil {
		return nil, err
	}
	if l.attempts, err = config.openAttempts(ctx, js); err != nil {
		return nil, err
	}
	h := &Hub{log: l, feed: &feed{log: l}, closed: make(chan struct{})}
	h.feed.saw(l.stream.CachedInfo().State.LastSeq)
	if l.config.Hub.DeadLetters == nil {
		if h.letters, err = config.openDeadLetters(ctx, js); err != nil {
			return nil, err
		}
		l.config.Hub.DeadLetters = h.letters
	}
	if h.Hub, err = notifications.NewHub(l, l.config.Hub); err != nil {
		return nil, err
	}
	if err := l.openPublisher(h.feed.saw); err != nil {
		return nil, err
	}
	return h, nil
}

// openPublisher starts to take events.
func (l *log) openPublisher(saw func(position uint64)) error {
	s, err := newSender(l.nc, &l.config, saw)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	var sp *spill
	if l.config.Spill.Dir != "" {
		if sp, err = openSpill(l, s); err != nil {
			s.close()
			return err
		}
	}
	l.publisher = newPublisher(s, sp, l)
	return nil
}

// Metrics returns the counts of each sink: of what this instance has delivered, and what waits
// in the partitions that it has. It asks the servers where it has not read everything.
func (h *Hub) Metrics() map[string]notifications.Metrics {
	h.log.measure()
	return h.Hub.Metrics()
}

// DeadLetters returns where the hub's endpoints put what they give up, or nil if the
// configuration has something else for that. Endpoint.Replay sends it again.
func (h *Hub) DeadLetters() *DeadLetters { return h.letters }

// Stats is what this instance has to do with the stream.
type Stats struct {
	// Last is the last position that it has heard of.
	Last uint64
	// Spilled is how many events are in the spill.
	Spilled uint64
	// Partitions is, for each sink, in how many of them this instance works.
	Partitions map[string]int
}

// Stat returns what is so now.
func (h *Hub) Stat() Stats {
	s := Stats{Last: h.Last(), Partitions: make(map[string]int)}
	if sp := h.log.publisher.spill; sp != nil {
		s.Spilled = sp.pending()
	}
	for _, c := range h.log.all() {
		s.Partitions[c.name] = len(c.all())
	}
	return s
}

// Close stops intake at once, writes what was taken, lets the sinks finish what is in flight
// until ctx ends, gives the partitions back, and leaves the rest to other instances and the
// next start. The connection stays open. A second Close waits for the first, and returns what
// that does.
func (h *Hub) Close(ctx context.Context) error {
	if h.closing.CompareAndSwap(false, true) {
		defer close(h.closed)
		h.closeErr = errors.Join(h.Hub.Close(ctx), h.log.end(ctx))
		return h.closeErr
	}
	select {
	case <-h.closed:
		return h.closeErr
	default:
	}
	select {
	case <-h.closed:
		return h.closeErr
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
