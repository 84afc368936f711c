package comparison

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// values is an event as JSON has it.
type values = map[string]any

// stream is a webhook that keeps what it gets, without knowing what events are.
type stream struct {
	url string

	mu     sync.Mutex // guards the rest
	events []values
	failed error
}

func newStream(t *testing.T) *stream {
	s := new(stream)
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		// A stock endpoint keeps its connections on the transport of the whole process.
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		server.Close()
	})
	s.url = server.URL
	return s
}

func (s *stream) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var envelope struct{ Events []values }
	err := decode(r, &envelope)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = err
	}
	s.events = append(s.events, envelope.Events...)
}

func decode(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.UseNumber() // a size is not a float
	return d.Decode(v)
}

// until waits until an event of the repository has come, and returns those before.
// A stream keeps its order, so these are all there are.
func (s *stream) until(t *testing.T, repository string) []values {
	t.Helper()
	var before []values
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		require.NoError(t, s.failed)
		i := slices.IndexFunc(s.events, func(e values) bool { return text(e, "target", "repository") == repository })
		before = s.events[:max(i, 0)]
		return i >= 0
	}, time.Minute, time.Millisecond)
	return before
}

// at returns what is at a path.
func at(e values, path ...string) any {
	var v any = e
	for _, key := range path {
		m, _ := v.(values)
		v = m[key]
	}
	return v
}

// text returns the text at a path, or none.
func text(e values, path ...string) string {
	s, _ := at(e, path...).(string)
	return s
}

// settle puts tags that one request has deleted in a fixed order: a registry deletes
// them concurrently.
func settle(events []values) []values {
	untagged := func(e values) bool { return text(e, "action") == "delete" && text(e, "target", "tag") != "" }
	events = slices.Clone(events)
	for i := 0; i < len(events); i++ {
		n := 0
		for i+n < len(events) && untagged(events[i+n]) && text(events[i+n], "request", "id") == text(events[i], "request", "id") {
			n++
		}
		slices.SortFunc(events[i:i+n], func(a, b values) int {
			return strings.Compare(text(a, "target", "tag"), text(b, "target", "tag"))
		})
		i += max(n-1, 0)
	}
	return events
}

// kind says what an event of ours is about, in one line.
func kind(e values) string {
	s := text(e, "action") + " " + text(e, "target", "type")
	if text(e, "target", "type") == "manifest" && text(e, "target", "tag") != "" {
		s += " by tag"
	}
	return s
}

func decodeJSON(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	require.NoError(t, d.Decode(v))
}
