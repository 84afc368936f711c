package downloads

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/registry-notifications/notifications/internal/byterange"
)

// direct is where a request comes from without a proxy.
func direct(r *http.Request) string { return r.RemoteAddr }

// TestIsPull: for each answer, from a byte to one before another, and how many of these
// were sent, of 100.
func TestIsPull(t *testing.T) {
	type answer struct {
		from, to, sent int64
		pull           bool
	}
	for name, answers := range map[string][]answer{
		"all":                              {{0, 100, 100, true}},
		"all, twice":                       {{0, 100, 100, true}, {0, 100, 100, true}},
		"nothing":                          {{0, 100, 0, false}},
		"in parts":                         {{0, 50, 50, true}, {50, 100, 50, false}},
		"in parts, the last first":         {{50, 100, 50, false}, {0, 50, 50, true}},
		"broken off and gone on with":      {{0, 100, 40, false}, {40, 100, 60, true}, {40, 100, 60, false}},
		"gone on with from before":         {{0, 100, 40, false}, {30, 100, 70, true}},
		"gone on with behind a gap":        {{0, 100, 40, false}, {41, 100, 59, false}},
		"gone on with, the last first":     {{0, 100, 40, false}, {70, 100, 30, false}, {40, 70, 30, false}},
		"broken off twice":                 {{0, 100, 40, false}, {40, 100, 30, false}, {70, 100, 30, true}},
		"broken off and begun again":       {{0, 100, 40, false}, {0, 100, 100, true}, {40, 100, 60, false}},
		"a part broken off and gone on":    {{0, 50, 20, false}, {20, 50, 30, true}, {50, 100, 50, false}},
		"a part broken off and half of it": {{0, 50, 20, false}, {20, 40, 20, false}, {40, 50, 10, true}},
	} {
		tracker := New(direct)
		r := httptest.NewRequest("GET", "/", nil)
		for i, a := range answers {
			got := tracker.IsPull(r, "library/app", "sha256:abc", Answer{
				Part: byterange.Part{From: a.from, To: a.to}, Total: 100, Sent: a.sent, Whole: a.sent == a.to-a.from,
			})
			assert.Equal(t, a.pull, got, "%s: answer %d", name, i)
		}
	}
}

// TestWhose: another client, content or repository is another download, whatever port a
// client comes from.
func TestWhose(t *testing.T) {
	broken := Answer{Part: byterange.Part{To: 100}, Total: 100, Sent: 40}
	rest := Answer{Part: byterange.Part{From: 40, To: 100}, Total: 100, Sent: 60, Whole: true}
	tracker := New(direct)
	pulls := func(addr, agent, repository string, a Answer) bool {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = addr
		r.Header.Set("User-Agent", agent)
		return tracker.IsPull(r, repository, "sha256:abc", a)
	}
	assert.False(t, pulls("192.0.2.1:1000", "a", "app", broken))
	assert.False(t, pulls("192.0.2.2:1000", "a", "app", rest))
	assert.False(t, pulls("192.0.2.1:1000", "b", "app", rest))
	assert.False(t, pulls("192.0.2.1:1000", "a", "other", rest))
	assert.True(t, pulls("192.0.2.1:2000", "a", "app", rest))
	assert.False(t, pulls("192.0.2.1:1000", "a", "app", rest), "it is over")
}

// TestWhereFrom: it is not the tracker that knows where a client is, and an address may come
// without a port.
func TestWhereFrom(t *testing.T) {
	tracker := New(func(r *http.Request) string { return r.Header.Get("From") })
	pulls := func(from string, a Answer) bool {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("From", from)
		return tracker.IsPull(r, "app", "sha256:abc", a)
	}
	for _, from := range []string{"192.0.2.1", "2001:db8::1", "[2001:db8::2]:80", "not an address"} {
		assert.False(t, pulls(from, Answer{Part: byterange.Part{To: 100}, Total: 100, Sent: 40}))
		rest := Answer{Part: byterange.Part{From: 40, To: 100}, Total: 100, Sent: 60, Whole: true}
		assert.False(t, pulls("192.0.2.9", rest))
		assert.True(t, pulls(from, rest), from)
	}
}

// TestUnsure: a client may have more than was heard of, and goes on behind that; and where
// nobody knows how much there is, the answer that goes on may say it.
func TestUnsure(t *testing.T) {
	tracker, r := New(direct), httptest.NewRequest("GET", "/", nil)
	assert.False(t, tracker.IsPull(r, "app", "sha256:abc", Answer{Sent: 40, More: 20}))
	assert.True(t, tracker.IsPull(r, "app", "sha256:abc", Answer{
		Part: byterange.Part{From: 55, To: 100}, Total: 100, Sent: 45, Whole: true,
	}))
}

// TestBounded: those who break off for ever fill no memory.
func TestBounded(t *testing.T) {
	tracker := New(direct)
	for i := range 3 * most {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = fmt.Sprintf("[2001:db8::%x]:80", i)
		assert.False(t, tracker.IsPull(r, "app", "sha256:abc", Answer{Part: byterange.Part{To: 100}, Sent: 1}))
	}
	assert.Equal(t, most, tracker.missing.Len())
}
