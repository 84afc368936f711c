package receiver

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
)

// Metrics says what a Receiver has done, at one moment. Of every request that was answered
// by 200, each event is among Events or Duplicates.
type Metrics struct {
	// Answers counts requests by what was answered, as "200 OK".
	Answers map[string]uint64
	// Events counts those that the sink has taken.
	Events uint64
	// Duplicates counts events that were left out, because the sink had taken them before.
	Duplicates uint64
	// InFlight is how many requests are in progress that may take memory: see
	// Config.MaxInFlight.
	InFlight int
}

// Metrics returns the counts.
func (r *Receiver) Metrics() Metrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.metrics
	m.Answers = maps.Clone(m.Answers)
	return m
}

// String returns the counts as JSON, so that a Receiver is an expvar.Var.
func (r *Receiver) String() string {
	b, _ := json.Marshal(r.Metrics()) // numbers and text
	return string(b)
}

// answered counts an answer.
func (r *Receiver) answered(status int) {
	line := strconv.Itoa(status) + " " + http.StatusText(status)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.metrics.Answers == nil {
		r.metrics.Answers = make(map[string]uint64)
	}
	r.metrics.Answers[line]++
}

// took counts what became of the events of a request.
func (r *Receiver) took(events, duplicates int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics.Events += uint64(events)
	r.metrics.Duplicates += uint64(duplicates)
}
