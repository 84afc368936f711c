package observer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

// killEnv has the arguments of a process that TestKill kills.
const killEnv = "OBSERVER_TEST_KILL"

// killArgs is what a life is to do. All lives write the same events, one after another.
type killArgs struct {
	Dir    string
	Seed   uint64
	Events int // of all lives
	Upto   int // position up to which this one writes
	Last   bool
}

const (
	killFeed  = "r"
	killCalls = "calls" // the file that has a line for each call that was done
)

// TestKill ends an observer, which has a journal and a file for its store, with kill -9, and
// starts another one, again and again. Whenever one is dead, what it has saved has to be
// behind what its Processor did; in the end all events are done with.
func TestKill(t *testing.T) {
	lives, each := 20, 500
	if *long {
		lives, each = 120, 400
	}
	if testing.Short() {
		lives = 5
	}
	random := chance(t)
	args := killArgs{Dir: t.TempDir(), Seed: random.Uint64(), Events: lives * each}
	past := newPast(args)
	for n := 1; n < lives; n++ {
		args.Upto = n * each
		c := startKill(t, args)
		if random.IntN(6) > 0 { // or while it opens, or loads
			c.watches(t)
		}
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		c.kill(t)
		past.check(t, args)
		if t.Failed() {
			return
		}
	}
	args.Upto, args.Last = args.Events, true
	c := startKill(t, args)
	c.watches(t)
	require.NoError(t, c.cmd.Wait(), "%s", &c.out)
	past.check(t, args)
	assert.EqualValues(t, args.Events, past.position)
	past.position = 0 // nothing is untold any more
	past.check(t, args)
	past.checkEnd(t)
	t.Logf("%d lives, %d events, %d calls; %d lives have saved a position: %v",
		lives, args.Events, len(past.lines), len(past.positions), past.positions)
	assert.Greater(t, len(past.positions), 1, "nothing was saved before the end")
}

// killed is a process.
type killed struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	out    bytes.Buffer
}

func startKill(t *testing.T, args killArgs) *killed {
	t.Helper()
	text, err := json.Marshal(args)
	require.NoError(t, err)
	binary, err := os.Executable()
	require.NoError(t, err)
	c := &killed{cmd: exec.Command(binary, "-test.run=^TestKillLife$")}
	c.cmd.Env = append(os.Environ(), killEnv+"="+string(text), "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.out
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.stdout = bufio.NewReader(stdout)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() { // of a test that failed
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
	})
	return c
}

// watches waits until it begins to watch.
func (c *killed) watches(t *testing.T) {
	t.Helper()
	line, err := c.stdout.ReadString('\n')
	require.NoError(t, err, "%s", &c.out)
	require.Equal(t, "watches\n", line)
}

func (c *killed) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait()
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Signaled() && status.Signal() == syscall.SIGKILL, "it ended by itself: %v: %s", c.cmd.ProcessState, &c.out)
}

// killWorld makes the events of all lives.
func killWorld(args killArgs) *world {
	w := newWorld(killFeed, rand.New(rand.NewPCG(args.Seed, 0)), true)
	w.names = w.names[:60]
	return w
}

// TestKillLife is such a life, and no test by itself.
func TestKillLife(t *testing.T) {
	text, ok := os.LookupEnv(killEnv)
	if !ok {
		t.Skip("is for TestKill")
	}
	var args killArgs
	require.NoError(t, json.Unmarshal([]byte(text), &args))
	require.NoError(t, liveUntilKilled(args))
	os.Exit(0)
}

func liveUntilKilled(args killArgs) error {
	j, err := journal.Open(filepath.Join(args.Dir, "journal"), journal.Config{Sync: journal.SyncNone, Retain: time.Hour, Logger: quiet()})
	if err != nil {
		return err
	}
	store, err := OpenFile(filepath.Join(args.Dir, "state"))
	if err != nil {
		return err
	}
	p, err := openPrepared(filepath.Join(args.Dir, killCalls))
	if err != nil {
		return err
	}
	o, err := New(Config{
		Feeds: map[string]notifications.Feed{killFeed: j}, Store: store, Processor: p, Initializer: p, Prefixes: []string{"o"},
		Activities: 24, Lanes: 16, Retries: 1000, Backoff: time.Microsecond, MaxBackoff: time.Millisecond,
		MaxPending: 1000, SaveInterval: 2 * time.Millisecond, Hold: "observer", Logger: quiet(),
	})
	if err != nil {
		return err
	}
	events := killWorld(args).block(args.Events)[:args.Upto]
	for i, e := range events {
		e.ID = fmt.Sprintf("%08d", i+1)
	}
	ctx, end := context.WithCancel(context.Background())
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- o.Watch(ctx) }()
	fmt.Println("watches")
	for at := int(j.Last()); at < len(events); {
		n := min(len(events)-at, 1+rand.IntN(100))
		if err := j.Write(ctx, events[at:at+n]...); err != nil {
			return err
		}
		at += n
		time.Sleep(4 * time.Millisecond) // so that there is something to do for as long as a life may take
	}
	if !args.Last {
		select {}
	}
	for o.Stat()[killFeed].Position < uint64(args.Events) {
		time.Sleep(time.Millisecond)
	}
	end()
	return <-ended
}

// prepared is a Processor and an Initializer that puts what was done in a file, by one
// write each, and knows from there what was prepared in lives before.
type prepared struct {
	file *os.File
	life int

	mu sync.Mutex // guards the rest
	at map[string]bool
}

// line is one call that was done.
type line struct {
	life       int
	what, name string
	position   uint64 // of the last event that it knows of
	to         string // of a move
}

func readLines(path string) (all []line, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		f := strings.Split(s.Text(), " ")
		if len(f) != 5 {
			return nil, fmt.Errorf("a torn line: %q", s.Text())
		}
		l := line{what: f[1], name: f[2], to: f[4]}
		if l.life, err = strconv.Atoi(f[0]); err != nil {
			return nil, err
		}
		if l.position, err = strconv.ParseUint(f[3], 10, 64); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func openPrepared(path string) (*prepared, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	p := &prepared{file: f, life: 1, at: make(map[string]bool)}
	for _, l := range lines {
		p.life = l.life + 1
		switch l.what {
		case callInit:
			p.at[l.name] = true
		case callMove:
			delete(p.at, l.name)
			p.at[l.to] = true
		}
	}
	return p, nil
}

func (p *prepared) write(what, name, last, to string) error {
	if last == "" {
		last = "0"
	}
	_, err := fmt.Fprintf(p.file, "%d %s %s %s %s\n", p.life, what, name, last, to)
	return err
}

func (p *prepared) told(what string, s *State) error {
	switch n := rand.IntN(1000); {
	case n < 20:
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
	case n < 40:
		return errChance
	}
	return p.write(what, s.Name, s.Last.ID, "")
}

func (p *prepared) Enable(_ context.Context, s *State) error   { return p.told(callEnable, s) }
func (p *prepared) Disable(_ context.Context, s *State) error  { return p.told(callDisable, s) }
func (p *prepared) Freeze(_ context.Context, s *State) error   { return p.told(callFreeze, s) }
func (p *prepared) Unfreeze(_ context.Context, s *State) error { return p.told(callUnfreeze, s) }

func (p *prepared) Event(_ context.Context, s *State, r notifications.Record) error {
	if s.Last.ID != r.Event.ID {
		return fmt.Errorf("state of %s for event %s", s.Last.ID, r.Event.ID)
	}
	return p.told(callEvent, s)
}

func (p *prepared) Get(_ context.Context, r Repository) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[r.Name], nil
}

func (p *prepared) Init(_ context.Context, r Repository) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[r.Name] = true
	return p.write(callInit, r.Name, "", "")
}

// Move bears to come again: what is not there any more was moved already.
func (p *prepared) Move(_ context.Context, from, to Repository) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at[from.Name] {
		return nil
	}
	delete(p.at, from.Name)
	p.at[to.Name] = true
	return p.write(callMove, from.Name, "", to.Name)
}

// past is what all lives have done, and what they should have.
type past struct {
	events  []*notifications.Event
	holders map[string][]holding // of each name, in order
	of      []*lineage           // by position

	lines     []line
	written   uint64 // position up to which there may be something
	position  uint64 // that was saved last
	positions []uint64
	untold    map[*lineage]bool // and stored as that
}

// lineage is a repository under all its names, and with all that was deleted under them
// and pushed again.
type lineage struct {
	positions []uint64 // of its events
	end       uint64   // position of the rename that gave its name to another, or took it out of sight
}

type holding struct {
	from uint64
	who  *lineage
}

func newPast(args killArgs) *past {
	p := &past{holders: make(map[string][]holding), events: killWorld(args).block(args.Events)[:args.Events]}
	now := make(map[string]*lineage)
	for i, e := range p.events {
		at := uint64(i + 1)
		name := e.Target.Repository
		l := now[name]
		if from := e.Target.FromRepository; from != "" {
			if l != nil {
				l.end = at
			}
			l = now[from]
			delete(now, from)
			if !strings.HasPrefix(name, "o/") {
				l.end = at
				p.of = append(p.of, nil) // its release is all there is to it
				continue
			}
		}
		if l == nil {
			l = new(lineage)
		}
		if now[name] != l {
			now[name] = l
			p.holders[name] = append(p.holders[name], holding{at, l})
		}
		l.positions = append(l.positions, at)
		p.of = append(p.of, l)
	}
	return p
}

// holder returns who has a name behind an event.
func (p *past) holder(name string, at uint64) *lineage {
	all := p.holders[name]
	n := sort.Search(len(all), func(i int) bool { return all[i].from > at })
	if n == 0 {
		return nil
	}
	return all[n-1].who
}

// check compares what was saved with what was done so far.
func (p *past) check(t *testing.T, args killArgs) {
	t.Helper()
	store, err := OpenFile(filepath.Join(args.Dir, "state"))
	require.NoError(t, err)
	all, err := store.Load(t.Context())
	require.NoError(t, err)
	require.NoError(t, store.Close())
	p.lines, err = readLines(filepath.Join(args.Dir, killCalls))
	if err != nil && !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	done := p.done(t)
	p.written = uint64(args.Upto)
	delete(all, runningKey+killFeed)
	p.untold = make(map[*lineage]bool)
	for key, value := range all {
		var s State
		if strings.HasPrefix(key, stateKey) {
			require.NoError(t, json.Unmarshal(value, &s))
			p.untold[p.holder(s.Name, s.Position)] = s.Untold
		}
	}
	for key, value := range all {
		if name, ok := strings.CutPrefix(key, positionKey); ok {
			require.Equal(t, killFeed, name)
			at, err := strconv.ParseUint(string(value), 10, 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, at, p.position, "it went back")
			if at > p.position {
				p.positions = append(p.positions, at)
			}
			for n := p.position + 1; n <= at; n++ {
				p.checkDone(t, done, n, at)
			}
			p.position = at
			continue
		}
		var s State
		require.NoError(t, json.Unmarshal(value, &s))
		l := p.holder(s.Name, s.Position)
		if l == nil {
			require.Zero(t, s.Position, s.Name)
			continue
		}
		for _, n := range l.positions {
			if n <= s.Position {
				p.checkDone(t, done, n, s.Position)
			}
		}
	}
}

// done returns up to where each repository was told what it is, and which events it was
// told by themselves. Within one life, order has to be kept.
func (p *past) done(t *testing.T) map[*lineage]*doing {
	t.Helper()
	all := make(map[*lineage]*doing)
	type key struct {
		life int
		name string
	}
	last := make(map[key]line)
	lastOf := make(map[*lineage]line) // under any name; a release may be told again, later
	for _, l := range p.lines {
		if l.what == callInit || l.what == callMove {
			continue
		}
		k := key{l.life, l.name}
		before := last[k]
		if l.position < before.position || l.what == callEvent && before.what == callEvent && l.position == before.position {
			require.Fail(t, "out of order", "%v behind %v", l, before)
		}
		last[k] = l
		who := p.holder(l.name, l.position)
		require.NotNil(t, who, "%v: of nobody", l)
		if l.what != callDisable {
			if before := lastOf[who]; before.life == l.life {
				require.GreaterOrEqual(t, l.position, before.position, "%v behind %v", l, before)
			}
			lastOf[who] = l
		}
		d := all[who]
		if d == nil {
			d = &doing{events: make(map[uint64]bool)}
			all[who] = d
		}
		if l.what == callEvent {
			d.events[l.position] = true
			continue
		}
		d.told = max(d.told, l.position)
	}
	return all
}

type doing struct {
	events map[uint64]bool
	told   uint64 // position of the last event that was known to another call
}

// checkDone checks that an event is done with, when that was saved for all up to a position.
func (p *past) checkDone(t *testing.T, all map[*lineage]*doing, n, upTo uint64) {
	t.Helper()
	l, e := p.of[n-1], p.events[n-1]
	if l == nil || e.Action == notifications.ActionPull || p.untold[l] {
		return
	}
	d := all[l]
	if d != nil && (d.events[n] || d.told >= n) {
		return
	}
	// What is undone before anybody was told, nobody is told: that may be by a rename that
	// was loaded, and has still to be done with.
	if l.end > 0 && l.end <= p.written {
		return
	}
	require.Fail(t, "saved as done", "%d (%s %s) of %d: %+v", n, e.Action, e.Target.Repository, upTo, d)
}

// checkEnd checks that every repository has what was prepared for it.
func (p *past) checkEnd(t *testing.T) {
	t.Helper()
	at := make(map[string]int) // what is prepared, by number
	owner := make(map[int]*lineage)
	number := 0
	for i, l := range p.lines {
		switch l.what {
		case callInit:
			require.Zero(t, at[l.name], "%v", l)
			number++
			at[l.name] = number
		case callMove:
			at[l.to] = at[l.name]
			delete(at, l.name)
		case callEnable, callEvent, callFreeze, callUnfreeze:
			who := p.holder(l.name, l.position)
			if e := p.events[l.position-1]; e.Action == notifications.ActionDelete && e.Target.Type == notifications.TypeRepository {
				delete(owner, at[l.name]) // whoever comes next may have it
				continue
			}
			require.NotZero(t, at[l.name], "line %d: %v: nothing is prepared", i+1, l)
			if o := owner[at[l.name]]; o != nil && o != who && (o.end == 0 || o.end > l.position) {
				require.Fail(t, "what was prepared is another's", "line %d: %v", i+1, l)
			}
			owner[at[l.name]] = who
		}
	}
}
