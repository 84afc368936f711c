package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// image returns the events of an image that is pushed and pulled.
func image(repository, tag string) (push, pull *notifications.Event) {
	push, pull = notifications.NewEvent(notifications.ActionPush), notifications.NewEvent(notifications.ActionPull)
	for _, e := range []*notifications.Event{push, pull} {
		e.Target.Type, e.Target.Repository, e.Target.Tag = notifications.TypeManifest, repository, tag
	}
	return push, pull
}

// TestAudit: whatever is not as it should be is found.
func TestAudit(t *testing.T) {
	a1, pull1 := image("a", "v1")
	a2, pull2 := image("a", "v2")
	b1, pull3 := image("b", "v1")
	events := []*notifications.Event{a1, b1, pull1, a2, pull2, pull3} // as they are in the stream
	for name, c := range map[string]struct {
		change func(*audit)
		want   string // empty: nothing is wrong
		twice  int
	}{
		"as it should be":               {func(*audit) {}, "", 0},
		"repositories come in any turn": {func(a *audit) { a.came = []*notifications.Event{b1, pull3, a1, pull1, a2, pull2} }, "", 0},
		"a pull is not there": {func(a *audit) { a.came = a.came[:5] },
			"1 events are accepted and not delivered", 0},
		"an image is not there": {func(a *audit) { a.came = slices.Delete(slices.Clone(a.came), 3, 4) },
			"1 events are accepted and not delivered\na: pushed were [v1 v2], and what came is [v1]", 0},
		"not in the stream": {func(a *audit) { a.stream = slices.Delete(a.stream, 4, 5) },
			"1 events are accepted and not in the stream\n1 events are delivered behind what came after them", 0},
		"twice in the stream": {func(a *audit) { a.stream = append(a.stream, notifications.Record{Position: 7, Event: pull3}) },
			"1 events are in the stream, and not accepted or there already", 0},
		"nobody has accepted it": {func(a *audit) {
			other, _ := image("c", "v1")
			a.stream = append(a.stream, notifications.Record{Position: 7, Event: other})
		}, "1 events are in the stream, and not accepted or there already", 0},
		"a pull comes late": {func(a *audit) { a.came = []*notifications.Event{a1, b1, a2, pull1, pull2, pull3} },
			"1 events are delivered behind what came after them", 0},
		"in another order than the client's": {func(a *audit) {
			a.stream[0].Event, a.stream[3].Event = a2, a1
			a.came[0], a.came[3] = a2, a1
		}, "a: pushed were [v1 v2], and what came is [v2 v1]", 0},
		"in flight at a mark": {func(a *audit) {
			a.came = []*notifications.Event{a1, b1, pull1, a2, pull1, a2, pull2, pull3}
			a.marks = []mark{{came: 4, acknowledged: 2}}
		}, "", 2},
		"acknowledged, and comes again": {func(a *audit) {
			a.came = []*notifications.Event{a1, b1, pull1, a2, pull1, a2, pull2, pull3}
			a.marks = []mark{{came: 1, acknowledged: 0}, {came: 4, acknowledged: 3}}
		}, "1 events are delivered again after they were acknowledged", 2},
		"came again, and was acknowledged then": {func(a *audit) {
			a.came = []*notifications.Event{a1, a1, b1, pull1, a2, pull2, pull3}
			a.marks = []mark{{came: 2, acknowledged: 1}}
		}, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := &audit{
				registries: []string{"registry-1", "registry-2"},
				accepted: map[string][]string{
					"registry-1": {a1.ID, b1.ID, pull3.ID},
					"registry-2": {pull1.ID, a2.ID, pull2.ID},
				},
				came:   slices.Clone(events),
				pushed: map[string][]string{"a": {"v1", "v2"}, "b": {"v1"}},
			}
			for i, e := range events {
				a.stream = append(a.stream, notifications.Record{Position: uint64(i) + 1, Event: e})
			}
			c.change(a)
			err := a.check()
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.want)
			}
			all := a.accounts()[2]
			assert.Equal(t, "all", all.registry)
			assert.Equal(t, 6, all.accepted)
			assert.Equal(t, all.accepted, all.delivered+all.lost)
			assert.Equal(t, c.twice, all.twice)
		})
	}
}

func TestAddsUp(t *testing.T) {
	m := notifications.Metrics{Accepted: 21, Delivered: 1, Pending: 2, Filtered: 3, DeadLettered: 4, Dropped: map[string]uint64{"one": 5, "other": 6}}
	assert.True(t, addsUp(m))
	m.Pending++
	assert.False(t, addsUp(m))
}
