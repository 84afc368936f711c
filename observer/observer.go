package observer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Observer watches feeds, and has a Processor act on what happens there.
type Observer struct {
	config     Config
	engine     engine
	registries map[string]*registry

	work    context.Context // of the calls
	stop    context.CancelFunc
	end     context.CancelCauseFunc // of Watch
	begun   atomic.Bool
	pending atomic.Int64  // events that were read, and are not done with
	full    atomic.Bool   // somebody waits for room
	kicks   chan struct{} // to save now

	mu     sync.Mutex // guards the rest
	timers map[*time.Timer]struct{}
	over   bool
}

// New returns an observer, which does nothing before Watch. The error is of the
// configuration: a *notifications.ConfigError.
func New(config Config) (*Observer, error) {
	config.Feeds, config.Prefixes = maps.Clone(config.Feeds), slices.Clone(config.Prefixes)
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	o := &Observer{
		config:     config,
		engine:     engine{limit: config.Activities, lanes: config.Lanes},
		registries: make(map[string]*registry),
		timers:     make(map[*time.Timer]struct{}),
		kicks:      make(chan struct{}, 1),
	}
	for name, feed := range config.Feeds {
		o.registries[name] = newRegistry(o, name, feed)
	}
	return o, nil
}

// Watch loads what has happened since the last time, has the Processor act on what is true
// in the end, and then watches. When ctx ends, it lets the calls end that are under way,
// for as long as Grace, saves, and returns: nil if everything is saved that was done.
// Before that it returns only for a feed that cannot be read any more (*FeedError), and if at
// its start the store cannot be loaded, or a feed not be held. An Observer watches once.
func (o *Observer) Watch(ctx context.Context) error {
	if o.begun.Swap(true) {
		return errors.New("observer: watches, or has watched, already")
	}
	ctx, o.end = context.WithCancelCause(ctx)
	defer o.end(nil)
	if err := o.load(ctx); err != nil {
		return err
	}
	o.work, o.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer o.stop()

	for _, r := range o.registries {
		if err := r.holdFirst(); err != nil {
			return err
		}
	}
	var others sync.WaitGroup
	for _, r := range o.registries {
		others.Go(func() { r.waiter(ctx) })
		r.progress.begin(r)
		o.engine.wake(r)
	}
	others.Go(func() { o.keepSaving(ctx) })
	<-ctx.Done()

	o.engine.stop()
	o.stopTimers()
	grace := time.AfterFunc(o.config.Grace, o.stop)
	defer grace.Stop()
	o.engine.ended.Wait()
	others.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.config.Grace)
	defer cancel()
	err := o.save(last, whatIsLeft)
	var broken *FeedError
	if errors.As(context.Cause(ctx), &broken) {
		err = errors.Join(broken, err)
	}
	return err
}

// fail ends Watch.
func (o *Observer) fail(err error) { o.end(err) }

// later does something after a while, unless Watch has ended by then.
func (o *Observer) later(d time.Duration, do func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		o.mu.Lock()
		delete(o.timers, t)
		o.mu.Unlock()
		do()
	})
	o.timers[t] = struct{}{}
}

func (o *Observer) stopTimers() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	for t := range o.timers {
		t.Stop()
	}
}

// room returns how many events may be read. If that is not worth it, it returns none, and
// whoever asks is woken when it is.
func (o *Observer) room() int {
	if room := o.free(); room >= o.least() {
		return room
	}
	o.full.Store(true)
	if room := o.free(); room >= o.least() { // meanwhile
		return room
	}
	return 0
}

func (o *Observer) free() int { return o.config.MaxPending - int(o.pending.Load()) }

// least is for how many events it is worth to read.
func (o *Observer) least() int { return min(batch, o.config.MaxPending/4+1) }

// handled is called for each event that was read, when it is done with.
func (o *Observer) handled() {
	o.pending.Add(-1)
	if o.full.Load() && o.free() >= o.least() && o.full.Swap(false) {
		for _, r := range o.registries {
			o.engine.wake(r)
		}
	}
}

// observes says whether a repository is one of those to observe.
func (o *Observer) observes(name string) bool {
	if len(o.config.Prefixes) == 0 {
		return true
	}
	for _, p := range o.config.Prefixes {
		if rest, ok := strings.CutPrefix(name, p); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// Stat returns what it has done, by feed.
func (o *Observer) Stat() map[string]Stat {
	all := make(map[string]Stat, len(o.registries))
	for name, r := range o.registries {
		all[name] = r.stat()
	}
	return all
}
