package faults

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
)

// poisoned opens a rig whose receiver refuses these events, by their number.
func poisoned(t *testing.T, events int, config func(*EndpointConfig), poison ...int) *rig {
	g := newRig(t, events)
	t.Cleanup(g.abort)
	g.config.Timeout = 5 * time.Second // a slow machine is no failure here, which would cost posts
	if config != nil {
		config(&g.config)
	}
	g.r = newReceiver(t, nil)
	g.r.poison = make(map[string]bool)
	for _, i := range poison {
		g.r.poison[g.events[i].ID] = true
	}
	g.open()
	return g
}

func (g *rig) finish(delivered, dead int) row {
	g.t.Helper()
	_, err := g.close(10 * time.Second)
	assert.NoError(g.t, err)
	out := g.result("")
	assert.Equal(g.t, row{events: delivered + dead, delivered: delivered, dead: dead}, out)
	assert.Len(g.t, g.r.got(), delivered)
	for _, l := range g.letters.Letters() {
		assert.True(g.t, g.r.poison[l.Event.ID], "%s is a dead letter", l.Event.ID)
		assert.Equal(g.t, ReasonRefused, l.Reason)
		assert.Equal(g.t, 400, l.Status)
	}
	return out
}

func onePoison(t *testing.T) row {
	const events = 10000
	g := poisoned(t, events, nil, 4321)
	g.write(events, 100)
	g.settled()
	return g.finish(events-1, 1)
}

func poisonFirst(t *testing.T) row {
	g := poisoned(t, 300, nil, 100)
	g.write(100, 100)
	g.settled()
	g.write(200, 200)
	g.settled()
	return g.finish(299, 1)
}

// poisonLast: the event stays pending until a later one is accepted.
func poisonLast(t *testing.T) row {
	g := poisoned(t, 300, nil, 299)
	g.write(300, 300)
	return parkedUntilLater(g, 299)
}

func poisonAlone(t *testing.T) row {
	g := poisoned(t, 1, nil, 0)
	g.write(1, 1)
	return parkedUntilLater(g, 0)
}

func parkedUntilLater(g *rig, delivered int) row {
	g.t.Helper()
	before := g.failures()
	g.eventually(func() bool { return g.failures() >= before+5 && int(g.e.Metrics().Delivered) == delivered }, "it is tried again at the slow pace")
	m := g.e.Metrics()
	assert.EqualValues(g.t, 1, m.Pending, "parked")
	assert.Zero(g.t, m.DeadLettered)

	later := newRig(g.t, 5*g.repositories*(delivered/g.repositories+2)).events
	g.events = append(g.events, later[len(g.events):len(g.events)+3]...)
	g.write(3, 3)
	g.settled()
	return g.finish(delivered+3, 1)
}

// everythingRefused refuses more events than Threshold, then works again: it is not
// known to work before the oldest event is accepted, as here when that is seen alone
// for the seventh time.
func everythingRefused(t *testing.T) row {
	const events = 300
	g := newRig(t, events)
	t.Cleanup(g.abort)
	g.r = newReceiver(t, nil)
	g.r.alone = true
	g.open()
	b := refusing(400)
	g.r.misbehave(&b)
	require.NoError(t, g.r.mend(7))
	g.write(events, 60)
	g.settled()
	_, _, _, healthy := g.r.count()
	recovery := time.Since(healthy)
	out := g.finish(events, 0)
	out.recovery = recovery
	return out
}

// TestPoisonCost: how many more posts one refused event in a block of 1024 costs, by
// where in the block it is. What comes behind the block is in the log already.
//
// Last of its block it can only be parked until the next block was read, together with
// which it is tried again: that is still the cost of this one event.
func TestPoisonCost(t *testing.T) {
	const block, limit = 1024, 2*10 + 1
	positions := make(map[int]bool)
	for i := range block {
		positions[i] = *long || i%341 == 0
	}
	for p := 1; p <= block; p *= 2 {
		positions[p-1], positions[p%block] = true, true
	}
	tried, most, at := 0, 0, 0
	for i := range block {
		if !positions[i] {
			continue
		}
		extra := poisonCost(t, block, i)
		if tried++; extra > most {
			most, at = extra, i
		}
		assert.LessOrEqual(t, extra, limit, "poison at %d", i)
	}
	t.Logf("one poison event in a block of %d costs at most %d extra posts (at %d) of %d allowed; %d positions tried", block, most, at, limit, tried)
}

func poisonCost(t *testing.T, block, position int) (extra int) {
	slow := func(c *EndpointConfig) { c.MaxBackoff = time.Hour } // no second try of what is parked
	posts := func(poison ...int) int {
		g := poisoned(t, 2*block, slow, poison...)
		g.write(2*block, 2*block)
		g.settled()
		_, posts, _, _ := g.r.count()
		g.finish(2*block-len(poison), len(poison))
		return posts
	}
	return posts(position) - 2 // two blocks
}
