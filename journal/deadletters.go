package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
)

// letterBytes bounds the dead letters of a journal; the oldest make room. They should be
// few: somebody has to look at each.
const letterBytes = 1 << 30

// DeadLetters keeps dead letters in a log of their own, which is always synced. Each is
// one line in the program's log. Its methods may be called at once from several
// goroutines.
type DeadLetters struct {
	log    *log
	logger *logrus.Entry
	taking chan struct{} // has room for whoever takes, so that no letter is given twice

	mu      sync.Mutex // guards the rest
	putting int        // letters that are on their way
	live    []uint64   // positions of the letters that are still there, in order
}

var _ notifications.DeadLetterStore = (*DeadLetters)(nil)

// letterJSON is a record: a letter, or that one was taken out.
type letterJSON struct {
	Letter *notifications.DeadLetter `json:"letter,omitempty"`
	Taken  uint64                    `json:"taken,omitempty"`
}

// isLetter is how a record begins that is a letter.
var isLetter = []byte(`{"letter":`)

// livePlace is the name of the place before the oldest letter that is still there.
const livePlace = "live"

func openDeadLetters(fs fileSystem, dir string, logger *logrus.Entry) (*DeadLetters, error) {
	if err := fs.MakeDir(dir); err != nil {
		return nil, err
	}
	config := Config{
		Start: Beginning, Logger: logger, SegmentBytes: 1 << 20,
		MaxBytes: letterBytes, Overflow: notifications.DropOldest,
	}
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	l, err := openLog(dir, fs, config)
	if err != nil {
		return nil, err
	}
	d := &DeadLetters{log: l, logger: logger, taking: make(chan struct{}, 1)}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return d, nil
}

// load finds out which letters are still there.
func (d *DeadLetters) load() error {
	taken := make(map[uint64]bool)
	d.log.mu.Lock()
	first := d.log.first()
	p := d.log.named[livePlace]
	if p == nil {
		p = &place{position: first - 1}
		d.log.named[livePlace] = p
	}
	after := max(p.position, first-1)
	d.log.mu.Unlock()
	err := d.scanRaw(context.Background(), after, func(rec record) error {
		var r letterJSON
		if bytes.HasPrefix(rec.payload, isLetter) {
			d.live = append(d.live, rec.position) // without a look at the rest: there may be many
			return nil
		}
		if json.Unmarshal(rec.payload, &r) != nil {
			d.log.report(Span{rec.position, rec.position})
		}
		taken[r.Taken] = true
		return nil
	})
	d.live = slices.DeleteFunc(d.live, func(p uint64) bool { return taken[p] })
	d.moved()
	return err
}

// scan calls f with each record behind a position.
func (d *DeadLetters) scan(ctx context.Context, after uint64, f func(uint64, letterJSON) error) error {
	return d.scanRaw(ctx, after, func(rec record) error {
		var l letterJSON
		if err := json.Unmarshal(rec.payload, &l); err != nil {
			d.log.report(Span{rec.position, rec.position})
			return nil
		}
		return f(rec.position, l)
	})
}

func (d *DeadLetters) scanRaw(ctx context.Context, after uint64, f func(record) error) error {
	d.log.mu.Lock()
	last := d.log.last
	d.log.mu.Unlock()
	r := d.log.readerAt(after)
	defer r.close()
	out := make([]record, 64)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, lost, err := r.read(out, last)
		if err != nil {
			return err
		}
		d.log.report(lost)
		for _, rec := range out[:n] {
			if err := f(rec); err != nil {
				return err
			}
		}
		if n == 0 && lost.Len() == 0 {
			return nil
		}
	}
}

// Put keeps a letter, which is on disk when it returns nil.
func (d *DeadLetters) Put(ctx context.Context, letter notifications.DeadLetter) error {
	if letter.Event == nil {
		return notifications.ErrNilEvent
	}
	d.mu.Lock()
	d.putting++
	d.mu.Unlock()
	position, err := d.put(ctx, letterJSON{Letter: &letter})
	d.mu.Lock()
	d.putting--
	if err == nil {
		at, _ := slices.BinarySearch(d.live, position)
		d.live = slices.Insert(d.live, at, position)
	}
	d.moved()
	d.mu.Unlock()
	if err != nil {
		return err
	}
	e := letter.Event
	d.logger.WithFields(logrus.Fields{
		"endpoint": letter.Endpoint, "event.id": e.ID, "action": e.Action, "repository": e.Target.Repository,
		"reason": letter.Reason, "status": letter.Status, "attempts": letter.Attempts, "answer": letter.Answer,
	}).Error("notifications: event is a dead letter")
	return nil
}

func (d *DeadLetters) put(ctx context.Context, l letterJSON) (position uint64, err error) {
	var payload bytes.Buffer
	encoder := json.NewEncoder(&payload)
	encoder.SetEscapeHTML(false) // a letter is hardly longer than its event
	if err := encoder.Encode(l); err != nil {
		return 0, err
	}
	position, err = d.log.appendOne(ctx, payload.Bytes())
	return position, closedAs(err)
}

// Count returns how many letters there are.
func (d *DeadLetters) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.live)
}

// Take takes letters out: see notifications.DeadLetterStore. That one was taken is on
// disk before the next is given; after a crash in between it is given again.
func (d *DeadLetters) Take(ctx context.Context, match func(*notifications.DeadLetter) bool, give func(*notifications.DeadLetter) error) error {
	select {
	case d.taking <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-d.taking }()
	if err := d.log.alive(); err != nil {
		return closedAs(err) // or what is given could not be taken out
	}

	d.mu.Lock()
	live := slices.Clone(d.live)
	d.mu.Unlock()
	if len(live) == 0 {
		return nil
	}
	return d.scan(ctx, live[0]-1, func(position uint64, r letterJSON) error {
		if _, is := slices.BinarySearch(live, position); !is || r.Letter == nil || !match(r.Letter) {
			return nil
		}
		if err := give(r.Letter); err != nil {
			return err
		}
		if _, err := d.put(context.WithoutCancel(ctx), letterJSON{Taken: position}); err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if at, is := slices.BinarySearch(d.live, position); is {
			d.live = slices.Delete(d.live, at, at+1)
		}
		d.moved()
		return nil
	})
}

// moved moves the place, so that segments with nothing but taken letters go. The caller
// holds the lock.
func (d *DeadLetters) moved() {
	if d.putting > 0 {
		return // one that is on disk may not be among the live yet
	}
	l := d.log
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.named[livePlace]
	if first := l.first(); first > 1 {
		// The oldest may have had to make room.
		at, _ := slices.BinarySearch(d.live, first)
		d.live = slices.Delete(d.live, 0, at)
	}
	if len(d.live) > 0 {
		p.position = d.live[0] - 1
	} else {
		p.position = l.last
	}
	l.changed()
}

func (d *DeadLetters) close() error { return d.log.close() }
