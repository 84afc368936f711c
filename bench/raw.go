package main

import (
	"errors"
	"os"
)

// frameHead is what a journal puts before the JSON of an event, in bytes.
const frameHead = 40

// rawFile is a file to which is appended what a journal would have on disk, and nothing
// else is done: all of it is there before the clock starts.
type rawFile struct {
	*os.File
	together int // records in one write call: a divisor of how many differ
	sync     bool
	records  []byte
	ends     []int // of each record
}

var _ writer = (*rawFile)(nil)

func startRaw(together int, sync bool) func() (writer, error) {
	return func() (writer, error) {
		f, err := os.CreateTemp("", "bench-raw-")
		if err != nil {
			return nil, err
		}
		r := &rawFile{File: f, together: together, sync: sync}
		for m := newMaker(); len(r.ends) < different; r.ends = append(r.ends, len(r.records)) {
			r.records = append(r.records, make([]byte, frameHead)...)
			if r.records, err = m.ours().AppendJSON(r.records); err != nil {
				return nil, err
			}
		}
		return r, nil
	}
}

// prepare writes the same records again and again: as many at once as there have to be,
// with the last of them.
func (r *rawFile) prepare(int) func(int) error {
	return func(i int) error {
		if (i+1)%r.together != 0 {
			return nil
		}
		last := i % different
		start := 0
		if first := last + 1 - r.together; first > 0 {
			start = r.ends[first-1]
		}
		if _, err := r.Write(r.records[start:r.ends[last]]); err != nil || !r.sync {
			return err
		}
		return r.Sync()
	}
}

func (r *rawFile) stop() error { return errors.Join(r.Close(), os.Remove(r.Name())) }
