package notifications

import (
	"maps"
	"sync"
)

// Why events were dropped, as Metrics.Dropped has it.
const (
	DroppedOverflow   = "overflow"    // the log had no room for them any more
	DroppedClosed     = "closed"      // a hub in memory was closed before they were delivered
	DroppedRemoved    = "removed"     // the sink was taken out of the hub
	DroppedSinkClosed = "sink closed" // the sink said that it is closed and left the hub
	DroppedDamaged    = "damaged"     // the disk did not give back what was written
	DroppedExpired    = "expired"     // they were older than the log keeps them
	DroppedSkipped    = "skipped"     // an operator moved the sink's cursor on
)

// Metrics says what became of the events that one sink was given. At every moment
//
//	Accepted = Delivered + Pending + Filtered + DeadLettered + the sum of Dropped
type Metrics struct {
	// Accepted counts events whose Write returned nil.
	Accepted uint64
	// Delivered counts events that the receiver accepted.
	Delivered uint64
	// Pending is how many are still to be settled.
	Pending uint64
	// Filtered counts events that the configuration keeps from this sink.
	Filtered uint64
	// DeadLettered counts events that were given up and put in the dead letters.
	DeadLettered uint64
	// Dropped counts events that were lost, by reason.
	Dropped map[string]uint64
	// Rejected counts events whose Write returned an error. They are not among the
	// accepted.
	Rejected uint64
}

// account keeps the Metrics of one sink. Its lock is held to settle a block and to
// read, so that the terms always add up.
type account struct {
	mu       sync.Mutex // guards all of it
	feeds    map[*feed]struct{}
	accepted uint64 // not counting those of feeds
	kept     uint64 // pending in a log that outlives its feed
	settled  outcome
	dropped  reasons
	rejected uint64

	// What httpSink saw.
	failures uint64
	errors   uint64
	statuses map[int]uint64
}

// feed is one way by which events reach the sink: a cursor in a hub's log.
type feed struct {
	account *account
	cursor  Cursor
	before  Lag // in earlier lives of the cursor
	settled uint64
	ended   bool
}

// open starts to count what a cursor brings.
func (a *account) open(c Cursor) *feed {
	a.mu.Lock()
	defer a.mu.Unlock()
	lag := c.Lag()
	f := &feed{account: a, cursor: c, before: Lag{Rejected: lag.Rejected, Dropped: maps.Clone(lag.Dropped)}}
	f.before.Accepted = lag.Accepted - lag.Pending
	if a.feeds == nil {
		a.feeds = make(map[*feed]struct{})
	}
	a.feeds[f] = struct{}{}
	return f
}

// settle moves the cursor past what was settled. Whatever comes back after the end
// was dropped then, and is not counted again.
func (f *feed) settle(out outcome) {
	f.account.mu.Lock()
	defer f.account.mu.Unlock()
	if f.ended {
		return
	}
	n := out.settled()
	f.settled += uint64(n)
	f.account.settled.add(out)
	f.cursor.Settle(n)
}

// end closes the cursor and returns how many events were lost with it.
func (f *feed) end(reason string) (lost uint64) {
	a := f.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.ended {
		return 0
	}
	f.ended = true
	_, overflow := f.lag()
	_ = f.cursor.Close() // what Lag says now is all that matters
	lag, dropped := f.lag()
	lost = dropped - overflow
	for why, n := range lag.Dropped {
		a.dropped.add(why, n)
	}

	// From here on these are the account's own.
	delete(a.feeds, f)
	a.accepted += lag.Accepted
	a.rejected += lag.Rejected
	a.dropped.add(DroppedOverflow, overflow)
	a.dropped.add(reason, lost)
	a.kept += lag.Pending
	return lost
}

func (f *feed) hasEnded() bool {
	f.account.mu.Lock()
	defer f.account.mu.Unlock()
	return f.ended
}

// lag returns the counts of this life, and how many events the log has dropped for
// another reason than it says.
func (f *feed) lag() (lag Lag, dropped uint64) {
	lag = f.cursor.Lag()
	lag.Accepted -= f.before.Accepted
	lag.Rejected -= f.before.Rejected
	dropped = lag.Accepted - lag.Pending - f.settled
	lag.Dropped = maps.Clone(lag.Dropped)
	for why, n := range f.before.Dropped {
		lag.Dropped[why] -= n
	}
	for _, n := range lag.Dropped {
		dropped -= n
	}
	return lag, dropped
}

// reasons counts events by the reason why they were dropped.
type reasons map[string]uint64

func (r *reasons) add(reason string, n uint64) {
	if n == 0 {
		return
	}
	if *r == nil {
		*r = make(reasons)
	}
	(*r)[reason] += n
}

// direct counts events that came by no hub and were settled while their writer
// waited.
func (a *account) direct(out outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accepted += uint64(out.settled())
	a.settled.add(out)
}

func (a *account) reject(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rejected += uint64(n)
}

// attempted counts one POST by the status that the receiver answered, or zero.
func (a *account) attempted(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case status == 0:
		a.errors++
		return
	case status/100 != 2:
		a.failures++
	}
	if a.statuses == nil {
		a.statuses = make(map[int]uint64)
	}
	a.statuses[status]++
}

func (a *account) metrics() Metrics {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.locked()
}

func (a *account) locked() Metrics {
	m := Metrics{
		Accepted:     a.accepted,
		Delivered:    uint64(a.settled.delivered),
		Filtered:     uint64(a.settled.filtered),
		DeadLettered: uint64(a.settled.deadLettered),
		Dropped:      maps.Clone(a.dropped),
		Rejected:     a.rejected,
		Pending:      a.kept,
	}
	for f := range a.feeds {
		lag, dropped := f.lag()
		m.Accepted += lag.Accepted
		m.Pending += lag.Pending
		m.Rejected += lag.Rejected
		all := (*reasons)(&m.Dropped)
		all.add(DroppedOverflow, dropped)
		for why, n := range lag.Dropped {
			all.add(why, n)
		}
	}
	return m
}

// EndpointMetrics is what an Endpoint knows about itself, at one moment.
type EndpointMetrics struct {
	Metrics

	// Failures counts POSTs that the receiver answered with anything but success.
	Failures uint64
	// Errors counts POSTs that got no answer.
	Errors uint64
	// Statuses counts the answers, by status line: "200 OK".
	Statuses map[string]uint64
	// State is whether the endpoint delivers, and if not, why.
	State State
}

func (a *account) endpointMetrics() EndpointMetrics {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := EndpointMetrics{Metrics: a.locked(), Failures: a.failures, Errors: a.errors}
	if len(a.statuses) > 0 {
		m.Statuses = make(map[string]uint64, len(a.statuses))
	}
	for status, n := range a.statuses {
		m.Statuses[statusLine(status)] = n
	}
	return m
}
