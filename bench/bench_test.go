package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

var long = flag.Bool("long", false, "also what takes a minute")

func TestMain(m *testing.M) {
	if child, err := runChild(os.Stdout); child {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	logrus.SetOutput(io.Discard) // what is given up is logged, by all
	m.Run()
}

// Each row still works, and is told as it should be.
func TestShort(t *testing.T) {
	if !*long {
		t.Skip("go run ./bench -short does the same: -long")
	}
	var stdout bytes.Buffer
	met, err := run([]string{"-short", "-json"}, &stdout, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !met {
		t.Error("a smoke run has no targets")
	}
	var results []result
	for d := json.NewDecoder(&stdout); d.More(); {
		var r result
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	i := 0
	for _, e := range experiments() {
		for _, r := range e.rows {
			if i >= len(results) || results[i].Name != r.name {
				t.Fatalf("row %s is missing", r.name)
			}
			i++
		}
	}
	if i != len(results) {
		t.Errorf("%d rows, want %d", len(results), i)
	}
}

func TestResult(t *testing.T) {
	rate := row{name: "rate", peer: "peer", targets: []target{atLeast(ratio, 4), atLeast(ofCeiling, 0.5)}}
	cost := row{name: "cost", peer: "peer", targets: []target{atMost(ratio, 0.5)}}
	alone := row{name: "alone", targets: []target{atMost(own, 1)}}
	samples := func(ours ...float64) (s []sample) {
		for _, v := range ours {
			s = append(s, sample{ours: v, peer: 10, ceiling: 100})
		}
		return s
	}
	for name, c := range map[string]struct {
		row     row
		samples []sample
		met     bool
	}{
		"both reached":            {rate, samples(50, 60, 70), true},
		"the ratio is not enough": {rate, []sample{{ours: 30, peer: 10, ceiling: 40}}, false},
		"of the ceiling too low":  {rate, samples(1, 49, 1000), false},
		"cheap":                   {cost, samples(5, 5), true},
		"dear":                    {cost, samples(5, 6), false},
		"nothing at all":          {cost, samples(0), true},
		"no peer to compare with": {cost, []sample{{ours: 1}}, false},
		"alone":                   {alone, []sample{{ours: 1}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.row.result(c.samples, true)
			if r.Met == nil || *r.Met != c.met {
				t.Errorf("met: want %v: %+v", c.met, r)
			}
			if got := allMet([]result{r}); got != c.met {
				t.Errorf("all met: %v", got)
			}
			if r := c.row.result(c.samples, false); r.Met != nil {
				t.Error("judged without being asked")
			}
		})
	}
}

func TestTable(t *testing.T) {
	two, no := 2.0, false
	results := []result{
		{Name: "a", Ours: 1234567, Min: 0.5, Max: 12.34, Unit: "events/s", Peer: &two, PeerName: "peer", Ratio: &two, Target: "ratio ≥ 4", Met: &no},
		{Name: "longer", Ours: -1234, Unit: "ns"},
	}
	var b strings.Builder
	if err := printTable(&b, results, options{rounds: 3}); err != nil {
		t.Fatal(err)
	}
	const want = `name         ours  unit        min    max  peer  (name)  ratio  ceiling  of ceiling  target     verdict
a       1,234,567  events/s  0.500   12.3  2.00  peer     2.00                       ratio ≥ 4  MISSED
longer     -1,234  ns        0.000  0.000
`
	if got, _, _ := strings.Cut(b.String(), "\n\n"); got+"\n" != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What cannot be measured here is said, and misses nothing.
func TestSkipped(t *testing.T) {
	err := roomFor(1 << 40)
	var skipped *skippedError
	if !errors.As(err, &skipped) {
		t.Fatalf("a petabyte: %v", err)
	}
	r := result{Name: "much", Unit: "MiB", Skipped: skipped.why}
	if !allMet([]result{r}) {
		t.Error("missed")
	}
	var b strings.Builder
	if err := printTable(&b, []result{r}, options{rounds: 1}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "skipped: "+skipped.why) {
		t.Errorf("not said:\n%s", &b)
	}
}

// TestRawRecord: the raw file gets as many bytes as a journal.
func TestRawRecord(t *testing.T) {
	o, err := newOurJournal(journal.SyncNone, setup{})
	if err != nil {
		t.Fatal(err)
	}
	event := o.maker.ours()
	if err := o.Write(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	encoded, err := event.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.journal.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	report, err := journal.Inspect(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	const segmentHead, mark = 32, frameHead
	if took, want := report.Bytes-segmentHead-mark, int64(frameHead+len(encoded)); took != want {
		t.Errorf("an event took %d bytes, want %d", took, want)
	}
	if err := o.stop(); err != nil {
		t.Error(err)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, endpoints := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(endpoints), func(b *testing.B) {
			hub := started(b, setup{endpoints: endpoints, dead: true})
			event := hub.maker.ours()
			b.ReportAllocs()
			for b.Loop() {
				if err := hub.Write(b.Context(), event); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// started returns a hub that is stopped at the end.
func started(b *testing.B, s setup) *ourHub {
	hub, err := newOurHub(s)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := hub.stop(); err != nil {
			b.Error(err)
		}
	})
	return hub
}

// BenchmarkJournalWrite returns from each Write when the event is safe on disk.
func BenchmarkJournalWrite(b *testing.B) {
	start := func(b *testing.B) (*ourJournal, *notifications.Event) {
		o, err := newOurJournal(journal.SyncAlways, setup{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := o.stop(); err != nil {
				b.Error(err)
			}
		})
		b.ReportAllocs()
		return o, o.maker.ours()
	}
	b.Run("single", func(b *testing.B) {
		o, event := start(b)
		for b.Loop() {
			if err := o.Write(b.Context(), event); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		o, event := start(b)
		b.SetParallelism(max(1, gang/runtime.GOMAXPROCS(0)))
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := o.Write(b.Context(), event); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// again returns an event that says the same and has not been encoded yet.
func again(e *notifications.Event) *notifications.Event {
	return &notifications.Event{
		ID: e.ID, Timestamp: e.Timestamp, Action: e.Action,
		Target: e.Target, Request: e.Request, Actor: e.Actor, Source: e.Source,
	}
}

func BenchmarkEncode(b *testing.B) {
	m := newMaker()
	b.Run("event", func(b *testing.B) {
		event := m.ours()
		var buffer []byte
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if buffer, err = encodeOurs(buffer[:0], event); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("envelope", func(b *testing.B) {
		events := make([]*notifications.Event, batch)
		for i := range events {
			events[i] = m.ours()
		}
		b.ReportAllocs()
		for b.Loop() {
			env := notifications.Envelope{Events: make([]*notifications.Event, batch)}
			for i, e := range events {
				env.Events[i] = again(e)
			}
			if _, err := env.MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
		perEvent(b, batch)
	})
	b.Run(distribution, func(b *testing.B) {
		event := m.theirs()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encodeTheirs(nil, event); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func perEvent(b *testing.B, events int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}

func BenchmarkDeliverSingle(b *testing.B) {
	benchmarkDeliver(b, 100, setup{endpoints: 1, single: true})
}

func BenchmarkDeliverBatch(b *testing.B) {
	benchmarkDeliver(b, 10*batch, setup{endpoints: 1})
}

// benchmarkDeliver delivers so many events at a time, from the first Write to the
// last answer.
func benchmarkDeliver(b *testing.B, n int, s setup) {
	hub := started(b, s)
	events := make([]*notifications.Event, n)
	for i := range events {
		events[i] = hub.maker.ours()
	}
	b.ReportAllocs()
	for b.Loop() {
		before := hub.delivered()
		err := writeAll(func(i int) error { return hub.Write(b.Context(), again(events[i])) }, n)
		if err != nil {
			b.Fatal(err)
		}
		if err := delivers(hub, before+n); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, n)
}

// BenchmarkBridge makes and writes the event of a pushed manifest.
func BenchmarkBridge(b *testing.B) {
	server, err := stockServer()
	if err != nil {
		b.Fatal(err)
	}
	image, err := pushImage(server)
	if err != nil {
		b.Fatal(err)
	}
	bridge, err := notifications.NewBridge(nowhere{}, notifications.BridgeConfig{Source: source})
	if err != nil {
		b.Fatal(err)
	}
	name := image.repository.Named()
	b.ReportAllocs()
	for b.Loop() {
		if err := bridge.ManifestPushed(server.ctx, name, image.digest, image.manifest, "v1"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode reads an envelope, as a receiver does.
func BenchmarkDecode(b *testing.B) {
	for _, events := range []int{1, batch} {
		b.Run(fmt.Sprint(events), func(b *testing.B) {
			all, err := bodies(1, events)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(all[0])))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := notifications.DecodeEnvelope(notifications.MediaTypeV2, bytes.NewReader(all[0]), 0); err != nil {
					b.Fatal(err)
				}
			}
			perEvent(b, events)
		})
	}
}
