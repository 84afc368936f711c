package observer

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// TestTwoPhases: what was done and undone before is nobody's business; then each event is.
func TestTwoPhases(t *testing.T) {
	r := newRig(t)
	for range 500 {
		r.write(push("a", "v1"), removed("a"))
	}
	r.write(push("a", "v2"), push("b", "v1"), removed("b"), push("c", "v1"), event(ActionFreeze, notifications.TypeRepository, "c"))
	r.start()
	r.settles()
	got := r.take()
	slices.Sort(got)
	assert.Equal(t, []string{"disable b", "enable a", "freeze c"}, got)

	r.write(push("a", "v3"))
	r.settles()
	assert.Equal(t, []string{"push a 1006"}, r.take())
	r.write(removed("a"))
	r.settles()
	assert.Equal(t, []string{"disable a", "delete a 1007"}, r.take())
	r.write(push("a", "v1"))
	r.settles()
	assert.Equal(t, []string{"enable a", "push a 1008"}, r.take())
	r.write(event(ActionUnfreeze, notifications.TypeRepository, "c"), event(ActionFreeze, notifications.TypeRepository, "c"), event("audit", "", "c"))
	r.settles()
	assert.Equal(t, []string{"unfreeze c", "unfreeze c 1009", "freeze c", "freeze c 1010", "audit c 1011"}, r.take())
	require.NoError(t, r.stop())
}

// TestGoesOn: what was done with does not come again, and what has happened since comes
// once.
func TestGoesOn(t *testing.T) {
	r := newRig(t)
	r.write(push("a", "v1"), push("b", "v1"))
	assert.ElementsMatch(t, []string{"enable a", "enable b"}, r.runs())
	assert.Empty(t, r.runs(), "nothing new")
	r.write(event(notifications.ActionPull, notifications.TypeManifest, "b"))
	assert.Empty(t, r.runs(), "a pull is nothing new")
	r.write(push("b", "v2"), push("b", "v3"), removed("a"))
	assert.ElementsMatch(t, []string{"disable a", "enable b"}, r.runs())
	r.write(push("a", "v1"), removed("a"))
	assert.ElementsMatch(t, []string{"disable a"}, r.runs(), "nobody knows it any more")

	var s State
	require.NoError(t, json.Unmarshal([]byte(r.store.get("state/r/b")), &s))
	assert.Equal(t, []string{"v1", "v2", "v3"}, slices.Sorted(maps.Keys(s.Tags)))
	assert.Len(t, s.Manifests, 3)
	assert.Empty(t, r.store.get("state/r/a"))
	assert.Equal(t, "8", r.store.get("position/r"))
}

func TestRename(t *testing.T) {
	r := newRig(t)
	k := &keeper{diary: r.diary}
	r.config.Processor, r.config.Initializer = k, k
	r.write(push("a", "v1"))
	r.start()
	r.settles()
	assert.Equal(t, []string{"get a", "init a", "enable a"}, r.take())
	r.write(rename("a", "b"), push("b", "v2"))
	r.settles()
	assert.Equal(t, []string{"disable a", "move a b", "enable b", "rename b 2", "push b 3"}, r.take())
	// A ring of three: b and c change places.
	r.write(push("c", "v1"), rename("b", "tmp"), rename("c", "b"), rename("tmp", "c"), push("c", "v9"))
	r.settles()
	got := r.take()
	assert.ElementsMatch(t, []string{
		"get c", "init c", "enable c", "push c 4",
		"disable b", "move b tmp", "enable tmp", "rename tmp 5",
		"disable c", "move c b", "enable b", "rename b 6",
		"disable tmp", "move tmp c", "enable c", "rename c 7", "push c 8",
	}, got)
	for _, order := range [][]string{
		{"get c", "init c", "push c 4", "disable c", "move c b", "rename b 6"},
		{"disable b", "move b tmp", "rename tmp 5", "disable tmp", "move tmp c", "rename c 7", "push c 8"},
		{"move b tmp", "move c b", "move tmp c"}, // or one would overwrite what another has still to move
	} {
		assert.IsIncreasing(t, places(got, order), "%v in %v", order, got)
	}
	var s State
	require.NoError(t, json.Unmarshal([]byte(r.store.get("state/r/c")), &s))
	assert.Equal(t, []string{"v1", "v2", "v9"}, slices.Sorted(maps.Keys(s.Tags)))
	require.NoError(t, json.Unmarshal([]byte(r.store.get("state/r/b")), &s))
	assert.Equal(t, "b", s.Name)
	for _, gone := range []string{"a", "tmp"} {
		assert.Empty(t, r.store.get("state/r/"+gone))
	}
	require.NoError(t, r.stop())

	// Nobody watched: what is prepared is moved all the same, step by step.
	r.take()
	r.write(rename("b", "tmp"), rename("c", "b"), rename("tmp", "c"), push("d", "v1"), rename("d", "e"), rename("e", "f"))
	got = r.runs()
	assert.ElementsMatch(t, []string{
		"disable b", "move b tmp", "enable tmp", "disable c", "move c b", "enable b", "disable tmp", "move tmp c", "enable c",
		"get f", "init f", "enable f",
	}, got)
	assert.IsIncreasing(t, places(got, []string{"move b tmp", "move c b", "move tmp c", "enable c"}))
	assert.Empty(t, r.runs())
}

// places returns where some lines are.
func places(in, lines []string) (all []int) {
	for _, line := range lines {
		all = append(all, slices.Index(in, line))
	}
	return all
}

func TestErrors(t *testing.T) {
	r := newRig(t)
	long := strings.Repeat("ä", 200)
	failing := true
	r.fail = func(call string) error {
		if failing && strings.HasSuffix(call, " a") {
			return errors.New(long)
		}
		return nil
	}
	r.write(push("a", "v1"), push("b", "v1"))
	r.start()
	r.settles()
	got := r.take()
	assert.Len(t, got, 7, "one try and five more, and the other: %v", got)
	assert.Contains(t, got, "enable b")
	var s State
	require.NoError(t, json.Unmarshal([]byte(r.store.get("state/r/a")), &s))
	assert.Equal(t, strings.Repeat("ä", 120), s.Error)
	assert.Equal(t, 1, r.o.Stat()["r"].Failed)
	require.NoError(t, r.stop())

	assert.Empty(t, r.runs(), "it is left alone")
	r.start()
	r.settles()
	r.write(push("a", "v2"))
	r.settles()
	assert.Equal(t, []string{"enable a"}, r.take(), "tried once")
	failing = false
	r.write(push("a", "v3"))
	r.settles()
	assert.Equal(t, []string{"enable a", "push a 4"}, r.take())
	assert.Zero(t, r.o.Stat()["r"].Failed)
	require.NoError(t, r.stop())
}

// TestLate: what comes behind the end of a repository makes it no new one, whether it is
// forgotten by then or not.
func TestLate(t *testing.T) {
	late := []*notifications.Event{
		event(notifications.ActionPull, notifications.TypeManifest, "a"),
		event(notifications.ActionDelete, notifications.TypeTag, "a"),
	}
	r := newRig(t)
	r.write(push("a", "v1"))
	r.start()
	r.settles()
	r.take()
	r.write(removed("a"))
	r.write(late...)
	r.settles()
	want := []string{"disable a", "delete a 2", "pull a 3", "delete a 4"}
	assert.Equal(t, want, r.take())
	assert.Empty(t, r.store.get("state/r/a"))
	r.write(late...)
	r.settles()
	assert.Equal(t, []string{"pull a 5", "delete a 6"}, r.take())
	assert.Empty(t, r.store.get("state/r/a"))
	require.NoError(t, r.stop())
	r.write(late...)
	assert.Empty(t, r.runs())
	assert.Empty(t, r.store.get("state/r/a"))
}
