package notifications

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// ReasonExpired is why a dead letter was given up that was not refused: MaxAttempts
// or MaxAge was over. The other reason is ReasonRefused.
const ReasonExpired = "expired"

// DeadLetter is an event that an endpoint has given up.
type DeadLetter struct {
	// Event is what could not be delivered. It keeps its ID when it is replayed.
	Event *Event `json:"event"`
	// Endpoint is who gave it up.
	Endpoint string `json:"endpoint"`
	// Reason is ReasonRefused or ReasonExpired.
	Reason string `json:"reason"`
	// Status is the receiver's last answer, or zero.
	Status int `json:"status,omitempty"`
	// Attempts is how often it was tried, from First to Last.
	Attempts int       `json:"attempts"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	// Error is what went wrong last, without secrets, and Answer a piece of what the
	// receiver said, at most 512 bytes of printable text.
	Error  string `json:"error,omitempty"`
	Answer string `json:"answer,omitempty"`
}

// DeadLetterSink keeps what could not be delivered.
type DeadLetterSink interface {
	// Put keeps a letter. Only when it returns nil is the event settled; after an error
	// it is put again. It may be called by several goroutines at once, and returns when
	// ctx ends.
	Put(ctx context.Context, letter DeadLetter) error
}

// DeadLetterStore is a DeadLetterSink whose letters can be taken out again.
type DeadLetterStore interface {
	DeadLetterSink

	// Take calls give with each letter that matches, oldest first, and forgets those
	// for which it returns nil. It ends at the first error of give's, and returns it.
	Take(ctx context.Context, match func(*DeadLetter) bool, give func(*DeadLetter) error) error
}

// DeadLetters keeps the newest dead letters in memory. Each is one line in the log.
type DeadLetters struct {
	most   int
	log    *logrus.Entry
	taking turn // held by Take, so that no letter is given twice

	mu      sync.Mutex // guards the rest
	letters []*DeadLetter
	put     uint64
	lost    uint64
}

var _ DeadLetterStore = (*DeadLetters)(nil)

// NewDeadLetters returns an empty store of at most that many letters; zero or less
// means 1000. Without a logger it logs to logrus's standard logger.
func NewDeadLetters(most int, log *logrus.Entry) *DeadLetters {
	if most <= 0 {
		most = 1000
	}
	return &DeadLetters{most: most, log: orStandardLogger(log), taking: newTurn()}
}

// Put keeps a letter, and forgets the oldest one if there are too many.
func (d *DeadLetters) Put(_ context.Context, letter DeadLetter) error {
	if letter.Event == nil {
		return ErrNilEvent
	}
	d.mu.Lock()
	d.put++
	if len(d.letters) == d.most {
		d.letters = slices.Delete(d.letters, 0, 1)
		d.lost++
	}
	d.letters = append(d.letters, &letter)
	d.mu.Unlock()

	d.log.WithFields(letter.fields()).Error("notifications: event is a dead letter")
	return nil
}

func (l *DeadLetter) fields() logrus.Fields {
	return logrus.Fields{
		"endpoint": l.Endpoint, "event.id": l.Event.ID, "action": l.Event.Action,
		"repository": l.Event.Target.Repository, "http.request.id": l.Event.Request.ID,
		"reason": l.Reason, "status": l.Status, "attempts": l.Attempts, "answer": l.Answer,
	}
}

// Count returns how many letters were put ever, and how many of them had to make room
// for newer ones.
func (d *DeadLetters) Count() (put, lost uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.put, d.lost
}

// Letters returns what is there, oldest first.
func (d *DeadLetters) Letters() []DeadLetter {
	d.mu.Lock()
	defer d.mu.Unlock()
	letters := make([]DeadLetter, len(d.letters))
	for i, l := range d.letters {
		letters[i] = *l
	}
	return letters
}

// Take takes letters out: see DeadLetterStore.
func (d *DeadLetters) Take(ctx context.Context, match func(*DeadLetter) bool, give func(*DeadLetter) error) error {
	if err := d.taking.take(ctx); err != nil {
		return err
	}
	defer d.taking.give()
	d.mu.Lock()
	letters := slices.Clone(d.letters)
	d.mu.Unlock()
	for _, l := range letters {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !match(l) {
			continue
		}
		if err := give(l); err != nil {
			return err
		}
		d.forget(l)
	}
	return nil
}

func (d *DeadLetters) forget(l *DeadLetter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.letters, l); i >= 0 {
		d.letters = slices.Delete(d.letters, i, i+1)
	}
}

// ReplayFilter says which dead letters to send again. The zero value means all.
type ReplayFilter struct {
	// IDs are the IDs of the events. None means any.
	IDs []string
	// Since and Until bound DeadLetter.Last: not before Since, and before Until. Zero
	// means no bound.
	Since, Until time.Time
	// Rate is how many events a second are sent again. Zero means 100.
	Rate int
}

func (f *ReplayFilter) matches(endpoint string, l *DeadLetter) bool {
	return l.Endpoint == endpoint &&
		(len(f.IDs) == 0 || slices.Contains(f.IDs, l.Event.ID)) &&
		!l.Last.Before(f.Since) &&
		(f.Until.IsZero() || l.Last.Before(f.Until))
}

// Replay sends the endpoint's dead letters again, with their old IDs, and returns how
// many. They count as accepted anew, and go through the endpoint's own queue: their
// order among what a hub delivers is open. A letter leaves the store when the queue
// has it, and comes back if it is given up again.
//
// It returns an error if the endpoint's DeadLetters is not a DeadLetterStore.
func (e *Endpoint) Replay(ctx context.Context, filter ReplayFilter) (replayed int, err error) {
	store, ok := e.retry.deadLetters().(DeadLetterStore)
	if !ok {
		return 0, fmt.Errorf("notifications: endpoint %q: its dead letters cannot be taken out again", e.name)
	}
	if filter.Rate < 0 {
		return 0, fmt.Errorf("notifications: endpoint %q: replay: %w", e.name, wrong("rate", "%d: allowed are zero, for the default, and above", filter.Rate))
	}
	if filter.Rate == 0 {
		filter.Rate = 100
	}
	pace := time.Second / time.Duration(filter.Rate)

	match := func(l *DeadLetter) bool { return filter.matches(e.name, l) }
	err = store.Take(ctx, match, func(l *DeadLetter) error {
		if replayed > 0 {
			if err := sleep(ctx, pace); err != nil {
				return err
			}
		}
		if err := e.Write(ctx, l.Event); err != nil {
			return err
		}
		replayed++
		return nil
	})
	return replayed, err
}
