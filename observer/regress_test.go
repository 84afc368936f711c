package observer

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// What a review has found, one test each.

func (r *rig) stateOf(name string) (s State) {
	r.Helper()
	if v := r.store.get("state/r/" + name); v != "" {
		require.NoError(r, json.Unmarshal([]byte(v), &s))
	}
	return s
}

// crash has everything done that is written, and nothing of it saved.
func (r *rig) crash(last string, events ...*notifications.Event) {
	r.Helper()
	r.store.fail(errors.New("killed"))
	r.write(events...)
	sinktest.Eventually(r, func() bool { return slices.Contains(r.read(), last) }, "%v", r.read())
	assert.Error(r, r.stop())
	r.store.fail(nil)
	r.take()
}

// partly is a store of which only some saves work.
type partly struct {
	*memory
	mu    sync.Mutex
	saves int
	fails func(n int) bool
}

func (p *partly) Save(ctx context.Context, changes map[string][]byte) error {
	p.mu.Lock()
	p.saves++
	fails := p.fails(p.saves)
	p.mu.Unlock()
	if fails {
		return errors.New("not now")
	}
	return p.memory.Save(ctx, changes)
}

// TestBeginsLate: an observer that begins with what a feed has left says so in its position,
// whether there is anything left or not, and whenever it crashes.
func TestBeginsLate(t *testing.T) {
	r := newRig(t)
	r.write(push("a", "v1"), push("b", "v1"))
	r.feed.Forget(2)
	assert.Empty(t, r.runs())
	assert.Equal(t, "2", r.store.get("position/r"))
	r.write(push("c", "v1"))
	assert.Equal(t, []string{"enable c"}, r.runs())

	r = newRig(t)
	r.write(push("a", "v1"), push("b", "v1"))
	r.feed.Forget(1)
	r.config.Store = &partly{memory: r.store, fails: func(n int) bool { return n > 1 }}
	r.start()
	sinktest.Eventually(t, func() bool { return slices.Contains(r.read(), "enable b") }, "told")
	assert.Error(t, r.stop())
	r.take()
	r.config.Store = r.store
	assert.Equal(t, []string{"enable b"}, r.runs())
}

// TestRenameOfUnknown: a rename that nobody had to be told of is not read again when its
// names are others'.
func TestRenameOfUnknown(t *testing.T) {
	r := newRig(t)
	h := &hung{diary: r.diary, name: "a", begun: make(chan struct{})}
	r.config.Processor, r.config.Grace = h, 20*time.Millisecond
	r.start()
	r.settles()
	y, x := push("y", "v1"), push("x", "v1")
	r.write(push("a", "v1"))
	<-h.begun
	r.write(rename("x", "y"), y, x)
	sinktest.Eventually(t, func() bool { return r.o.Stat()["r"].Waits == 2 }, "%+v", r.o.Stat())
	assert.NoError(t, r.stop())
	r.config.Processor = r.diary
	r.runs()
	assert.Equal(t, y.Target.Digest, r.stateOf("y").Tags["v1"])
	assert.Equal(t, x.Target.Digest, r.stateOf("x").Tags["v1"])
}

// unpreparer is a keeper of whose preparations Disable leaves nothing.
type unpreparer struct{ *keeper }

func (u unpreparer) Disable(ctx context.Context, s *State) error {
	u.prepared.Delete(s.Name)
	return u.keeper.Disable(ctx, s)
}

// TestCrashBehindDisable: what is prepared again was told to be gone before the crash.
func TestCrashBehindDisable(t *testing.T) {
	r := newRig(t)
	k := unpreparer{&keeper{diary: r.diary}}
	r.config.Processor, r.config.Initializer = k, k
	r.write(push("a", "v1"))
	r.start()
	r.settles()
	r.crash("delete a 2", removed("a"))
	r.write(push("a", "v2"))
	assert.Equal(t, []string{"get a", "init a", "enable a"}, r.runs())
}

// TestCrashBeforeRename: what may have been told before a crash is released.
func TestCrashBeforeRename(t *testing.T) {
	r := newRig(t)
	r.start()
	r.settles()
	r.crash("push a 2", event(notifications.ActionPull, notifications.TypeManifest, "a"), push("a", "v1"))
	r.write(rename("a", "b"))
	assert.Equal(t, []string{"disable a", "enable b"}, r.runs())
}

// TestRenameTwice: a rename that comes again, as at-least-once has it, changes nothing.
func TestRenameTwice(t *testing.T) {
	e := rename("a", "b")
	r := newRig(t)
	r.start()
	r.settles()
	r.write(push("a", "v1"), e, e)
	r.settles()
	assert.Equal(t, []string{"enable a", "push a 1", "disable a", "enable b", "rename b 2", "rename b 3"}, r.take())
	assert.Len(t, r.stateOf("b").Tags, 1)

	r = newRig(t)
	r.write(push("a", "v1"), e, e)
	assert.Equal(t, []string{"enable b"}, r.runs())
	assert.Len(t, r.stateOf("b").Tags, 1)
}

// TestReleaseFails: the repository goes on under its new name, with all its retries.
func TestReleaseFails(t *testing.T) {
	r := newRig(t)
	r.config.Retries = 1
	enables := 0
	r.fail = func(call string) error {
		if call == "enable b" {
			enables++
		}
		if call == "disable a" || call == "enable b" && enables == 1 {
			return errors.New("no")
		}
		return nil
	}
	r.start()
	r.settles()
	r.write(push("a", "v1"), rename("a", "b"))
	r.settles()
	assert.Equal(t, []string{"enable a", "push a 1", "disable a", "disable a", "enable b", "enable b", "rename b 2"}, r.take())
	assert.Zero(t, r.o.Stat()["r"].Failed)
}

// TestDeleteRename: a name that is given to another is there, loaded or watched.
func TestDeleteRename(t *testing.T) {
	for _, loads := range []bool{true, false} {
		r := newRig(t)
		if !loads {
			r.start()
			r.settles()
		}
		r.write(push("a", "v1"), removed("a"), rename("a", "b"))
		if loads {
			r.start()
		}
		r.settles()
		assert.Contains(t, r.take(), "enable b")
		assert.False(t, r.stateOf("b").Deleted)
	}
}

// TestPullFails: that nobody could be told of a pull does not make a repository disappear.
func TestPullFails(t *testing.T) {
	r := newRig(t)
	r.config.Retries = -1
	var once sync.Once
	r.fail = func(string) (err error) {
		once.Do(func() { err = errors.New("no") })
		return err
	}
	r.start()
	r.settles()
	pull := event(notifications.ActionPull, notifications.TypeManifest, "a")
	r.write(pull, pull)
	r.settles()
	assert.Equal(t, []string{"pull a 1", "pull a 2"}, r.take())
}

// TestCustomBehindDelete: an action of one's own behind the end of a repository is only an
// event, however soon it comes.
func TestCustomBehindDelete(t *testing.T) {
	for _, soon := range []bool{true, false} {
		r := newRig(t)
		r.start()
		r.settles()
		r.write(push("a", "v1"), removed("a"))
		if !soon {
			r.settles()
		}
		r.write(event("scan", notifications.TypeRepository, "a"))
		r.settles()
		assert.Equal(t, []string{"enable a", "push a 1", "disable a", "delete a 2", "scan a 3"}, r.take())
	}
}

// TestPrefixGone: what was loaded and not told is not told when it is not to be observed any
// more.
func TestPrefixGone(t *testing.T) {
	r := newRig(t)
	h := &hung{diary: r.diary, name: "a", begun: make(chan struct{})}
	r.config.Processor, r.config.Grace = h, 20*time.Millisecond
	r.write(push("a", "v1"))
	r.start()
	<-h.begun
	assert.NoError(t, r.stop())
	r.config.Processor, r.config.Prefixes = r.diary, []string{"b"}
	assert.Empty(t, r.runs())
}

// TestProgressOfRenames: a rename that waits is an event that was read, too.
func TestProgressOfRenames(t *testing.T) {
	r := newRig(t)
	r.write(push("a", "v1"))
	r.runs()
	r.write(rename("a", "b"), push("b", "v2"))
	var last Progress
	r.config.Progress = func(p Progress) { last = p }
	r.runs()
	assert.EqualValues(t, 2, last.Events)
	assert.EqualValues(t, 2, last.Total)
}

// TestOneSaveFails: who waits for a save does not wait for SaveInterval when one has failed.
func TestOneSaveFails(t *testing.T) {
	r := newRig(t)
	r.config.SaveInterval = time.Hour
	r.config.Store = &partly{memory: r.store, fails: func(n int) bool { return n == 1 }}
	r.write(push("a", "v1"))
	r.start()
	sinktest.Eventually(t, func() bool { return !r.o.Stat()["r"].Loading }, "loaded")
}

// TestReadOnlyStore: with a store that takes nothing nobody is told what was loaded, behind a
// crash, too.
func TestReadOnlyStore(t *testing.T) {
	r := newRig(t)
	r.start()
	r.settles()
	r.crash("push a 1", push("a", "v1"))
	store := &partly{memory: r.store, fails: func(int) bool { return true }}
	r.config.Store = store
	r.start()
	sinktest.Eventually(t, func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.saves > 3
	}, "tries")
	assert.Empty(t, r.read())
	assert.Error(t, r.stop())
}
