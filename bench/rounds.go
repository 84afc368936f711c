package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
)

// result is a row with its numbers.
type result struct {
	Name string  `json:"name"`
	Ours float64 `json:"ours"`
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`

	// Nil where there is no peer, no ceiling, or nothing to reach.
	Peer      *float64 `json:"peer,omitempty"`
	PeerName  string   `json:"peer_name,omitempty"`
	Ratio     *float64 `json:"ratio,omitempty"`
	Ceiling   *float64 `json:"ceiling,omitempty"`
	OfCeiling *float64 `json:"of_ceiling,omitempty"`

	Unit    string `json:"unit"`
	Target  string `json:"target,omitempty"`
	Met     *bool  `json:"met,omitempty"`
	Skipped string `json:"skipped,omitempty"` // why nothing was measured
}

// skippedError says why something cannot be measured here.
type skippedError struct{ why string }

func (e *skippedError) Error() string { return "skipped: " + e.why }

// measureAll runs the experiments of which a row is asked for.
func measureAll(o options, progress io.Writer) ([]result, error) {
	s := full
	if o.short {
		s = smoke
	}
	var results []result
	for _, e := range experiments() {
		wanted := func(r row) bool { return o.run.MatchString(r.name) }
		if !slices.ContainsFunc(e.rows, wanted) {
			continue
		}
		samples, err := e.rounds(o.rounds, s, progress)
		var skipped *skippedError
		if err != nil && !errors.As(err, &skipped) {
			return nil, fmt.Errorf("%s: %w", e.rows[0].name, err)
		}
		for i, r := range e.rows {
			switch {
			case !wanted(r):
			case skipped != nil:
				results = append(results, result{Name: r.name, Unit: r.unit, Skipped: skipped.why})
			default:
				results = append(results, r.result(samples[i], !o.short))
			}
		}
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("run: %q: matches no row", o.run)
	}
	return results, nil
}

// rounds returns the samples of each row.
func (e experiment) rounds(n int, s scale, progress io.Writer) ([][]sample, error) {
	samples := make([][]sample, len(e.rows))
	if e.once {
		n = 1
	}
	for i := range n {
		fmt.Fprintf(progress, "%s: round %d of %d\n", e.rows[0].name, i+1, n)
		round, err := e.round(s)
		if err != nil {
			return nil, err
		}
		for j := range samples {
			samples[j] = append(samples[j], round[j])
		}
		runtime.GC()
	}
	return samples, nil
}

func (r row) result(samples []sample, judge bool) result {
	ours, least, most := spread(samples, func(s sample) float64 { return s.ours })
	res := result{Name: r.name, Unit: r.unit, Ours: ours, Min: least, Max: most, PeerName: r.peer}
	if r.peer != "" {
		res.Peer, res.Ratio = compare(samples, func(s sample) float64 { return s.peer })
	}
	if samples[0].ceiling != 0 {
		res.Ceiling, res.OfCeiling = compare(samples, func(s sample) float64 { return s.ceiling })
	}
	if !judge || len(r.targets) == 0 {
		return res
	}
	texts, met := []string{}, true
	for _, t := range r.targets {
		texts = append(texts, t.String())
		met = met && t.met(res)
	}
	res.Target, res.Met = strings.Join(texts, ", "), &met
	return res
}

// compare returns the median of what ours is compared with, and of ours as a part of it
// in the same round, where that can be said: a machine's speed changes within minutes.
func compare(samples []sample, with func(sample) float64) (value, part *float64) {
	v, least, _ := spread(samples, with)
	if least != 0 {
		quotient, _, _ := spread(samples, func(s sample) float64 { return s.ours / with(s) })
		part = &quotient
	}
	return &v, part
}

// spread returns the median, the least and the most of one number of the samples.
func spread(samples []sample, of func(sample) float64) (median, least, most float64) {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return middle(values), values[0], values[len(values)-1]
}

// middle returns the median of sorted values.
func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func allMet(results []result) bool {
	return !slices.ContainsFunc(results, func(r result) bool { return r.Met != nil && !*r.Met })
}
