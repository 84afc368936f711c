package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// trim makes room in a stream that is full: it takes out the oldest that all sinks have had, up
// to a quarter of what there is, so that feeds find the rest. It returns how many events that
// was. Several instances may do so at once.
func (l *log) trim(ctx context.Context) (events uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := l.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking for the state of the stream: %w", err)
	}
	state := info.State
	if state.Msgs == 0 {
		return 0, nil
	}
	to := state.FirstSeq + (state.LastSeq-state.FirstSeq)/4
	if to, err = l.settledByAll(ctx, to); err != nil || to < state.FirstSeq {
		return 0, err
	}
	if err := l.stream.Purge(ctx, jetstream.WithPurgeSequence(to+1)); err != nil {
		return 0, fmt.Errorf("making room: %w", err)
	}
	return to + 1 - state.FirstSeq, nil
}

// settledByAll returns the last position, at most that, up to which every sink has settled
// everything, whether an instance has it or not. What a consumer has still to deliver only the
// stream's leader knows: the consumer's may be behind.
func (l *log) settledByAll(ctx context.Context, to uint64) (uint64, error) {
	places := make(map[string]bool)
	names := l.stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, consumerPrefix) {
			places[name] = true
		}
	}
	var infos []*jetstream.ConsumerInfo
	consumers := l.stream.ListConsumers(ctx)
	for c := range consumers.Info() {
		if places[c.Name] {
			delete(places, c.Name)
			infos = append(infos, c)
		}
	}
	if err := errors.Join(names.Err(), consumers.Err(), ctx.Err()); err != nil {
		return 0, fmt.Errorf("asking for the sinks: %w", err)
	}
	if len(places) > 0 {
		return 0, fmt.Errorf("asking for the sinks: %d of their consumers have no leader", len(places))
	}
	for _, c := range infos {
		if c.AckFloor.Stream >= to {
			continue
		}
		next, err := l.messageBehind(ctx, c.AckFloor.Stream, c.Config.FilterSubject)
		if err != nil {
			return 0, err
		}
		if next != nil && next.Sequence <= to {
			to = next.Sequence - 1
		}
	}
	return to, nil
}
