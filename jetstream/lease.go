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
	kv     bucket
	key    string
	holder string // a word that only this cursor of this instance has
	term   time.Duration

	mu       sync.Mutex // guards the rest
	revision uint64
	until    time.Time // when its holder has to have stopped
}

// take takes it, if nobody has it. What this holder has from a call whose answer was lost, it
// has.
func (l *lease) take(ctx context.Context) (taken bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := time.Now()
	revision, err := l.kv.Create(ctx, l.key, []byte(l.holder))
	if errors.Is(err, jetstream.ErrKeyExists) {
		own, err := l.own(ctx)
		if own == 0 || err != nil {
			return false, err
		}
		start = time.Now()
		if revision, err = l.kv.Update(ctx, l.key, []byte(l.holder), own); err != nil {
			return false, fmt.Errorf("taking the lease %s again: %w", l.key, err)
		}
	} else if err != nil {
		return false, fmt.Errorf("taking the lease %s: %w", l.key, err)
	}
	l.renewed(revision, start)
	return true, nil
}

// renew has it for another term, and returns until when. Whoever else has it meanwhile, has it:
// then it is errLost.
func (l *lease) renew(ctx context.Context) (until time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := time.Now()
	revision, err := l.kv.Update(ctx, l.key, []byte(l.holder), l.revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		// Somebody else has it, or the answer to an earlier renewal was lost.
		own, getErr := l.own(ctx)
		switch {
		case getErr != nil:
			return l.until, getErr
		case own == 0:
			return l.until, errLost
		}
		start = time.Now()
		revision, err = l.kv.Update(ctx, l.key, []byte(l.holder), own)
	}
	if err != nil {
		return l.until, fmt.Errorf("renewing the lease %s: %w", l.key, err)
	}
	l.renewed(revision, start)
	return l.until, nil
}

// own returns the key's revision if this holder has it, and otherwise zero. A server that is
// behind may be the one that answers: what is done with it has to compare.
func (l *lease) own(ctx context.Context) (revision uint64, err error) {
	entry, err := l.kv.Get(ctx, l.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("asking for the lease %s: %w", l.key, err)
	case string(entry.Value()) != l.holder:
		return 0, nil
	}
	return entry.Revision(), nil
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
