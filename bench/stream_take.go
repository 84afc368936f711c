package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	natsjetstream "github.com/nats-io/nats.go/jetstream"
)

// acking is how a bare consumer acknowledges what it has taken.
type acking int

const (
	ackEach acking = iota // each message
	ackAll                // the last of 1024, which is one for all in front of it
)

// takeBare takes the whole backlog with durable consumers, of all of it or each of some
// partitions, and returns how long that takes until the servers know.
func (b *streamBacklog) takeBare(consumers int, how acking) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errPatience)
	defer cancel()
	var all []natsjetstream.Consumer
	for i := range consumers {
		c, err := b.consumer(ctx, i, consumers, how)
		if err != nil {
			return 0, err
		}
		all = append(all, c)
	}
	errs, took := make(chan error, consumers), time.Duration(0)
	start := time.Now()
	for _, c := range all {
		go func() { errs <- take(ctx, c, how) }()
	}
	var err error
	for range consumers {
		err = errors.Join(err, <-errs)
	}
	err = errors.Join(err, b.nc.Flush())
	took = time.Since(start)
	for _, c := range all {
		err = errors.Join(err, b.isThrough(c), b.stream.DeleteConsumer(ctx, c.CachedInfo().Name))
	}
	return took, err
}

func (b *streamBacklog) consumer(ctx context.Context, n, of int, how acking) (natsjetstream.Consumer, error) {
	config := natsjetstream.ConsumerConfig{
		Durable:   fmt.Sprint("bare-", n),
		AckPolicy: natsjetstream.AckExplicitPolicy, AckWait: patience, MaxAckPending: 8 * batch, MaxDeliver: -1,
	}
	if how == ackAll {
		config.AckPolicy = natsjetstream.AckAllPolicy
	}
	if of > 1 {
		config.FilterSubject = fmt.Sprintf("%s.%d.>", b.config.Stream, n)
	}
	return b.stream.CreateConsumer(ctx, config)
}

// take takes what a consumer has.
func take(ctx context.Context, c natsjetstream.Consumer, how acking) error {
	it, err := c.Messages(
		natsjetstream.PullMaxMessages(2*batch), natsjetstream.PullHeartbeat(time.Second),
		natsjetstream.WithMessagesErrOnMissingHeartbeat(false), // it asks again
	)
	if err != nil {
		return err
	}
	defer it.Stop()
	for left := c.CachedInfo().NumPending; left > 0; left-- {
		m, err := it.Next(natsjetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if how == ackAll && left%batch != 1 {
			continue
		}
		if err := m.Ack(); err != nil {
			return err
		}
	}
	return nil
}

// isThrough waits until a consumer knows that all was acknowledged.
func (b *streamBacklog) isThrough(c natsjetstream.Consumer) error {
	return until(func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		info, err := c.Info(ctx)
		return err == nil && info.NumPending == 0 && info.NumAckPending == 0
	})
}
