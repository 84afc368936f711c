package comparison

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A comparison that sees nothing would always be green.
func TestDiff(t *testing.T) {
	event := func() values {
		return values{
			"action": "push",
			"target": values{"size": json.Number("3"), "tag": "v1", "references": []any{values{"digest": "a"}}},
		}
	}
	for name, c := range map[string]struct {
		change func(values)
		want   []string
	}{
		"nothing":        {func(values) {}, nil},
		"a value":        {func(e values) { e["action"] = "pull" }, []string{`.action: theirs "push", ours "pull"`}},
		"a type":         {func(e values) { target(e)["size"] = "3" }, []string{`.target.size: theirs "3", ours "3"`}},
		"one less":       {func(e values) { delete(target(e), "tag") }, []string{`.target.tag: theirs "v1", ours none`}},
		"one more":       {func(e values) { target(e)["url"] = "u" }, []string{`.target.url: theirs none, ours "u"`}},
		"deep in a list": {func(e values) { target(e)["references"].([]any)[0].(values)["digest"] = "b" }, []string{`.target.references: theirs []interface {}{map[string]interface {}{"digest":"a"}}, ours []interface {}{map[string]interface {}{"digest":"b"}}`}},
	} {
		t.Run(name, func(t *testing.T) {
			ours := event()
			c.change(ours)
			require.Equal(t, c.want, diff("", event(), ours))
		})
	}
}

// Only tags that one request deleted may change places.
func TestSettle(t *testing.T) {
	untag := func(request, tag string) values {
		return values{"action": "delete", "target": values{"tag": tag}, "request": values{"id": request}}
	}
	push := values{"action": "push", "target": values{"tag": "a"}, "request": values{"id": "1"}}
	require.Equal(t,
		[]values{untag("1", "a"), untag("1", "b"), push, untag("1", "b"), untag("2", "a"), untag("2", "c")},
		settle([]values{untag("1", "b"), untag("1", "a"), push, untag("1", "b"), untag("2", "c"), untag("2", "a")}),
	)
}

// Only pulls of requests that pull nothing may have no counterpart.
func TestOmit(t *testing.T) {
	before := seen
	seen = newTally()
	defer func() { seen = before }()
	all := map[string]request{
		"whole": {"GET", "", 200}, "head": {"HEAD", "", 200}, "known": {"GET", "", 304},
		"first": {"GET", "bytes=0-9", 206}, "second": {"GET", "bytes=10-19", 206}, "both": {"GET", "bytes=10-19,0-9", 206},
		"beyond": {"GET", "bytes=1000-", 416}, "ignored": {"GET", "bytes=10-19", 200}, "put": {"PUT", "", 201},
	}
	var theirs []values
	for _, id := range slices.Sorted(maps.Keys(all)) {
		action := "pull"
		if id == "put" {
			action = "push"
		}
		theirs = append(theirs, values{"action": action, "request": values{"id": id}})
	}
	theirs = append(theirs, values{"action": "delete", "request": values{"id": "head"}})
	var left []string
	for _, e := range omit(theirs, func(id string) request { return all[id] }, allDifferences()) {
		left = append(left, text(e, "action")+" "+text(e, "request", "id"))
	}
	require.Equal(t, []string{"pull both", "pull first", "pull ignored", "push put", "pull whole", "delete head"}, left)
	for _, d := range pullDifferences {
		require.Equal(t, 1, seen.differences[d.name], d.name)
	}
}
