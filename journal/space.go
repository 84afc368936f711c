package journal

import (
	"fmt"
	"math"
	"time"

	"github.com/registry-notifications/notifications"
)

// space says whether a block of so many bytes fits into the limits: at once, or when the
// channel is closed, or never. With DropOldest it makes room. The caller holds the lock.
func (l *log) space(block int64) (wait <-chan struct{}, err error) {
	why := l.exceeded(block)
	if why == "" {
		l.dropping = false
		return nil, nil
	}
	// What is only retained goes first, if that is what the room is taken by.
	for why == tooMuch && l.behind(0) > 0 {
		l.doom(1)
		if why = l.exceeded(block); why == "" {
			return nil, nil
		}
	}
	if nothing := l.settled() >= l.last && l.open == nil && l.busy == 0; nothing && len(l.segments) <= 1 && block <= l.config.MaxBytes/2 {
		return nil, nil // only the newest segment is left, which goes when there is another
	}
	switch {
	case l.config.MaxBytes > 0 && block > l.config.MaxBytes/2:
		return nil, fmt.Errorf("%w: a block of %d bytes: allowed is half of MaxBytes, %d", notifications.ErrFull, block, l.config.MaxBytes/2)
	case l.config.Overflow == notifications.Block:
		return l.room, nil
	case l.config.Overflow == Reject:
		return nil, fmt.Errorf("%w: journal: %s", notifications.ErrFull, why)
	}
	reason := notifications.DroppedOverflow
	if why == tooOld {
		reason = notifications.DroppedExpired
	}
	for why != "" && len(l.segments) > 1 {
		l.dropOldest(reason)
		why = l.exceeded(block)
	}
	return nil, nil
}

const (
	tooMuch = "maxbytes is reached"
	tooOld  = "what is pending is older than maxage"
)

// exceeded says which limit a block of so many bytes would be over. The caller holds the
// lock.
func (l *log) exceeded(block int64) string {
	if most := l.config.MaxBytes; most > 0 && l.takes(block) > most {
		return tooMuch
	}
	if age := l.config.MaxAge; age > 0 && l.hasPending() {
		if i := l.oldestPending(); i >= 0 && !l.newest(i).IsZero() && l.now().Sub(l.newest(i)) > age {
			return tooOld
		}
	}
	return ""
}

// takes returns how much of the disk is taken with another block. What has no room in the
// newest segment gets a new one. The caller holds the lock.
func (l *log) takes(block int64) (bytes int64) {
	more := block + l.busy
	if l.open != nil {
		more += int64(len(l.open.buf))
	}
	var free int64
	for i, s := range l.segments {
		bytes += s.taken()
		if last := i+1 == len(l.segments); last && !l.isOld(s) {
			free = s.taken() - s.size
		}
	}
	if more > free {
		bytes += max(more, l.config.SegmentBytes) - free
	}
	return bytes
}

// isOld says that a segment is to be ended because it would keep from being forgotten what
// is older than its newest. The caller holds the lock.
func (l *log) isOld(s *segment) bool {
	keep := max(l.config.MaxAge, l.config.Retain)
	return keep > 0 && l.now().Sub(s.begun) > keep/8
}

// hasPending says whether a place is behind. The caller holds the lock.
func (l *log) hasPending() bool { return l.settled() < l.last }

// settled is how far all places have come. The caller holds the lock.
func (l *log) settled() uint64 {
	settled := uint64(math.MaxUint64)
	for _, p := range l.named {
		settled = min(settled, p.position)
	}
	return settled
}

// oldestPending returns the segment of the oldest record that is not settled, or -1. The
// caller holds the lock.
func (l *log) oldestPending() int {
	position := l.settled() + 1
	for i, s := range l.segments {
		if i+1 == len(l.segments) || l.segments[i+1].first > max(position, s.first) {
			return i
		}
	}
	return -1
}

// dropOldest drops the oldest segment from under the cursors that are not past it. What
// is on its way to a sink goes on. The caller holds the lock.
func (l *log) dropOldest(reason string) {
	first := l.segments[1].first
	var most uint64
	for _, p := range l.named {
		if p.cursor != nil {
			most = max(most, p.cursor.jump(first, reason))
		} else if p.position+1 < first {
			most = max(most, first-1-p.position)
			p.position = first - 1
		}
	}
	l.stats.dropped += most
	if !l.dropping && most > 0 {
		l.dropping = true
		l.notes = append(l.notes, func() {
			l.logger.WithField("reason", reason).Error("journal: a limit is reached; the oldest events are dropped")
		})
	}
	l.doom(1)
	l.changed()
}

// doom takes the oldest segments out, which are removed when the places are saved. The
// caller holds the lock.
func (l *log) doom(n int) {
	l.doomed = append(l.doomed, l.segments[:n]...)
	l.segments = l.segments[n:]
	l.damage.forget(l.first())
	l.changed()
}

// newest is when the newest record of a segment was written, or, of one that an earlier
// run has written, a later time: when the next one was begun. The caller holds the lock.
func (l *log) newest(i int) time.Time {
	if l.segments[i].newest.IsZero() && i+1 < len(l.segments) {
		return l.segments[i+1].begun
	}
	return l.segments[i].newest
}
