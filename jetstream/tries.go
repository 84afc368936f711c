package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// try says how often events were tried, those of a partition between two positions, both
// included.
type try struct {
	From     uint64    `json:"from"`
	To       uint64    `json:"to"`
	Attempts int       `json:"attempts"`
	First    time.Time `json:"first"`
}

// tries are those of a partition, of which no two overlap.
type tries struct {
	all     []try
	changed bool // since they were stored
}

// mostTries is how many pieces of a block are remembered: each comes from events that were
// refused alone.
const mostTries = 64

func (t *tries) add(new try) {
	t.all = slices.DeleteFunc(t.all, func(old try) bool { return old.From <= new.To && new.From <= old.To })
	if len(t.all) < mostTries {
		t.all = append(t.all, new)
	}
	t.changed = true
}

// at returns what is known of the event at a position: the zero value if that is nothing.
func (t *tries) at(position uint64) try {
	for _, x := range t.all {
		if x.From <= position && position <= x.To {
			return x
		}
	}
	return try{}
}

// settle forgets what is past.
func (t *tries) settle(position uint64) {
	n := len(t.all)
	if n == 0 {
		return
	}
	t.all = slices.DeleteFunc(t.all, func(x try) bool { return x.To <= position })
	t.changed = t.changed || len(t.all) != n
}

// positions returns where events are that the sink has, by partition.
func (c *cursor) positions(ids []string) map[*partition][]uint64 {
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		if id != "" {
			wanted[headerValue(id)] = true
		}
	}
	found := make(map[*partition][]uint64)
	for _, p := range c.partitions {
		for _, d := range p.hand {
			if wanted[d.message.Headers().Get(jetstream.MsgIDHeader)] {
				found[p] = append(found[p], d.position)
			}
		}
	}
	return found
}

// Tried remembers attempts, which the steward stores.
func (c *cursor) Tried(attempts int, first time.Time, ids ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, positions := range c.positions(ids) {
		p.tries.add(try{From: positions[0], To: positions[len(positions)-1], Attempts: attempts, First: first})
	}
}

// Attempts returns the least that is known of any of the events.
func (c *cursor) Attempts(ids ...string) (attempts int, first time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := 0
	for p, positions := range c.positions(ids) {
		for _, position := range positions {
			x := p.tries.at(position)
			if x.Attempts == 0 {
				return 0, time.Time{}
			}
			if found == 0 || x.Attempts < attempts {
				attempts = x.Attempts
			}
			if found++; x.First.After(first) {
				first = x.First
			}
		}
	}
	if found < len(ids) {
		return 0, time.Time{}
	}
	return attempts, first
}

// triesOf are a partition's as the bucket has them.
type triesOf struct {
	Stream time.Time `json:"stream"` // when it was made: another one has other positions
	Tries  []try     `json:"tries"`
}

// loadTries asks for what others have remembered.
func (p *partition) loadTries(ctx context.Context) error {
	entry, err := p.cursor.log.attempts.Get(ctx, p.triesKey())
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("asking for attempts: %w", err)
	}
	var t triesOf
	if json.Unmarshal(entry.Value(), &t) == nil && t.Stream.Equal(p.cursor.log.created()) {
		p.tries.all = t.Tries
	}
	return nil
}

// storeTries remembers what has changed.
func (p *partition) storeTries(ctx context.Context) {
	p.cursor.mu.Lock()
	all, changed := slices.Clone(p.tries.all), p.tries.changed
	p.tries.changed = false
	p.cursor.mu.Unlock()
	if !changed {
		return
	}
	var err error
	if len(all) == 0 {
		err = p.cursor.log.attempts.Purge(ctx, p.triesKey())
	} else {
		var data []byte
		if data, err = json.Marshal(triesOf{p.cursor.log.created(), all}); err == nil {
			_, err = p.cursor.log.attempts.Put(ctx, p.triesKey(), data)
		}
	}
	if err != nil {
		p.cursor.mu.Lock()
		p.tries.changed = true
		p.cursor.mu.Unlock()
		p.logger().WithError(err).Debug("jetstream: attempts could not be stored; it is tried again")
	}
}

func (p *partition) triesKey() string { return p.cursor.log.partitionKey(p.cursor.name, p.number) }
