package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// world is a journal that crashes again and again, and all that was seen of it from
// outside.
type world struct {
	seed   uint64
	random *rand.Rand
	config Config
	blocks int  // that a writer writes in a life, about
	every  bool // before every operation there is a crash, and not at some
	kills  bool // the power never fails, only the process ends
	faults int  // of a thousand operations on the disk

	mu       sync.Mutex // guards the rest
	payloads map[string][]byte
	mates    map[string][]string // by ID: the IDs of the block that the event is in
	seen     seen
}

// seen is what had happened up to a moment.
type seen struct {
	accepted  []string              // IDs of the events whose Write had returned nil
	delivered map[string][][]string // IDs by sink, block by block
}

// crash is the moment of a crash, and what it leaves.
type crash struct {
	fs     *crashFS
	seen   seen
	name   string
	killed bool // and no power cut
}

var crashSinks = []string{"fast", "slow"}

func newWorld(seed uint64) *world {
	return &world{
		seed: seed, random: rand.New(rand.NewPCG(seed, 0)), config: durable(), blocks: 20,
		payloads: make(map[string][]byte), mates: make(map[string][]string), seen: seen{delivered: make(map[string][][]string)},
	}
}

// copied returns what was seen, to which no more is added. The caller holds the lock.
func (s *seen) copied() seen {
	c := seen{accepted: slices.Clip(s.accepted), delivered: make(map[string][][]string)}
	for name, blocks := range s.delivered {
		c.delivered[name] = slices.Clip(blocks)
	}
	return c
}

// crashSink notes what it gets, and tells when it gets one event.
type crashSink struct {
	note func(ids []string)
	held <-chan struct{} // nil: not
	last string
	done chan struct{}
}

func (s *crashSink) Write(ctx context.Context, events ...*notifications.Event) error {
	if s.held != nil {
		select {
		case <-s.held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	s.note(ids)
	if s.done != nil && slices.Contains(ids, s.last) {
		close(s.done)
	}
	return nil
}

func (*crashSink) Close(context.Context) error { return nil }

// live runs a journal on a file system until its writers are done and it is closed. The
// crashes are at moments by chance.
func (w *world) live(life int, fs *crashFS) (crashes []crash, err error) {
	const most = 16 // crashes by chance
	operations := 0
	fs.between = func() {
		operations++
		if !w.every && (len(crashes) == most || fs.rand.IntN(10) > 0) {
			return
		}
		w.mu.Lock()
		seen := w.seen.copied()
		w.mu.Unlock()
		random := rand.New(rand.NewPCG(fs.rand.Uint64(), 0))
		c := crash{seen: seen, name: fmt.Sprintf("seed %d, life %d, before operation %d", w.seed, life, operations)}
		// Not both in one world: what a failed sync has left in memory only, a process that
		// comes next reads as if it were on disk, and nobody can tell.
		if w.kills || !w.every && w.faults == 0 && random.IntN(4) == 0 {
			c.fs, c.name, c.killed = fs.killed(random), c.name+", process killed", true
		} else {
			c.fs, c.name = fs.cut(random), c.name+", power cut"
		}
		crashes = append(crashes, c)
	}
	j, err := openOn(fs, memDir, w.config)
	if err != nil {
		return nil, err
	}
	held := make(chan struct{})
	for _, name := range crashSinks {
		s := &crashSink{note: func(ids []string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen.delivered[name] = append(w.seen.delivered[name], ids)
		}}
		if name == "slow" && w.random.IntN(2) == 0 {
			s.held = held
		}
		if err := j.Add(name, s); err != nil {
			return nil, err
		}
	}
	fs.mu.Lock()
	fs.failing = w.faults
	fs.mu.Unlock()
	var wg sync.WaitGroup
	for writer := range 2 {
		random := rand.New(rand.NewPCG(w.random.Uint64(), 0))
		wg.Go(func() {
			for n := range w.blocks/2 + random.IntN(w.blocks) {
				w.write(j, random, fmt.Sprintf("%d.%d.%d", life, writer, n))
			}
		})
	}
	wg.Wait()
	close(held)
	_ = j.Close(context.Background()) // the disk may fail
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.between = nil
	return crashes, nil
}

// write writes a block of 1 to 5 events, most of them small, some over sectors, and a few
// over a segment.
func (w *world) write(j *Journal, random *rand.Rand, name string) {
	events := make([]*notifications.Event, 1+random.IntN(5))
	ids := make([]string, len(events))
	sizes := []int{50, 300, 5000}
	if random.IntN(40) == 0 {
		sizes = []int{minSegment}
	}
	for i := range events {
		e := notifications.NewEvent(notifications.ActionPush)
		e.ID = fmt.Sprintf("%s-%d", name, i)
		e.Target.URL = strings.Repeat(string(rune('a'+random.IntN(26))), random.IntN(sizes[random.IntN(len(sizes))]))
		events[i], ids[i] = e, e.ID
	}
	w.mu.Lock()
	for _, e := range events {
		w.payloads[e.ID], _ = e.AppendJSON(nil)
		w.mates[e.ID] = ids
	}
	w.mu.Unlock()
	if j.Write(context.Background(), events...) == nil {
		w.mu.Lock()
		w.seen.accepted = append(w.seen.accepted, ids...)
		w.mu.Unlock()
	}
}

// known returns the ID of the event that a record has, if it is one that was written.
func (w *world) known(payload []byte) (id string, ok bool) {
	_, rest, _ := bytes.Cut(payload, []byte(`"id":"`))
	before, _, _ := bytes.Cut(rest, []byte(`"`))
	id = string(before)
	w.mu.Lock()
	defer w.mu.Unlock()
	want, ok := w.payloads[id]
	return id, ok && bytes.Equal(payload, want)
}

// verdict is what is wrong with what came out after a crash.
type verdict struct {
	wrong   []string
	missing int // events that were accepted
}

func (v *verdict) add(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// check opens a journal on what a crash has left, and compares what comes out with what
// had been promised. damaged is an event that may be gone, if that is said.
func (w *world) check(c crash, damaged string) (v verdict) {
	logger, hook := logrustest.NewNullLogger()
	logger.SetLevel(logrus.ErrorLevel)
	config := w.config
	config.Logger = logrus.NewEntry(logger)
	j, err := openOn(c.fs, memDir, config)
	if err != nil {
		v.add("open: %v", err)
		return v
	}
	defer func() {
		if err := j.Close(context.Background()); err != nil {
			v.add("close: %v", err)
		}
	}()

	// The log, as far as somebody has still to get it: nothing but what was written, each
	// once, in a row.
	stat := j.Stat()
	cursors := stat.Cursors
	first := stat.Last
	for _, name := range crashSinks {
		if _, ok := cursors[name]; !ok {
			cursors[name] = CursorStats{Position: stat.Last} // the end
		}
		first = min(first, cursors[name].Position)
	}
	if first++; first < stat.First {
		v.add("a cursor is at %d, and the first record is %d", first-1, stat.First)
		return v
	}
	ids, lost := w.readAll(j, &v, first)
	if len(v.wrong) > 0 {
		return v
	}
	position := make(map[string]uint64, len(ids))
	for p, id := range ids {
		if id != "" {
			if position[id] != 0 {
				v.add("event %s is there twice, at %d and %d", id, position[id], first+uint64(p))
			}
			position[id] = first + uint64(p)
		}
	}
	if len(lost) > 1 || len(lost) == 1 && (damaged == "" || lost[0].Len() > 1) {
		v.add("records %v are reported as damaged: want the one of %q", lost, damaged)
	}
	if position[damaged] > 0 {
		v.add("event %s is damaged and is there", damaged)
	}

	// The sinks: each from its cursor on, which is not past what it has not had.
	const marker = "marker"
	sinks := make(map[string]*crashSink)
	now := make(map[string][]string)
	var mu sync.Mutex
	for _, name := range crashSinks {
		s := &crashSink{last: marker, done: make(chan struct{}), note: func(ids []string) {
			mu.Lock()
			defer mu.Unlock()
			now[name] = append(now[name], ids...)
		}}
		sinks[name] = s
		if err := j.Add(name, s); err != nil {
			v.add("add: %v", err)
			return v
		}
	}
	e := notifications.NewEvent(notifications.ActionPush)
	e.ID = marker
	if err := j.Write(context.Background(), e); err != nil {
		v.add("write: %v", err)
		return v
	}
	for name, s := range sinks {
		select {
		case <-s.done:
		case <-time.After(20 * time.Second):
			v.add("%s: stuck", name)
			return v
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, name := range crashSinks {
		had := make(map[string]bool)
		for _, block := range c.seen.delivered[name] {
			for _, id := range block {
				had[id] = true
			}
		}
		w.checkSink(&v, name, c, sinkState{ids: ids, first: first, cursor: cursors[name].Position, had: had, now: now[name], damaged: damaged})
	}
	for _, line := range hook.AllEntries() {
		if damaged == "" || line.Message != "journal: records are damaged, and skipped" {
			v.add("%s: %v", line.Message, line.Data)
		}
	}
	return v
}

// readAll returns the IDs of what is in the log from a position on. Where one is damaged,
// the ID is empty.
func (w *world) readAll(j *Journal, v *verdict, first uint64) (ids []string, lost []Span) {
	last := j.Stat().Last
	r := j.log.readerAt(first - 1)
	defer r.close()
	out := make([]record, 100)
	for {
		n, gone, err := r.read(out, last)
		if err != nil {
			v.add("read: %v", err)
		}
		if n == 0 && gone.Len() == 0 {
			return ids, lost
		}
		j.log.report(gone)
		if gone.Len() > 0 {
			ids, lost = append(ids, make([]string, gone.Len())...), append(lost, gone)
		}
		for _, rec := range out[:n] {
			id, ok := w.known(rec.payload)
			if !ok {
				v.add("record %d is not what was written: %.60q", rec.position, rec.payload)
			}
			if want := first + uint64(len(ids)); rec.position != want {
				v.add("record %d where %d comes", rec.position, want)
			}
			ids = append(ids, id)
		}
	}
}

// sinkState is what one sink has had, and gets.
type sinkState struct {
	ids     []string // in the log, from a first position on, which is no sink's past
	first   uint64
	cursor  uint64 // where the sink was when the journal was opened
	had     map[string]bool
	now     []string // what it got then
	damaged string
}

func (w *world) checkSink(v *verdict, name string, c crash, s sinkState) {
	for i, id := range s.ids {
		if s.first+uint64(i) <= s.cursor && id != "" && !s.had[id] {
			v.add("%s: its cursor is at %d, and it has not had %s, at %d", name, s.cursor, id, s.first+uint64(i))
		}
	}
	var want []string
	if behind := s.cursor + 1 - s.first; behind < uint64(len(s.ids)) {
		want = slices.DeleteFunc(slices.Clone(s.ids[behind:]), func(id string) bool { return id == "" })
	}
	if want = append(want, "marker"); !slices.Equal(want, s.now) {
		v.add("%s: got %v: want %v", name, s.now, want)
	}

	// A crash repeats one block at most, where the cursors could be saved.
	if blocks := c.seen.delivered[name]; w.faults == 0 && len(blocks) > 0 {
		last := blocks[len(blocks)-1]
		for _, id := range s.now {
			if s.had[id] && !slices.Contains(last, id) {
				v.add("%s: %s comes again and was not in the last block", name, id)
				break
			}
		}
	}

	got := make(map[string]bool, len(s.now))
	for _, id := range s.now {
		got[id] = true
	}
	for _, id := range c.seen.accepted {
		if !s.had[id] && !got[id] && id != s.damaged {
			v.missing++
			v.add("%s: %s was accepted, and is missing", name, id)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range s.now {
		for _, other := range w.mates[id] {
			if !s.had[other] && !got[other] && other != s.damaged {
				v.add("%s: %s came out, and not %s of the same block", name, id, other)
			}
		}
	}
}

// flip turns one bit in a record that was accepted, and that others were written behind,
// and returns the ID of its event. Empty: there is none.
func (w *world) flip(c crash) (id string) {
	accepted := make(map[string]bool)
	for _, id := range c.seen.accepted {
		accepted[id] = true
	}
	type candidate struct {
		id   string
		data []byte
	}
	var candidates []candidate
	c.fs.segments(memDir, func(salt uint32, data []byte) {
		var all []candidate // of the segment; the newest counts
		var times []int64
		s := newScanner(&memFile{newMemFS(), &memInode{data: data}}, salt, int64(len(data)))
		for {
			f, at, _, err := s.next()
			if err != nil {
				break
			}
			if id, ok := w.known(f.payload); ok && accepted[id] {
				all = append(all, candidate{id, data[at : at+frameHead+int64(len(f.payload))]})
				times = append(times, f.time)
			}
		}
		if len(all) == 0 {
			return
		}
		newest := times[len(times)-1]
		candidates = all[:slices.Index(times, newest)]
	})
	if len(candidates) == 0 {
		return ""
	}
	hit := candidates[c.fs.rand.IntN(len(candidates))]
	hit.data[c.fs.rand.IntN(len(hit.data))] ^= 1 << c.fs.rand.IntN(8)
	return hit.id
}

// forge has every frame that is torn carry the checksum of what is left of it, as if
// there were none.
func forge(c crash) {
	c.fs.segments(memDir, func(salt uint32, data []byte) {
		for at := segmentHead; at+frameHead <= len(data); {
			size := frameHead + int(binary.LittleEndian.Uint32(data[at+8:]))
			if !bytes.Equal(data[at:at+4], marker) || size > len(data)-at {
				at++
				continue
			}
			binary.LittleEndian.PutUint32(data[at+4:], crc32.Update(salt, castagnoli, data[at+8:at+size]))
			at += size
		}
	})
}

// tally is what many crashes have shown.
type tally struct {
	crashes, flips, missing atomic.Int64

	mu    sync.Mutex
	wrong []string // of the first crash that has shown any
}

// run has a world live and crash a few times, and checks what each crash has left. wreck
// does more to that, and returns the ID of what it has damaged.
func (w *world) run(all *tally, enough func() bool, wreck func(crash) (damaged string)) {
	fs := newCrashFS(rand.New(rand.NewPCG(w.seed, 1)))
	for life := range 3 {
		crashes, err := w.live(life, fs)
		if err != nil {
			all.found("seed %d, life %d: %v", w.seed, life, err)
			return
		}
		if len(crashes) == 0 {
			return
		}
		next := crashes[w.random.IntN(len(crashes))]
		if i := slices.IndexFunc(crashes, func(c crash) bool { return c.killed }); i >= 0 && w.random.IntN(2) == 0 {
			next = crashes[i] // what is not durable is still there, for the next to come
		}
		fs = next.fs.killed(next.fs.rand) // a copy, before somebody looks
		for _, c := range crashes {
			if enough() {
				return
			}
			all.look(w, c, wreck(c))
		}
		w.seen = next.seen
	}
}

func (a *tally) look(w *world, c crash, damaged string) {
	v := w.check(c, damaged)
	a.crashes.Add(1)
	a.missing.Add(int64(v.missing))
	if damaged != "" {
		a.flips.Add(1)
	}
	if len(v.wrong) > 0 {
		a.found("%s: %s", c.name, strings.Join(v.wrong[:min(5, len(v.wrong))], "\n"))
	}
}

func (a *tally) found(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
}

func (a *tally) red() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.wrong) > 0
}

// TestCrashes: whatever the moment of a crash, and whatever part of what was not synced it
// leaves, what Write took was delivered or comes out, in order; of a block all or nothing;
// and no cursor is past what its sink has not had. In some, a bit of what was accepted is
// turned as well: then that event is reported, and all others are there.
func TestCrashes(t *testing.T) {
	worlds := 40
	if *long {
		worlds = 800
	}
	first := rand.Uint64N(1 << 32)
	var all tally
	each(t, worlds, func(i int) {
		w := newWorld(first + uint64(i))
		switch i % 6 {
		case 1, 2:
			w.faults = 15
		case 3:
			w.kills, w.config.Sync = true, SyncNone
		case 4:
			w.kills, w.config.Sync = true, SyncInterval
		}
		if i%8 > 0 || w.faults > 0 {
			w.config.Hub.DeadLetters = noLetters{}
		}
		w.run(&all, all.red, func(c crash) string {
			if c.fs.rand.IntN(3) == 0 {
				return w.flip(c)
			}
			return ""
		})
	})
	for _, wrong := range all.wrong {
		t.Error(wrong)
	}
	t.Logf("seeds %d to %d: %d crashes, %d of them with a flipped bit as well, %d events missing",
		first, first+uint64(worlds)-1, all.crashes.Load(), all.flips.Load(), all.missing.Load())
	assert.Greater(t, all.crashes.Load(), int64(worlds*10))
}

// TestCrashAfterKill has the process killed before each operation of a short life, and the
// power cut before each of the next: what the first has left is read, and may not be
// durable yet.
func TestCrashAfterKill(t *testing.T) {
	kills := 40 // a life has about as many operations
	if *long {
		kills = 4000
	}
	first := rand.Uint64N(1 << 32)
	var all tally
	each(t, kills, func(i int) {
		w := newWorld(first + uint64(i))
		w.config.Hub.DeadLetters = noLetters{}
		w.every, w.kills, w.blocks = true, true, 2
		crashes, err := w.live(0, newCrashFS(rand.New(rand.NewPCG(w.seed, 1))))
		if err != nil {
			all.found("seed %d: %v", w.seed, err)
			return
		}
		killed := crashes[i%len(crashes)]
		w.kills, w.seen = false, killed.seen
		crashes, err = w.live(1, killed.fs)
		if err != nil {
			all.found("%s: %v", killed.name, err)
		}
		for _, c := range crashes {
			if !all.red() {
				c.name = killed.name + "; " + c.name
				all.look(w, c, "")
			}
		}
	})
	for _, wrong := range all.wrong {
		t.Error(wrong)
	}
	t.Logf("seeds %d on: %d kills, %d power cuts, %d events missing", first, kills, all.crashes.Load(), all.missing.Load())
}

// TestRecoveredIsDurable: what a process that was killed has left unsynced, and the next one
// found, that one makes durable before anything says that it was acknowledged.
func TestRecoveredIsDurable(t *testing.T) {
	for name, size := range map[string]int{"behind it is room": 3 * sector, "it fills the segment": 8 << 10} {
		t.Run(name, func(t *testing.T) {
			s := &specimen{config: logConfig(t)}
			fs := newCrashFS(rand.New(rand.NewPCG(1, uint64(size))))
			config := s.config
			config.unsynced = true
			l, err := openLog(memDir, fs, config)
			require.NoError(t, err)
			const block = 3
			require.NoError(t, l.append(t.Context(), block, func(i int, b []byte) ([]byte, error) {
				return append(b, bytes.Repeat([]byte{byte('a' + i)}, size/block)...), nil
			}))
			fs.mu.Lock()
			killed := fs.killed(fs.rand)
			fs.mu.Unlock()
			require.NoError(t, l.close())

			var cuts []*crashFS
			killed.between = func() {
				for range 10 {
					cuts = append(cuts, killed.cut(killed.rand))
				}
			}
			l, err = openLog(memDir, killed, s.config)
			require.NoError(t, err)
			position, err := l.appendOne(t.Context(), []byte("after"))
			require.NoError(t, err)
			require.EqualValues(t, block+1, position)
			killed.mu.Lock()
			accepted := len(cuts)
			killed.mu.Unlock()
			require.NoError(t, l.close())

			for i, fs := range cuts {
				f, err := s.read(fs)
				require.NoError(t, err)
				require.Empty(t, f.lost, "power cut %d", i)
				require.Contains(t, []int{0, block, block + 1}, len(f.records), "power cut %d", i)
				if i >= accepted {
					require.Len(t, f.records, block+1)
				}
			}
			t.Logf("%d power cuts", len(cuts))
		})
	}
}

// TestCrashesAreSeen takes away, one at a time, what keeps a crash from doing harm: the
// harm is seen.
func TestCrashesAreSeen(t *testing.T) {
	nothing := func(*world, crash) string { return "" }
	for _, test := range []struct {
		name  string
		take  func(*Config)
		wreck func(*world, crash) string
	}{
		{"the sync of a segment", func(c *Config) { c.unsynced = true }, nothing},
		{"the sync of its entry", func(c *Config) { c.unlinked = true }, nothing},
		{"what frames say of others", func(c *Config) { c.unmarked = true }, (*world).flip},
		{"the checksum", func(*Config) {}, func(_ *world, c crash) string {
			forge(c)
			return ""
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			first := rand.Uint64N(1 << 32)
			var all tally
			each(t, 20, func(i int) {
				w := newWorld(first + uint64(i))
				w.config.Hub.DeadLetters = noLetters{}
				test.take(&w.config)
				w.run(&all, all.red, func(c crash) string { return test.wreck(w, c) })
			})
			if assert.NotEmpty(t, all.wrong, "seeds %d on: %d crashes did no harm", first, all.crashes.Load()) {
				t.Logf("after %d crashes: %.300s", all.crashes.Load(), all.wrong[0])
			}
		})
	}
}
