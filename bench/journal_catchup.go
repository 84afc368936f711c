package main

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

// journalCatchUp measures how fast a sink comes that is far behind.
func journalCatchUp() experiment {
	return experiment{
		rows: []row{
			{name: "journal/catchup", unit: eventsPerSecond, targets: []target{atLeast(ofCeiling, 0.5)}},
			{name: "journal/catchup/synced", unit: eventsPerSecond},
			{name: "journal/catchup/endpoint", unit: eventsPerSecond},
		},
		round: func(s scale) ([]sample, error) { return catchUpRound(s.of(1_000_000)) },
	}
}

func catchUpRound(n int) (samples []sample, err error) {
	dir, err := lagging(n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(dir))) }()

	for _, way := range []func() (time.Duration, error){
		func() (time.Duration, error) { return catchUp(dir, journal.SyncNone, n) },
		func() (time.Duration, error) { return catchUp(dir, journal.SyncAlways, n) },
		func() (time.Duration, error) { return catchUpEndpoint(dir, n) },
	} {
		took, err := way()
		if err != nil {
			return nil, err
		}
		samples = append(samples, sample{ours: float64(n) / took.Seconds()})
	}
	var sum uint32
	read, err := readSegments(dir, func(b []byte) { sum = crc32.Update(sum, castagnoli, b) })
	for i := range samples {
		samples[i].ceiling = float64(n) / read.Seconds()
	}
	return samples, err
}

// lagging returns the directory of a journal with n events.
func lagging(n int) (dir string, err error) {
	o, err := newOurJournal(journal.SyncNone, setup{})
	if err != nil {
		return "", err
	}
	return o.dir, errors.Join(o.fill(n), o.leave())
}

// catchUp adds a sink that has n events to take, and does nothing with them. The other
// sink, which is away, keeps the segments.
func catchUp(dir string, sync journal.Sync, n int) (took time.Duration, err error) {
	o, err := openOurJournal(dir, journal.Config{Sync: sync, Start: journal.Beginning}, setup{})
	if err != nil {
		return 0, err
	}
	sink := &taker{expects: n, done: make(chan struct{})}
	start := time.Now()
	if err := o.Add("taker "+string(sync), sink); err != nil {
		return 0, err
	}
	select {
	case <-sink.done:
	case <-time.After(patience):
		err = errPatience
	}
	took = time.Since(start)
	return took, errors.Join(err, o.leave())
}

// catchUpEndpoint is catchUp with an endpoint, and all configuration the default.
func catchUpEndpoint(dir string, n int) (took time.Duration, err error) {
	o, err := openOurJournal(dir, journal.Config{Start: journal.Beginning}, setup{})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := o.add(setup{endpoints: 1}); err != nil {
		return 0, err
	}
	err = delivers(o, n)
	took = time.Since(start)
	least, sizeErr := eventBytes()
	return took, errors.Join(err, sizeErr, o.to.had(n, batch, least), o.leave())
}

// taker takes encoded events, and counts them.
type taker struct {
	takes, expects int
	done           chan struct{} // closed when it has as many as it expects
}

var (
	_ notifications.Sink             = (*taker)(nil)
	_ notifications.EncodedDeliverer = (*taker)(nil)
)

func (t *taker) DeliverEncoded(_ context.Context, events ...[]byte) (settled int, err error) {
	t.takes += len(events)
	if t.takes == t.expects {
		close(t.done)
	}
	return len(events), nil
}

func (t *taker) Write(context.Context, ...*notifications.Event) error {
	return errors.New("taker: events came decoded")
}

func (t *taker) Close(context.Context) error { return nil }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readSegments returns how long it takes to read all segments, one behind the other.
func readSegments(dir string, do func([]byte)) (took time.Duration, err error) {
	segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		return 0, err
	}
	buffer := make([]byte, 1<<20)
	start := time.Now()
	for _, path := range segments {
		if err := readFile(path, buffer, do); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

func readFile(path string, buffer []byte, do func([]byte)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		n, err := f.Read(buffer)
		do(buffer[:n])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
