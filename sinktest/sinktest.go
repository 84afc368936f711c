// Package sinktest proves that a Sink, or a hub, keeps its contract, and has a fake
// sink for the tests of programs that use the library.
//
// Whoever writes a Sink of his own gives TestSink a way to make one:
//
//	func TestMySink(t *testing.T) {
//		sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
//			s := NewMySink()
//			return sinktest.Subject{Sink: s, Events: s.Taken}
//		})
//	}
//
// Whoever writes a hub, or a Log for one, does the same with TestHub.
package sinktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/registry-notifications/notifications"
)

// patience is how long something may take that should happen at once: long enough
// for a slow machine, short enough for a test run.
const patience = time.Minute

const pollEvery = time.Millisecond

// Subject is a Sink to be tested, with what the tests need to see.
type Subject struct {
	// Sink is new, open and empty.
	Sink notifications.Sink

	// Events returns what has come out at the far end so far, in order. Nil if that
	// cannot be seen: then less is tested.
	Events func() []*notifications.Event

	// Hold makes the far end take nothing until release is called. Nil if that cannot
	// be done: then less is tested.
	Hold func() (release func())

	// Durable says that Close keeps what has not come out, for the next start.
	Durable bool
}

// TestSink runs the suite against a Sink: concurrent writes, order, ownership,
// errors, nil events, and Close in every state. newSubject is called for each test
// of the suite; the suite closes the Sink.
func TestSink(t *testing.T, newSubject func(t *testing.T) Subject) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"Order", testOrder},
		{"NoEvents", testNoEvents},
		{"NilEvent", testNilEvent},
		{"ConcurrentWriters", testConcurrentWriters},
		{"SliceBelongsToCaller", testSliceBelongsToCaller},
		{"EventsAreNotChanged", testEventsAreNotChanged},
		{"CloseLetsEventsOut", testCloseLetsEventsOut},
		{"CloseTwice", testCloseTwice},
		{"WriteAfterClose", testWriteAfterClose},
		{"CloseWhileWriting", testCloseWhileWriting},
		{"WriteEndsWithContext", testWriteEndsWithContext},
		{"CloseWhileBlocked", testCloseWhileBlocked},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSubject(t)
			t.Cleanup(func() { _ = closeBy(s.Sink, patience) })
			test.run(t, s)
		})
	}
}

// Events returns n events with the IDs prefix-0 and so on, for the repository
// prefix.
func Events(prefix string, n int) []*notifications.Event {
	events := make([]*notifications.Event, n)
	for i := range events {
		e := notifications.NewEvent(notifications.ActionPush)
		e.ID = prefix + "-" + strconv.Itoa(i)
		e.Target.Type, e.Target.Repository, e.Target.Tag = notifications.TypeManifest, prefix, "v"+strconv.Itoa(i)
		events[i] = e
	}
	return events
}

// IDs returns the IDs of events.
func IDs(events []*notifications.Event) []string {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

// Conserved is an error unless the counts of a sink add up.
func Conserved(m notifications.Metrics) error {
	sum := m.Delivered + m.Pending + m.Filtered + m.DeadLettered
	for _, n := range m.Dropped {
		sum += n
	}
	if sum != m.Accepted {
		return fmt.Errorf("sinktest: %d events accepted, %d accounted for: %+v", m.Accepted, sum, m)
	}
	return nil
}

// Eventually waits until ok returns true, and fails the test if that takes longer
// than a minute.
func Eventually(t testing.TB, ok func() bool, what string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("sinktest: not after %v: %s", patience, fmt.Sprintf(what, args...))
		}
	}
}

func testOrder(t *testing.T, s Subject) {
	events := Events("order", 104)
	for _, block := range [][]*notifications.Event{events[:1], events[1:4], events[4:]} {
		write(t, s.Sink, block)
	}
	s.expect(t, events)
}

func testNoEvents(t *testing.T, s Subject) {
	if err := s.Sink.Write(t.Context()); err != nil {
		t.Errorf("Write of no events: %v, want nil", err)
	}
}

func testNilEvent(t *testing.T, s Subject) {
	events := Events("nil", 2)
	for _, block := range [][]*notifications.Event{{nil}, {events[0], nil}, {nil, events[0]}} {
		if err := s.Sink.Write(t.Context(), block...); !errors.Is(err, notifications.ErrNilEvent) {
			t.Errorf("Write of %d events, one of them nil: %v, want ErrNilEvent", len(block), err)
		}
	}
	write(t, s.Sink, events[1:])
	s.expect(t, events[1:])
}

func testConcurrentWriters(t *testing.T, s Subject) {
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			events := Events("writer"+strconv.Itoa(w), each)
			for i := 0; i < each; i += 5 {
				if err := s.Sink.Write(t.Context(), events[i:i+5]...); err != nil {
					t.Errorf("Write: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if s.Events == nil {
		return
	}

	Eventually(t, func() bool { return len(s.Events()) >= writers*each }, "%d events come out", writers*each)
	next := make(map[string]int)
	for _, e := range s.Events() {
		if want := fmt.Sprintf("%s-%d", e.Target.Repository, next[e.Target.Repository]); e.ID != want {
			t.Fatalf("got event %s, want %s: events of one writer out of order, lost or doubled", e.ID, want)
		}
		next[e.Target.Repository]++
	}
}

func testSliceBelongsToCaller(t *testing.T, s Subject) {
	events := Events("mine", 3)
	block := append([]*notifications.Event(nil), events...)
	write(t, s.Sink, block)
	for i := range block {
		block[i] = Events("other", 1)[0]
	}
	s.expect(t, events)
}

func testEventsAreNotChanged(t *testing.T, s Subject) {
	given, same := Events("same", 2), Events("same", 2)
	for i, e := range same {
		e.Timestamp = given[i].Timestamp
	}
	write(t, s.Sink, given)
	s.expect(t, given)
	for i, e := range given {
		got, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(same[i])
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("event changed: %s, was %s", got, want)
		}
	}
}

func testCloseLetsEventsOut(t *testing.T, s Subject) {
	events := Events("last", 20)
	write(t, s.Sink, events)
	if err := closeBy(s.Sink, patience); err != nil {
		t.Errorf("Close: %v", err)
	}
	if s.Events == nil || s.Durable {
		return
	}
	if got, want := IDs(s.Events()), IDs(events); !equal(got, want) {
		t.Errorf("after Close, events %v have come out, want %v", got, want)
	}
}

func testCloseTwice(t *testing.T, s Subject) {
	results := make(chan error, 3)
	for range cap(results) {
		go func() { results <- closeBy(s.Sink, patience) }()
	}
	first := <-results
	for range cap(results) - 1 {
		if err := <-results; fmt.Sprint(err) != fmt.Sprint(first) {
			t.Errorf("one Close: %v, another: %v", first, err)
		}
	}
}

func testWriteAfterClose(t *testing.T, s Subject) {
	if err := closeBy(s.Sink, patience); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := s.Sink.Write(t.Context(), Events("late", 1)...); !errors.Is(err, notifications.ErrSinkClosed) {
		t.Errorf("Write after Close: %v, want ErrSinkClosed", err)
	}
}

func testCloseWhileWriting(t *testing.T, s Subject) {
	var (
		mu    sync.Mutex
		taken = make(map[string]bool)
		wg    sync.WaitGroup
	)
	for w := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				e := Events(fmt.Sprintf("w%d.%d", w, i), 1)
				err := s.Sink.Write(t.Context(), e...)
				if errors.Is(err, notifications.ErrSinkClosed) {
					return
				}
				if err != nil {
					t.Errorf("Write: %v, want nil or ErrSinkClosed", err)
					return
				}
				mu.Lock()
				taken[e[0].ID] = true
				mu.Unlock()
			}
		})
	}
	time.Sleep(time.Millisecond) // let some of them in; how many does not matter
	err := closeBy(s.Sink, patience)
	wg.Wait()
	if err != nil {
		t.Errorf("Close: %v", err)
	}
	if s.Events == nil || s.Durable {
		return
	}
	for _, e := range s.Events() {
		delete(taken, e.ID)
	}
	if len(taken) > 0 {
		t.Errorf("%d events were taken and did not come out before Close returned nil", len(taken))
	}
}

func testWriteEndsWithContext(t *testing.T, s Subject) {
	if s.Hold == nil {
		t.Skip("this sink cannot be held")
	}
	defer s.Hold()()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Sink.Write(ctx, Events("held", 1)...) }()
	time.Sleep(5 * time.Millisecond) // to be inside, if it blocks at all
	cancel()
	if _, ok := within(done); !ok {
		t.Fatal("Write does not return when its context ends")
	}
}

func testCloseWhileBlocked(t *testing.T, s Subject) {
	if s.Hold == nil {
		t.Skip("this sink cannot be held")
	}
	release := s.Hold()
	defer release()
	written := make(chan error, 1)
	go func() { written <- s.Sink.Write(context.Background(), Events("stuck", 3)...) }()
	time.Sleep(5 * time.Millisecond) // to be inside, if it blocks at all

	closed := make(chan error, 1)
	go func() { closed <- closeBy(s.Sink, 20*time.Millisecond) }()
	first, ok := within(closed)
	if !ok {
		t.Fatal("Close does not return when its context ends")
	}
	if _, ok := within(written); !ok {
		t.Fatal("Write does not return after Close")
	}
	if again := closeBy(s.Sink, patience); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("first Close: %v, second: %v", first, again)
	}
}

// expect waits until the far end has just these events, in this order.
func (s Subject) expect(t *testing.T, events []*notifications.Event) {
	t.Helper()
	if s.Events == nil {
		return
	}
	want := IDs(events)
	Eventually(t, func() bool { return len(s.Events()) >= len(want) }, "%d events come out", len(want))
	if got := IDs(s.Events()); !equal(got, want) {
		t.Fatalf("got events %v, want %v", got, want)
	}
}

func equal(a, b []string) bool { return strings.Join(a, " ") == strings.Join(b, " ") }

func write(t *testing.T, s notifications.Sink, events []*notifications.Event) {
	t.Helper()
	if err := s.Write(t.Context(), events...); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

func closeBy(s notifications.Sink, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return s.Close(ctx)
}

func within(c <-chan error) (error, bool) {
	select {
	case err := <-c:
		return err, true
	case <-time.After(patience):
		return nil, false
	}
}
