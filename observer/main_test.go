package observer

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// memory is a Store that outlives its observer.
type memory struct {
	mu    sync.Mutex
	all   map[string][]byte
	saves int
	err   error
}

func (m *memory) Load(context.Context) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string][]byte)
	for k, v := range m.all {
		all[k] = v
	}
	return all, m.err
}

func (m *memory) Save(_ context.Context, changes map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if m.all == nil {
		m.all = make(map[string][]byte)
	}
	for k, v := range changes {
		if v == nil {
			delete(m.all, k)
			continue
		}
		m.all[k] = append([]byte(nil), v...)
	}
	m.saves++
	return nil
}

func (m *memory) get(key string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.all[key])
}

// diary is a Processor and an Initializer that writes down what it is called for.
type diary struct {
	mu    sync.Mutex
	lines []string
	fail  func(call string) error
	hold  func(call string)
}

func (d *diary) note(format string, args ...any) error {
	call := fmt.Sprintf(format, args...)
	if d.hold != nil {
		d.hold(call)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, call)
	if d.fail != nil {
		return d.fail(call)
	}
	return nil
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.lines...)
}

func (d *diary) Enable(_ context.Context, s *State) error   { return d.note("enable %s", s.Name) }
func (d *diary) Disable(_ context.Context, s *State) error  { return d.note("disable %s", s.Name) }
func (d *diary) Freeze(_ context.Context, s *State) error   { return d.note("freeze %s", s.Name) }
func (d *diary) Unfreeze(_ context.Context, s *State) error { return d.note("unfreeze %s", s.Name) }
func (d *diary) Event(_ context.Context, s *State, r notifications.Record) error {
	return d.note("%s %s %d", r.Event.Action, s.Name, r.Position)
}

// keeper is a diary that prepares, too.
type keeper struct {
	*diary
	prepared sync.Map
}

func (k *keeper) Get(_ context.Context, r Repository) (bool, error) {
	_, ok := k.prepared.Load(r.Name)
	return ok, k.note("get %s", r.Name)
}

func (k *keeper) Init(_ context.Context, r Repository) error {
	k.prepared.Store(r.Name, true)
	return k.note("init %s", r.Name)
}

func (k *keeper) Move(_ context.Context, from, to Repository) error {
	k.prepared.Delete(from.Name)
	k.prepared.Store(to.Name, true)
	return k.note("move %s %s", from.Name, to.Name)
}

func event(action, kind, name string) *notifications.Event {
	e := notifications.NewEvent(action)
	e.Target.Type, e.Target.Repository = kind, name
	return e
}

// push is a push of a tagged manifest, other than all before.
func push(name, tag string) *notifications.Event {
	e := event(notifications.ActionPush, notifications.TypeManifest, name)
	e.Target.MediaType = "application/vnd.oci.image.manifest.v1+json"
	e.Target.Tag, e.Target.Digest, e.Target.Size = tag, digest.FromString(e.ID), 10
	return e
}

func rename(from, to string) *notifications.Event {
	e := event(notifications.ActionRename, notifications.TypeRepository, to)
	e.Target.FromRepository = from
	return e
}

func removed(name string) *notifications.Event {
	return event(notifications.ActionDelete, notifications.TypeRepository, name)
}

// rig is an observer at work on a feed.
type rig struct {
	*testing.T
	feed  *sinktest.Feed
	store *memory
	*diary
	config Config
	o      *Observer
	end    context.CancelFunc
	ended  chan error
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, feed: new(sinktest.Feed), store: new(memory), diary: new(diary)}
	r.config = Config{
		Feeds: map[string]notifications.Feed{"r": r.feed}, Store: r.store, Processor: r.diary, Logger: quiet(),
		SaveInterval: time.Millisecond, Backoff: time.Microsecond, MaxBackoff: time.Millisecond,
	}
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) write(events ...*notifications.Event) {
	r.Helper()
	require.NoError(r, r.feed.Write(r.Context(), events...))
}

func (r *rig) start() {
	r.Helper()
	var err error
	r.o, err = New(r.config)
	require.NoError(r, err)
	ctx, cancel := context.WithCancel(context.Background())
	r.end, r.ended = cancel, make(chan error, 1)
	o, ended := r.o, r.ended
	go func() { ended <- o.Watch(ctx) }()
}

// stop ends it, and returns what Watch has returned.
func (r *rig) stop() error {
	if r.end == nil {
		return nil
	}
	r.end()
	r.end = nil
	return <-r.ended
}

// settles waits until everything that was written is done with and saved.
func (r *rig) settles() {
	r.Helper()
	last := r.feed.Last()
	sinktest.Eventually(r, func() bool {
		s := r.o.Stat()["r"]
		return s.Position == last && !s.Loading
	}, "done with %d: %+v", last, r.o.Stat())
}

// runs starts it, waits until it has settled, ends it, and returns what it was called for.
func (r *rig) runs() []string {
	r.Helper()
	r.start()
	r.settles()
	require.NoError(r, r.stop())
	return r.take()
}

func (r *rig) take() []string {
	r.diary.mu.Lock()
	defer r.diary.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}
