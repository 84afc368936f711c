package jetstream

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/registry-notifications/notifications"
)

// log is the stream as the hub engine sees it.
type log struct {
	config    Config
	nc        *nats.Conn
	js        jetstream.JetStream
	stream    jetstream.Stream
	leases    bucket
	attempts  bucket
	publisher *publisher

	shut     sync.Once
	shutting chan struct{}

	mu      sync.Mutex // guards cursors
	cursors []*cursor
}

var _ notifications.Log = (*log)(nil)

func (l *log) Append(ctx context.Context, events ...*notifications.Event) error {
	return l.publisher.write(ctx, events)
}

// Cursor returns a place in the stream: where the sink's consumers are, or the end, for which
// they are made. They have names of their own, and stay until Forget.
func (l *log) Cursor(name string) (notifications.Cursor, error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.config.patience())
	defer cancel()
	errs := make(chan error, l.config.Partitions)
	slots := make(chan struct{}, 8) // each is an election
	for n := range l.config.Partitions {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs <- l.makeConsumer(ctx, name, n)
		}()
	}
	var all []error
	for range l.config.Partitions {
		all = append(all, <-errs)
	}
	if err := errors.Join(all...); err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	if old := l.drop(name); old != nil {
		old.stop(ctx) // its sink has left by itself
	}
	c := newCursor(l, name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isShut() {
		return nil, notifications.ErrSinkClosed
	}
	c.steward = newSteward(c)
	l.cursors = append(l.cursors, c)
	return c, nil
}

// makeConsumer makes the consumer of one partition, if there is none.
func (l *log) makeConsumer(ctx context.Context, sink string, partition int) error {
	name := l.consumerName(sink, partition)
	err := ask(ctx, func(ctx context.Context) error {
		_, err := l.stream.Consumer(ctx, name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			_, err = l.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
				Durable:       name,
				Description:   fmt.Sprintf("partition %d of sink %.200q", partition, sink),
				FilterSubject: l.config.partitionSubject(partition),
				DeliverPolicy: jetstream.DeliverNewPolicy,
				AckPolicy:     jetstream.AckAllPolicy,
				AckWait:       l.config.ackWait(),
				MaxAckPending: 4 * (fetchSize + ahead),
				MaxDeliver:    -1,
			})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("consumer %q: %w", name, err)
	}
	return nil
}

// Forget drops a sink's consumers, and with them its place, for all instances.
func (l *log) Forget(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), l.config.patience())
	defer cancel()
	if c := l.drop(name); c != nil {
		c.forget()
		c.stop(ctx)
	}
	var errs []error
	for n := range l.config.Partitions {
		err := ask(ctx, func(ctx context.Context) error { return l.stream.DeleteConsumer(ctx, l.consumerName(name, n)) })
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			errs = append(errs, fmt.Errorf("jetstream: forgetting a sink: %w", err))
		}
	}
	if err := ask(ctx, func(ctx context.Context) error { return l.attempts.forget(ctx, l.partitionsKey(name)) }); err != nil {
		errs = append(errs, fmt.Errorf("jetstream: forgetting attempts: %w", err))
	}
	return errors.Join(errs...)
}

// drop takes a cursor out.
func (l *log) drop(name string) *cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range l.cursors {
		if c.name == name {
			l.cursors = append(l.cursors[:i:i], l.cursors[i+1:]...)
			return c
		}
	}
	return nil
}

func (l *log) Durable() bool { return true }

// Close takes nothing any more. What is not settled is for the next start, or for others.
func (l *log) Close() error {
	l.shut.Do(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.shutting)
		l.publisher.shut()
	})
	return nil
}

// measure asks how much waits where not everything is read.
func (l *log) measure() {
	ctx, cancel := context.WithTimeout(context.Background(), l.config.Timeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range l.all() {
		for _, p := range c.all() {
			wg.Go(func() { p.measure(ctx) })
		}
	}
	wg.Wait()
}

// all returns the cursors.
func (l *log) all() []*cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.cursors)
}

// created returns when the stream was made.
func (l *log) created() time.Time { return l.stream.CachedInfo().Created }

func (l *log) isShut() bool {
	select {
	case <-l.shutting:
		return true
	default:
		return false
	}
}

// end returns when everything is given back, and everything written. When ctx ends, it waits
// for no writer any more, and what is not given back ends by itself.
func (l *log) end(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, c := range l.all() {
		wg.Go(func() { c.stop(ctx) })
	}
	err := l.publisher.close(ctx)
	wg.Wait()
	return err
}

// nameOf returns a word for a sink's name, of which no two have the same.
func nameOf(sink string) string {
	sum := sha256.Sum256([]byte(sink))
	return fmt.Sprintf("%.60s-%x", token(sink), sum[:16])
}

func (l *log) consumerName(sink string, partition int) string {
	return fmt.Sprintf("%s%s-%d", consumerPrefix, nameOf(sink), partition)
}

const consumerPrefix = "sink-"

// partitionKey is what a partition of a sink is called in buckets.
func (l *log) partitionKey(sink string, partition int) string {
	return fmt.Sprintf("sink.%s.%d", nameOf(sink), partition)
}

func (l *log) partitionsKey(sink string) string { return fmt.Sprintf("sink.%s.*", nameOf(sink)) }

// memberKey is under which an instance says that it has a sink.
func (l *log) memberKey(sink, instance string) string {
	return fmt.Sprintf("member.%s.%s", nameOf(sink), nameOf(instance))
}

func (l *log) membersKey(sink string) string { return fmt.Sprintf("member.%s.*", nameOf(sink)) }
