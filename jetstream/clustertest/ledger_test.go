package clustertest

import (
	"fmt"
	"strings"
	"sync"

	"github.com/registry-notifications/notifications"
)

// ledger knows what was written and what came of it, for each repository. Its methods may be
// called at once from several goroutines.
type ledger struct {
	mu        sync.Mutex // guards the rest
	histories map[string]*history
	made      int
	firsts    int // deliveries that were the first of their events
	repeats   []repeat
	wrong     []string
}

// history is what became of one repository. Its events are numbered from one.
type history struct {
	ids       []string  // of each event
	positions []uint64  // in the stream, of those that were read there
	by        []*worker // who has delivered each event last; nil: nobody has
	last      int       // what was delivered last
}

// repeat is an event that was delivered once more.
type repeat struct {
	repository string
	number     int
	before     *worker // by whom it was delivered before
}

func newLedger() *ledger { return &ledger{histories: make(map[string]*history)} }

// history returns the one of a repository. The caller holds the lock.
func (l *ledger) history(repository string) *history {
	h := l.histories[repository]
	if h == nil {
		h = new(history)
		l.histories[repository] = h
	}
	return h
}

func (l *ledger) accuse(format string, args ...any) {
	if len(l.wrong) < 50 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

// next makes the next event of a repository, which has one writer.
func (l *ledger) next(repository string) *notifications.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.history(repository)
	e := notifications.NewEvent(notifications.ActionPush)
	h.ids = append(h.ids, e.ID)
	e.Target.Type, e.Target.Repository, e.Target.Tag = notifications.TypeManifest, repository, fmt.Sprint("v", len(h.ids))
	l.made++
	return e
}

// find returns which event this is, or false if it is not one that was made. The caller holds
// the lock.
func (l *ledger) find(e *notifications.Event) (h *history, number int, ok bool) {
	h = l.history(e.Target.Repository)
	if _, err := fmt.Sscanf(e.Target.Tag, "v%d", &number); err != nil || number < 1 || number > len(h.ids) || h.ids[number-1] != e.ID {
		l.accuse("%s %s comes with the ID %s, and was not written with it", e.Target.Repository, e.Target.Tag, e.ID)
		return nil, 0, false
	}
	return h, number, true
}

// delivered takes what a worker's sink was given. What comes for the first time comes in
// order; what comes once more comes from some place on, up to what is new.
func (l *ledger) delivered(by *worker, events []*notifications.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		h, n, ok := l.find(e)
		if !ok {
			continue
		}
		if n > h.last+1 {
			l.accuse("%s: %d is delivered behind %d, by %s", e.Target.Repository, n, h.last, by)
		}
		h.last = n
		for len(h.by) < n {
			h.by = append(h.by, nil)
		}
		if before := h.by[n-1]; before == nil {
			l.firsts++
		} else {
			l.repeats = append(l.repeats, repeat{e.Target.Repository, n, before})
		}
		h.by[n-1] = by
	}
}

// stored takes what is in the stream, from where it was read before.
func (l *ledger) stored(records []notifications.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		h, n, ok := l.find(r.Event)
		if !ok {
			continue
		}
		if want := len(h.positions) + 1; n != want {
			l.accuse("%s: the stream has %d at position %d, where %d comes next", r.Event.Target.Repository, n, r.Position, want)
			continue
		}
		h.positions = append(h.positions, r.Position)
	}
}

func (l *ledger) count() (made, firsts int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made, l.firsts
}

// missing says what was not delivered, and what else is wrong.
func (l *ledger) missing() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	what := l.wrong
	for name, h := range l.histories {
		for n, id := range h.ids {
			if n >= len(h.by) || h.by[n] == nil {
				what = append(what, fmt.Sprintf("%s: %d of %d was not delivered (%s)", name, n+1, len(h.ids), id))
				break
			}
		}
	}
	return strings.Join(what, "\n")
}

// close ends a round: it returns what was wrong, and what came once more. An event may come
// once more if the servers did not have its acknowledgement when the fault struck, and who had
// delivered it was struck, or a server that had it.
func (l *ledger) close(excused func(r repeat, position uint64) bool) (wrong []string, repeats int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, h := range l.histories {
		if len(h.positions) != len(h.ids) {
			l.accuse("%s: %d events were written, and the stream has %d", name, len(h.ids), len(h.positions))
		}
	}
	for _, r := range l.repeats {
		h := l.histories[r.repository]
		if r.number > len(h.positions) {
			continue // which is wrong already
		}
		if position := h.positions[r.number-1]; !excused(r, position) {
			l.accuse("%s: %d, at position %d, came once more, which %s had delivered", r.repository, r.number, position, r.before)
		}
	}
	wrong, repeats = l.wrong, len(l.repeats)
	l.wrong, l.repeats = nil, nil
	return wrong, repeats
}
