package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/registry-notifications/notifications"
)

// Journal is a hub on disk. Its methods may be called at once from several goroutines.
type Journal struct {
	*notifications.Hub
	log     *log
	letters *DeadLetters
	lock    io.Closer

	closing sync.Once
	closed  chan struct{} // closed when result is final
	result  error
}

var (
	_ notifications.Sink = (*Journal)(nil)
	_ notifications.Feed = (*Journal)(nil)
)

// Open opens the journal in a directory, which it makes if there is none; the directory
// above has to be there. The errors are of the configuration (*notifications.ConfigError),
// a *LockedError, a *VersionError, or the system's. Damage is no error: it is logged,
// counted by Stat, and costs no more than what is damaged.
func Open(dir string, config Config) (*Journal, error) { return openOn(disk{}, dir, config) }

func openOn(fs fileSystem, dir string, config Config) (_ *Journal, err error) {
	if dir == "" {
		return nil, wrong("dir", "empty: allowed is the path of a directory")
	}
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := fs.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	lock, err := fs.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, prefixed(err)
	}
	j := &Journal{lock: lock, closed: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = j.shutdown()
		}
	}()

	if j.log, err = openLog(dir, fs, config); err != nil {
		return nil, prefixed(err)
	}
	if config.Hub.DeadLetters == nil {
		if j.letters, err = openDeadLetters(fs, filepath.Join(dir, "deadletters"), config.Logger); err != nil {
			return nil, prefixed(err)
		}
		config.Hub.DeadLetters = j.letters
	}
	if j.Hub, err = notifications.NewHub(eventLog{j.log}, config.Hub); err != nil {
		return nil, err
	}
	return j, nil
}

// prefixed has an error of the system say whose it is.
func prefixed(err error) error {
	var locked *LockedError
	var version *VersionError
	if errors.As(err, &locked) || errors.As(err, &version) {
		return err
	}
	return fmt.Errorf("journal: %w", err)
}

// Remove takes the named sink out of the hub, if it is in, and forgets its place, which
// until then holds the segments behind it whether the sink is there or not.
func (j *Journal) Remove(ctx context.Context, name string) error {
	err := j.log.forget(name, true)
	if errors.Is(err, errInUse) {
		return j.Hub.Remove(ctx, name)
	}
	return err
}

// DeadLetters returns where the hub's endpoints put what they give up, or nil if the
// configuration has something else for that. Endpoint.Replay sends it again.
func (j *Journal) DeadLetters() *DeadLetters { return j.letters }

// Close stops intake at once, lets the sinks finish what is in flight until ctx ends, and
// leaves the rest to the next start: it waits for no receiver that is away. Writers that
// are inside get their answer.
func (j *Journal) Close(ctx context.Context) error {
	j.closing.Do(func() {
		go func() {
			defer close(j.closed)
			err := j.Hub.Close(ctx)
			j.result = errors.Join(err, j.shutdown())
		}()
	})
	select {
	case <-j.closed:
		return j.result
	case <-ctx.Done():
	}
	// A disk that hangs keeps the directory, and not whoever closes.
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-j.closed:
		return j.result
	case <-grace.C:
		return fmt.Errorf("journal: closing: %w", context.Cause(ctx))
	}
}

// closeGrace is how long the hub and the files may take to be closed after a Close whose
// context has ended.
const closeGrace = time.Second

func (j *Journal) shutdown() (err error) {
	if j.log != nil {
		err = j.log.close()
	}
	if j.letters != nil {
		err = errors.Join(err, j.letters.close())
	}
	return errors.Join(err, j.lock.Close())
}

// eventLog is the log as the hub engine sees it.
type eventLog struct{ *log }

var _ notifications.Log = eventLog{}

func (l eventLog) Append(ctx context.Context, events ...*notifications.Event) error {
	err := l.append(ctx, len(events), func(i int, b []byte) ([]byte, error) { return events[i].AppendJSON(b) })
	return closedAs(err)
}

func (l eventLog) Cursor(name string) (notifications.Cursor, error) {
	c, err := l.cursor(name)
	if err != nil {
		return nil, closedAs(err)
	}
	return c, nil
}

func (l eventLog) Forget(name string) error { return l.forget(name, false) }

func (l eventLog) Durable() bool { return true }

func (l eventLog) Close() error {
	l.shut()
	return nil
}

func closedAs(err error) error {
	if errors.Is(err, errClosed) {
		return notifications.ErrSinkClosed
	}
	return err
}
