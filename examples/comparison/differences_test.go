package comparison

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// difference is one that is meant to be. It takes theirs, turns it into what ours
// should be then, and says whether it had to.
type difference struct {
	name, why string
	apply     func(theirs, ours values) bool
}

// wireDifferences are those of the wire format. They hold for any registry.
var wireDifferences = []difference{
	{
		"target.type is added", "without it a delete does not say what was deleted",
		func(theirs, ours values) bool {
			kind := text(ours, "target", "type")
			if !slices.Contains([]string{"manifest", "blob", "tag", "repository"}, kind) {
				return false
			}
			target(theirs)["type"] = kind
			return true
		},
	},
	{
		"what is empty is left out of target", "a delete has no media type and no size, a deleted tag no digest",
		func(theirs, _ values) bool {
			t := target(theirs)
			before := len(t)
			for _, key := range []string{"mediaType", "digest", "size"} {
				if v := t[key]; v == "" || v == json.Number("0") {
					delete(t, key)
				}
			}
			return len(t) < before
		},
	},
}

// trustDifferences are those of a server that was not told whom to trust, for a
// client that claims to come through a proxy.
var trustDifferences = []difference{
	differs("a user name that nobody has checked is no actor", "anybody can claim it: trustbasicuser believes it", "actor", "name"),
	differs("X-Forwarded-For is not believed", "anybody can write it: trustedproxies believes it", "request", "addr"),
	differs("X-Forwarded-Host and -Proto are not believed", "anybody can write them: trustedproxies believes them", "target", "url"),
}

// proxyDifferences are those of a server that was told to trust a proxy.
var proxyDifferences = []difference{
	differs("X-Forwarded-Host is request.host", "request.host is the public name of the registry, not the proxy's name for it", "request", "host"),
}

// differs is a difference in one field, whatever the values.
func differs(name, why string, path ...string) difference {
	return difference{name, why, func(theirs, ours values) bool {
		last := len(path) - 1
		there, _ := at(theirs, path[:last]...).(values)
		here, _ := at(ours, path[:last]...).(values)
		value, found := here[path[last]]
		if reflect.DeepEqual(there[path[last]], value) {
			return false
		}
		if there[path[last]] = value; !found {
			delete(there, path[last])
		}
		return true
	}}
}

func target(e values) values {
	t, _ := e["target"].(values)
	return t
}

// compare compares two streams of the same happenings. Only the ID of an event and
// its time are looked at by themselves.
func compare(t *testing.T, theirs, ours []values, differences []difference) {
	t.Helper()
	theirs, ours = settle(theirs), settle(ours)
	for i := range max(len(theirs), len(ours)) {
		if i >= len(theirs) || i >= len(ours) {
			require.Fail(t, "more events in one stream", "event %d: theirs %d, ours %d: %v", i, len(theirs), len(ours), (append(theirs, ours...))[min(len(theirs), len(ours))])
		}
		their, our := stripped(t, theirs[i]), stripped(t, ours[i])
		for _, d := range differences {
			if d.apply(their, our) {
				seen.difference(d)
			}
		}
		seen.kind(kind(our))
		if unlike := diff("", their, our); len(unlike) > 0 {
			assert.Fail(t, "unexplained difference", "event %d, %s\n  %s", i, kind(ours[i]), strings.Join(unlike, "\n  "))
		}
	}
	seen.compared(len(ours))
}

// stripped checks what cannot be the same in both streams, and returns the rest.
func stripped(t *testing.T, e values) values {
	t.Helper()
	assert.Len(t, text(e, "id"), 36)
	when, err := time.Parse(time.RFC3339Nano, text(e, "timestamp"))
	assert.NoError(t, err)
	assert.WithinDuration(t, time.Now(), when, time.Hour)

	e = clone(e).(values)
	delete(e, "id")
	delete(e, "timestamp")
	return e
}

func clone(v any) any {
	switch v := v.(type) {
	case values:
		m := make(values, len(v))
		for key, value := range v {
			m[key] = clone(value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = clone(v[i])
		}
		return list
	}
	return v
}

// diff returns the paths at which two values differ, with what is there.
func diff(path string, theirs, ours any) (unlike []string) {
	a, aIsMap := theirs.(values)
	b, bIsMap := ours.(values)
	if !aIsMap || !bIsMap {
		if !reflect.DeepEqual(theirs, ours) {
			unlike = append(unlike, fmt.Sprintf("%s: theirs %#v, ours %#v", path, theirs, ours))
		}
		return unlike
	}
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		there, here := a[key], b[key]
		_, inA := a[key]
		_, inB := b[key]
		switch at := path + "." + key; {
		case !inA:
			unlike = append(unlike, fmt.Sprintf("%s: theirs none, ours %#v", at, here))
		case !inB:
			unlike = append(unlike, fmt.Sprintf("%s: theirs %#v, ours none", at, there))
		default:
			unlike = append(unlike, diff(at, there, here)...)
		}
	}
	return unlike
}

// tally counts what was compared in all tests together.
type tally struct {
	events      int
	kinds       map[string]int
	differences map[string]int
	why         map[string]string
}

var seen = tally{kinds: make(map[string]int), differences: make(map[string]int), why: make(map[string]string)}

func (s *tally) compared(n int)   { s.events += n }
func (s *tally) kind(kind string) { s.kinds[kind]++ }
func (s *tally) difference(d difference) {
	s.differences[d.name]++
	s.why[d.name] = d.why
}

func (s *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "compared %d events:\n", s.events)
	for _, k := range slices.SortedFunc(maps.Keys(s.kinds), func(a, b string) int { return cmp.Compare(a, b) }) {
		fmt.Fprintf(&b, "  %4d  %s\n", s.kinds[k], k)
	}
	fmt.Fprintln(&b, "with these differences, and no other:")
	for _, name := range slices.Sorted(maps.Keys(s.differences)) {
		fmt.Fprintf(&b, "  %4d  %s: %s\n", s.differences[name], name, s.why[name])
	}
	return strings.TrimRight(b.String(), "\n")
}
