package comparison

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// difference is one that is meant to be: of an event, or in how many there are.
type difference struct {
	name, why string

	// apply takes theirs, turns it into what ours should be then, and says whether it
	// had to.
	apply func(theirs, ours values) bool

	// omits says whether ours has no counterpart to theirs, which the request made.
	omits func(theirs values, by request) bool
}

// wireDifferences are those of the wire format. They hold for any registry.
var wireDifferences = []difference{
	{
		name: "target.type is added",
		why:  "without it a delete does not say what was deleted",
		apply: func(theirs, ours values) bool {
			kind := text(ours, "target", "type")
			if !slices.Contains([]string{"manifest", "blob", "tag", "repository"}, kind) {
				return false
			}
			target(theirs)["type"] = kind
			return true
		},
	},
	{
		name: "target.totalSize is added",
		why:  "a receiver that hears of images alone wants to know how large one is",
		apply: func(theirs, _ values) bool {
			t := target(theirs)
			references, _ := t["references"].([]any)
			if len(references) == 0 {
				return false
			}
			total, known := number(t["size"]), make(map[any]bool)
			for _, r := range references {
				if r := r.(values); !known[r["digest"]] {
					known[r["digest"]] = true
					total += number(r["size"])
				}
			}
			t["totalSize"] = json.Number(strconv.FormatInt(total, 10))
			return true
		},
	},
	{
		name: "what is empty is left out of target",
		why:  "a delete has no media type and no size, a deleted tag no digest",
		apply: func(theirs, _ values) bool {
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

// pullDifferences are those in what counts as a pull. The first there is not where the
// option counthead is on.
var pullDifferences = []difference{
	isNoPull("a HEAD is no pull", "its client looks and takes nothing: CountHEAD counts it", func(by request) bool {
		return by.method == http.MethodHead
	}),
	isNoPull("a 304 is no pull", "its client has the content already", func(by request) bool {
		return by.status == http.StatusNotModified
	}),
	isNoPull("a range without the first byte is no pull", "a download in parts is one download", func(by request) bool {
		return by.method == http.MethodGet && by.status == http.StatusPartialContent && !strings.Contains(by.ranges, "=0-") && !strings.Contains(by.ranges, ",0-")
	}),
	isNoPull("a range that cannot be had is no pull", "the answer is an error", func(by request) bool {
		return by.status == http.StatusRequestedRangeNotSatisfiable
	}),
}

// isNoPull is a difference in the number of pulls: those of some requests.
func isNoPull(name, why string, of func(by request) bool) difference {
	return difference{name: name, why: why, omits: func(theirs values, by request) bool {
		return text(theirs, "action") == "pull" && of(by)
	}}
}

// afterTag is in when an event is written, and not in what it says.
var afterTag = difference{
	name: "a push by tag is written after the tag",
	why:  "a receiver that asks for the tag at once would not find it",
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
	return difference{name: name, why: why, apply: func(theirs, ours values) bool {
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

// number returns a number of JSON's, or zero for what is none.
func number(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}

// compare compares two streams of the same happenings, which the requests made. Only the
// ID of an event and its time are looked at by themselves.
func compare(t *testing.T, theirs, ours []values, by func(id string) request, differences []difference) {
	t.Helper()
	theirs, ours = omit(settle(theirs), by, differences), settle(ours)
	for i := range max(len(theirs), len(ours)) {
		if i >= len(theirs) || i >= len(ours) {
			require.Fail(t, "more events in one stream", "event %d: theirs %d, ours %d: %v", i, len(theirs), len(ours), (append(theirs, ours...))[min(len(theirs), len(ours))])
		}
		their, our := stripped(t, theirs[i]), stripped(t, ours[i])
		for _, d := range differences {
			if d.apply != nil && d.apply(their, our) {
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

// omit leaves out those events that ours has no counterpart to.
func omit(theirs []values, by func(id string) request, differences []difference) []values {
	return slices.DeleteFunc(theirs, func(e values) bool {
		for _, d := range differences {
			if d.omits != nil && d.omits(e, by(text(e, "request", "id"))) {
				seen.difference(d)
				return true
			}
		}
		return false
	})
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

var seen = newTally()

func newTally() tally {
	return tally{kinds: make(map[string]int), differences: make(map[string]int), why: make(map[string]string)}
}

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
