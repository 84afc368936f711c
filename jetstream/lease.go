package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// lease is the right to work on one partition of a sink, which one instance at a time has. It
// is a key in a bucket that forgets what is not renewed: who has it renews it, and who finds
// none takes it. The servers compare and set, so that no two can have it, and it survives
// their elections. A pinned client of a consumer is less: the pin is gone when the consumer's
// leader is, and binds nobody.
type lease struct {
	kv     jetstream.KeyValue
	key    string
	holder string
	term   time.Duration

	mu       sync.Mutex // guards the rest
	revision uint64
	until    time.Time // when its holder has to have stopped
}

// take takes it, if nobody has it.
func (l *lease) take(ctx context.Context) (taken bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := time.Now()
	revision, err := l.kv.Create(ctx, l.key, []byte(l.holder))
	switch {
	case errors.Is(err, jetstream.ErrKeyExists):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("taking the lease %s: %w", l.key, err)
	}
	l.renewed(revision, start)
	return true, nil
}

// renew has it for another term, and returns until when. Whoever else has it meanwhile, has it.
func (l *lease) renew(ctx context.Context) (until time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := time.Now()
	revision, err := l.kv.Update(ctx, l.key, []byte(l.holder), l.revision)
	if err != nil {
		return l.until, fmt.Errorf("renewing the lease %s: %w", l.key, err)
	}
	l.renewed(revision, start)
	return l.until, nil
}

// renewed counts from when it was asked for. A quarter of the term is for clocks that do not
// run alike, and for what does not stop at once. The caller holds the lock.
func (l *lease) renewed(revision uint64, start time.Time) {
	l.revision, l.until = revision, start.Add(l.term*3/4)
}

// give gives it back, so that nobody has to wait for its end.
func (l *lease) give(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kv.Purge(ctx, l.key, jetstream.LastRevision(l.revision))
}

// isOthers says whether an error of renew means that somebody else has it.
func isOthers(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}
