package main

import "fmt"

// row is one line of the report.
type row struct {
	name    string
	unit    string
	peer    string // who the peer is; empty: there is none
	targets []target
}

// sample is what one round measured for one row.
type sample struct{ ours, peer, ceiling float64 }

// experiment measures some rows together.
type experiment struct {
	rows []row
	// round returns one sample for each of the rows.
	round func(scale) ([]sample, error)
	once  bool // however many rounds there are: it takes long, and says the same each time
}

// experiments returns all of them, in the order of the report.
func experiments() []experiment {
	return []experiment{
		deliverSingle(), deliverBatch(), deliverSlow(), deliverFanout(),
		writes(), calls(), pendingHeap(1, 0.8), pendingHeap(10, 0.6), encoding(),
		handlerGet(), handlerDownload(), flat(), connections(), costs(), latencySteady(), latencyHalf(),
		journalSingle(), journalGroup(), journalNone(), journalNoneSingle(),
		journalDeliver(), journalBacklog(), journalCatchUp(),
		receiving(), observing(),
		streamPublish(), streamPublish3(), streamDeliver(), streamDeliver3(), streamScale(),
	}
}

// scale divides the number of events of a full run.
type scale int

const (
	full  scale = 1
	smoke scale = 200
)

// of returns n scaled down, but not to next to nothing.
func (s scale) of(n int) int { return max(n/int(s), min(n, 20)) }

// measure is one contestant's part of a round: a number for each row.
type measure func(scale) ([]float64, error)

// inTurn measures ours, then the ceiling, which may be nil, then the peer.
func inTurn(ours, peer, ceiling measure) func(scale) ([]sample, error) {
	return func(s scale) ([]sample, error) {
		mine, err := ours(s)
		if err != nil {
			return nil, fmt.Errorf("ours: %w", err)
		}
		samples := make([]sample, len(mine))
		for i, v := range mine {
			samples[i].ours = v
		}
		if ceiling != nil {
			best, err := ceiling(s)
			if err != nil {
				return nil, fmt.Errorf("ceiling: %w", err)
			}
			for i, v := range best {
				samples[i].ceiling = v
			}
		}
		theirs, err := peer(s)
		if err != nil {
			return nil, fmt.Errorf("peer: %w", err)
		}
		for i := range samples {
			samples[i].peer = theirs[i]
		}
		return samples, nil
	}
}

// target is what a row has to reach.
type target struct {
	of     quantity
	atMost bool // otherwise at least
	bound  float64
}

// quantity is what of a result a target is about.
type quantity string

const (
	ratio     quantity = "ratio"
	ofCeiling quantity = "of ceiling"
	own       quantity = "ours"
)

func atLeast(of quantity, bound float64) target { return target{of: of, bound: bound} }
func atMost(of quantity, bound float64) target  { return target{of: of, bound: bound, atMost: true} }

func (t target) String() string {
	if t.atMost {
		return fmt.Sprintf("%s ≤ %v", t.of, t.bound)
	}
	return fmt.Sprintf("%s ≥ %v", t.of, t.bound)
}

func (t target) met(r result) bool {
	v := &r.Ours
	switch t.of {
	case ratio:
		v = r.Ratio
	case ofCeiling:
		v = r.OfCeiling
	}
	switch {
	case v == nil:
		return false
	case t.atMost:
		return *v <= t.bound
	}
	return *v >= t.bound
}
