package sinktest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/registry-notifications/notifications"
)

// Hub is what TestHub tests: a Sink to which sinks can be added, and removed, while
// it runs.
type Hub interface {
	notifications.Sink
	Add(name string, sink notifications.Sink) error
	Remove(ctx context.Context, name string) error
	Metrics() map[string]notifications.Metrics
}

// HubOptions say what kind of hub it is.
type HubOptions struct {
	// Durable hubs keep at Close what was not delivered, for their next start.
	Durable bool
}

// TestHub runs the suite against a hub: fan-out, order, sinks that come, go, block,
// fail, panic, are closed or take a block in parts, conservation, and Close. newHub
// is called for each test of the suite and returns a hub without sinks, whose
// backoff should be a few milliseconds; the suite closes it. A hub is to pass
// TestSink as well.
func TestHub(t *testing.T, options HubOptions, newHub func(t *testing.T) Hub) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Hub)
	}{
		{"FanOut", testFanOut},
		{"AddBadSink", testAddBadSink},
		{"AddWhileRunning", testAddWhileRunning},
		{"RemoveWhileRunning", testRemoveWhileRunning},
		{"RemoveBlockedSink", testRemoveBlockedSink},
		{"SlowSink", testSlowSink},
		{"FailingSink", testFailingSink},
		{"PanickingSink", testPanickingSink},
		{"ClosedSink", testClosedSink},
		{"PartialSettlement", testPartialSettlement},
		{"Conservation", testConservation},
		{"CloseClosesSinks", testCloseClosesSinks},
	} {
		t.Run(test.name, func(t *testing.T) { runHub(t, newHub, test.run) })
	}
	if options.Durable {
		t.Run("CloseKeepsTheRest", func(t *testing.T) { runHub(t, newHub, testCloseKeepsTheRest) })
	} else {
		t.Run("CloseSaysWhatIsLost", func(t *testing.T) { runHub(t, newHub, testCloseSaysWhatIsLost) })
	}
}

func runHub(t *testing.T, newHub func(t *testing.T) Hub, run func(*testing.T, Hub)) {
	h := newHub(t)
	t.Cleanup(func() { _ = closeBy(h, patience) })
	run(t, h)
}

// addFake puts a fake sink into the hub.
func addFake(t *testing.T, h Hub, name string) *Fake {
	t.Helper()
	f := new(Fake)
	add(t, h, name, f)
	return f
}

func add(t *testing.T, h Hub, name string, s notifications.Sink) {
	t.Helper()
	if err := h.Add(name, s); err != nil {
		t.Fatalf("Add %q: %v", name, err)
	}
}

func expect(t *testing.T, f *Fake, events []*notifications.Event) {
	t.Helper()
	if got, want := IDs(f.Wait(t, len(events))), IDs(events); !equal(got, want) {
		t.Fatalf("sink got %v, want %v", got, want)
	}
}

func testFanOut(t *testing.T, h Hub) {
	a, b, c := addFake(t, h, "a"), addFake(t, h, "b"), addFake(t, h, "c")
	events := Events("fan", 300)
	for i := 0; i < len(events); i += 3 {
		write(t, h, events[i:i+3])
	}
	for _, f := range []*Fake{a, b, c} {
		expect(t, f, events)
	}
}

func testAddBadSink(t *testing.T, h Hub) {
	addFake(t, h, "a")
	for _, bad := range []struct {
		name string
		sink notifications.Sink
	}{{"", new(Fake)}, {"a", new(Fake)}, {"b", nil}} {
		if err := h.Add(bad.name, bad.sink); err == nil {
			t.Errorf("Add(%q, %v): no error", bad.name, bad.sink)
		}
	}
	if err := h.Remove(t.Context(), "b"); err == nil {
		t.Error("Remove of a sink that is not there: no error")
	}
}

func testAddWhileRunning(t *testing.T, h Hub) {
	a := addFake(t, h, "a")
	events := Events("add", 20)
	write(t, h, events[:10])
	b := addFake(t, h, "b")
	write(t, h, events[10:])
	expect(t, a, events)
	expect(t, b, events[10:])
}

func testRemoveWhileRunning(t *testing.T, h Hub) {
	a, b := addFake(t, h, "a"), addFake(t, h, "b")
	events := Events("remove", 20)
	write(t, h, events[:10])
	expect(t, a, events[:10])
	if err := h.Remove(t.Context(), "a"); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	write(t, h, events[10:])
	expect(t, b, events)
	if got := len(a.Events()); got != 10 {
		t.Errorf("a removed sink has %d events, want 10", got)
	}
	if a.Closed() {
		t.Error("Remove closed the sink")
	}
	if _, ok := h.Metrics()["a"]; ok {
		t.Error("a removed sink is still in the metrics")
	}

	// The name is free again, and begins anew.
	a = addFake(t, h, "a")
	more := Events("more", 3)
	write(t, h, more)
	expect(t, a, more)
}

func testRemoveBlockedSink(t *testing.T, h Hub) {
	a, b := addFake(t, h, "a"), addFake(t, h, "b")
	defer a.Hold()()
	events := Events("blocked", 5)
	write(t, h, events)
	a.WaitBusy(t)
	if err := h.Remove(t.Context(), "a"); err != nil {
		t.Errorf("Remove of a blocked sink: %v", err)
	}
	expect(t, b, events)
}

func testSlowSink(t *testing.T, h Hub) {
	slow, quick := addFake(t, h, "slow"), addFake(t, h, "quick")
	release := slow.Hold()
	defer release()
	events := Events("slow", 5000)
	for i := 0; i < len(events); i += 10 {
		write(t, h, events[i:i+10]) // would hang here if anybody waited for the slow one
	}
	expect(t, quick, events)
	if m := h.Metrics()["slow"]; m.Pending != uint64(len(events)) || m.Delivered != 0 {
		t.Errorf("slow sink: %+v, want all pending", m)
	}
	release()
	expect(t, slow, events)
}

func testFailingSink(t *testing.T, h Hub) {
	bad, good := addFake(t, h, "bad"), addFake(t, h, "good")
	bad.Fail(-1, errors.New("sinktest: told to fail"))
	events := Events("fail", 50)
	write(t, h, events[:20])
	write(t, h, events[20:])
	expect(t, good, events)
	bad.Fail(0, nil)
	expect(t, bad, events)
}

func testPanickingSink(t *testing.T, h Hub) {
	bad, good := addFake(t, h, "bad"), addFake(t, h, "good")
	bad.Panic(3)
	events := Events("panic", 10)
	write(t, h, events)
	expect(t, good, events)
	expect(t, bad, events)
}

// testClosedSink has closed sinks next to each other and at both ends, because
// taking one out of a list that is being walked is where that goes wrong.
func testClosedSink(t *testing.T, h Hub) {
	open := []*Fake{}
	for i := range 6 {
		f := addFake(t, h, "sink"+strconv.Itoa(i))
		if i%3 == 1 {
			open = append(open, f)
			continue
		}
		_ = f.Close(t.Context())
	}
	events := Events("closed", 10)
	for _, e := range events {
		write(t, h, []*notifications.Event{e})
	}
	for _, f := range open {
		expect(t, f, events)
	}
	Eventually(t, func() bool { return len(h.Metrics()) == len(open) }, "closed sinks leave the hub")
	addFake(t, h, "sink0") // the name is free again
}

func testPartialSettlement(t *testing.T, h Hub) {
	p := &Partial{Most: 7}
	add(t, h, "partial", p)
	events := Events("partial", 100)
	write(t, h, events)
	expect(t, &p.Fake, events)
	Eventually(t, func() bool { return h.Metrics()["partial"].Delivered == 100 }, "100 events count as delivered")
}

// testConservation reads the counts all the time while sinks come and go.
func testConservation(t *testing.T, h Hub) {
	ctx, stop := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			for name, m := range h.Metrics() {
				if err := Conserved(m); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		}
	})

	sinks := []*Fake{addFake(t, h, "good"), addFake(t, h, "failing"), addFake(t, h, "panicking")}
	partial := &Partial{Most: 3}
	add(t, h, "partial", partial)
	sinks = append(sinks, &partial.Fake)
	const writers, each = 4, 500
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			events := Events("w"+strconv.Itoa(w), each)
			for i, e := range events {
				if i%100 == 50 {
					sinks[1].Fail(2, errors.New("sinktest: told to fail"))
					sinks[2].Panic(1)
				}
				if err := h.Write(ctx, e); err != nil {
					t.Errorf("Write: %v", err)
				}
			}
		})
	}
	for i := range 10 {
		name := "guest" + strconv.Itoa(i)
		addFake(t, h, name)
		if err := h.Remove(ctx, name); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	wg.Wait()
	for i, f := range sinks {
		if got := len(f.Wait(t, writers*each)); got != writers*each {
			t.Errorf("sink %d got %d events, want %d", i, got, writers*each)
		}
	}
	Eventually(t, func() bool { return settled(h, writers*each) }, "all events count as delivered: %+v", h.Metrics())
	stop()
	watch.Wait()
}

func settled(h Hub, n uint64) bool {
	for _, m := range h.Metrics() {
		if m.Accepted != n || m.Delivered != n || m.Pending != 0 {
			return false
		}
	}
	return true
}

func testCloseClosesSinks(t *testing.T, h Hub) {
	a, b := addFake(t, h, "a"), addFake(t, h, "b")
	events := Events("close", 10)
	write(t, h, events)
	expect(t, a, events)
	expect(t, b, events)
	if err := closeBy(h, patience); err != nil {
		t.Errorf("Close: %v", err)
	}
	if !a.Closed() || !b.Closed() {
		t.Error("Close did not close the sinks")
	}
	if err := h.Add("c", new(Fake)); !errors.Is(err, notifications.ErrSinkClosed) {
		t.Errorf("Add after Close: %v, want ErrSinkClosed", err)
	}
}

func testCloseSaysWhatIsLost(t *testing.T, h Hub) {
	good, stuck := addFake(t, h, "good"), addFake(t, h, "stuck")
	defer stuck.Hold()()
	events := Events("lost", 10)
	write(t, h, events)
	expect(t, good, events)

	err := closeBy(h, 1) // already over
	var left *notifications.UndeliveredError
	if !errors.As(err, &left) {
		t.Fatalf("Close: %v, want an UndeliveredError", err)
	}
	if fmt.Sprint(left.Sinks) != "map[stuck:10]" {
		t.Errorf("undelivered: %v, want 10 for stuck", left.Sinks)
	}
	for name, m := range h.Metrics() {
		if err := Conserved(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m.Pending != 0 {
			t.Errorf("%s: %d events pending after Close", name, m.Pending)
		}
	}
	if m := h.Metrics()["stuck"]; m.Dropped[notifications.DroppedClosed] != 10 {
		t.Errorf("stuck: dropped %v, want 10 closed", m.Dropped)
	}
}

func testCloseKeepsTheRest(t *testing.T, h Hub) {
	stuck := addFake(t, h, "stuck")
	defer stuck.Hold()()
	write(t, h, Events("kept", 10))
	stuck.WaitBusy(t)
	if err := closeBy(h, 1); err != nil {
		t.Errorf("Close: %v", err)
	}
	m := h.Metrics()["stuck"]
	if err := Conserved(m); err != nil {
		t.Error(err)
	}
	if m.Pending != 10 {
		t.Errorf("after Close: %+v, want 10 pending", m)
	}
}
