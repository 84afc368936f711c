package notifications

import (
	"errors"
	"time"
)

// record is what is known of the attempts on an event or a block.
type record struct {
	attempts    int
	first, last time.Time
	err         error
}

func (r *record) add(err error) {
	r.last, r.err = time.Now(), err
	if r.attempts == 0 {
		r.first = r.last
	}
	r.attempts++
}

func (r *record) letter(e *Event, name, reason string) DeadLetter {
	l := DeadLetter{Event: e.detached(), Endpoint: name, Reason: reason, Attempts: r.attempts, First: r.first, Last: r.last}
	if r.err != nil {
		l.Error = r.err.Error()
	}
	if d := (*DeliveryError)(nil); errors.As(r.err, &d) {
		l.Status, l.Answer = d.Status, d.Answer
	}
	return l
}
