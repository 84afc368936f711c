package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/sinktest"
)

// size is how many events are written before, during and after a fault, each.
func size() int {
	if *long {
		return 3000
	}
	return 150
}

// TestFaults is the suite. Each fault is met by events that were written before,
// during and after it. Once the receiver is healthy again, none is lost, each
// repository's are in order, the counts add up, Close returns in time, and no
// goroutine and no connection is left. Then the same again, closed while the fault
// lasts: in time all the same, and what is lost then is counted to the last event.
func TestFaults(t *testing.T) {
	table := new(table)
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) { table.add(t, f.run(t)) })
		t.Run(f.name+"/closed meanwhile", f.runClosing)
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T) row
	}{
		{"panicking sink beside it", panickingSink},
		{"clocks decades apart", clockJumps},
		{"one poison event of 10,000", onePoison},
		{"poison first in its block", poisonFirst},
		{"poison last of all", poisonLast},
		{"poison alone", poisonAlone},
		{"everything refused for a while", everythingRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.run(t)
			r.fault = c.name
			table.add(t, r)
		})
	}
	total := table.total()
	t.Log("\n" + table.String())
	assert.Zero(t, total.lost, "lost over the whole suite")
	assert.Zero(t, total.dropped, "dropped over the whole suite")
}

func (f fault) start(t *testing.T) *rig {
	g := newRig(t, 3*size()+100)
	t.Cleanup(g.abort)
	if f.prepare != nil {
		f.prepare(g)
	}
	g.open()
	g.write(size(), 13)
	g.settled()
	return g
}

// strike begins the fault and writes n events, until it was met often enough.
func (f fault) strike(g *rig, n, strikes int) {
	g.t.Helper()
	before := g.failures()
	g.r.misbehave(&f.behaviour)
	if f.begin != nil {
		f.begin(g)
	}
	begin := time.Now()
	for i := range strikes {
		// What is taken in spite of the fault lets it be met only by more.
		g.write(n*(i+1)/strikes-n*i/strikes, 7)
		g.eventually(func() bool { return g.struck(before) > i }, "the fault is met for the %d. time", i+1)
	}
	if f.during != nil {
		f.during(g, time.Since(begin))
	}
	assert.NoError(g.t, sinktest.Conserved(g.e.Metrics().Metrics))
}

func (f fault) run(t *testing.T) row {
	g := f.start(t)
	f.strike(g, size(), max(f.strikes, 3*(1-min(f.strikes, 1))))
	if !f.takes && !f.refuses {
		m := g.e.Metrics()
		assert.GreaterOrEqual(t, int(m.Pending), size(), "what came during the fault is kept")
		assert.Zero(t, m.DeadLettered)
	}

	recovery := f.recover(g)
	f.cleanUp(g)
	_, err := g.close(10 * time.Second)
	assert.NoError(t, err)
	out := g.result(f.name)
	out.recovery = recovery
	assert.Equal(t, row{fault: f.name, events: g.written, delivered: g.written, duplicate: out.duplicate, recovery: recovery}, out)
	return out
}

func (f fault) cleanUp(g *rig) {
	if f.clean != nil {
		f.clean(g)
	}
}

// recover mends the receiver and waits until it has everything.
func (f fault) recover(g *rig) time.Duration {
	g.t.Helper()
	mended := time.Now()
	require.NoError(g.t, g.r.mend(1))
	if f.mend != nil {
		f.mend(g)
	}
	g.write(size(), 13)
	g.settled()
	end := time.Now()
	if _, _, _, healthy := g.r.count(); healthy.After(mended) {
		mended = healthy
	}
	return end.Sub(mended)
}

// runClosing closes the hub while the fault lasts.
func (f fault) runClosing(t *testing.T) {
	g := f.start(t)
	f.strike(g, size(), max(f.strikes, 1))
	f.cleanUp(g)
	_, err := g.close(100 * time.Millisecond)
	out := g.result(f.name)
	assert.EqualValues(t, out.dropped, undelivered(err), "Close says what it left: %v", err)
	assert.LessOrEqual(t, out.lost, out.dropped, "what is lost is counted")
	assert.Equal(t, out.events, out.delivered+out.dropped)
}

// table is what the suite prints.
type table struct{ rows []row }

func (t *table) add(tb testing.TB, r row) {
	assert.Zero(tb, r.lost, "lost")
	t.rows = append(t.rows, r)
}

func (t *table) total() (sum row) {
	for _, r := range t.rows {
		sum.events += r.events
		sum.delivered += r.delivered
		sum.dead += r.dead
		sum.dropped += r.dropped
		sum.duplicate += r.duplicate
		sum.lost += r.lost
	}
	return sum
}

func (t *table) String() string {
	var b strings.Builder
	const line = "%-40s %8v %10v %14v %8v %11v %16v\n"
	fmt.Fprintf(&b, line, "fault", "events", "delivered", "dead-lettered", "dropped", "duplicates", "time to recover")
	for _, r := range t.rows {
		fmt.Fprintf(&b, line, r.fault, r.events, r.delivered, r.dead, r.dropped, r.duplicate, r.recovered())
	}
	sum := t.total()
	fmt.Fprintf(&b, line, fmt.Sprintf("%d faults, lost %d", len(t.rows), sum.lost),
		sum.events, sum.delivered, sum.dead, sum.dropped, sum.duplicate, "")
	return b.String()
}

// recovered is "-" where the receiver was in order all the time.
func (r row) recovered() string {
	switch {
	case r.recovery == 0:
		return "-"
	case r.bubble:
		return r.recovery.Round(time.Second).String() + " simulated"
	}
	return r.recovery.Round(100 * time.Microsecond).String()
}
