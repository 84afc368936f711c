package ociregistry

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/internal/byterange"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestUploadsLeaveNothing: what is over is forgotten, wherever it was on its way.
func TestUploadsLeaveNothing(t *testing.T) {
	for name, places := range map[string][]string{
		"one place":      {"/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1"},
		"others":         {"/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/2", "/v2/a/blobs/uploads/3"},
		"elsewhere":      {"/x?at=1", "/x?at=2", "/y"},
		"there and back": {"/x?at=1", "/v2/a/blobs/uploads/1?at=2", "/v2/a/blobs/uploads/1?at=3"},
	} {
		for _, last := range []string{http.MethodPut, http.MethodDelete} {
			t.Run(name+" "+last, func(t *testing.T) {
				sink, step := new(sinktest.Fake), 0
				h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					if r.Method == http.MethodPut || r.Method == http.MethodDelete {
						w.WriteHeader(http.StatusCreated)
						return
					}
					w.Header().Set("Location", places[step])
					w.WriteHeader(http.StatusAccepted)
					step++
				}), sink, Config{}).(*handler)
				do := func(method, path, body string) string {
					w := httptest.NewRecorder()
					h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
					return w.Header().Get("Location")
				}
				at := do("POST", "/v2/a/blobs/uploads/", "")
				at = do("PATCH", at, "12345")
				at = do("PATCH", at, "678")
				assert.Equal(t, 1, h.sessions.Len())
				separator := "?"
				if strings.Contains(at, "?") {
					separator = "&"
				}
				do(last, at+separator+"digest="+someDigest, "9")
				assert.Zero(t, h.sessions.Len())
				if last == http.MethodPut {
					require.Len(t, sink.Events(), 1)
					assert.EqualValues(t, 9, sink.Events()[0].Target.Size)
					assert.Equal(t, "a", sink.Events()[0].Target.Repository)
				} else {
					assert.Empty(t, sink.Events())
				}
			})
		}
	}
}

func TestSpan(t *testing.T) {
	for v, want := range map[string]byterange.Part{
		"0-0": {From: 0, To: 1}, "0-99": {From: 0, To: 100}, "50-99": {From: 50, To: 100}, "bytes=0-99": {From: 0, To: 100},
		"bytes 0-99/100": {From: 0, To: 100}, "bytes 0-99/*": {From: 0, To: 100},
		"0-9223372036854775806": {From: 0, To: math.MaxInt64},
	} {
		part, ok := span(v)
		assert.True(t, ok, "%q", v)
		assert.Equal(t, want, part, "%q", v)
	}
	for _, v := range []string{
		"", "99", "-", "0-", "0-x", "x-5", "0--5", "-5", "-5-6", "6-5", "0-9223372036854775807", "0-99999999999999999999",
	} {
		_, ok := span(v)
		assert.False(t, ok, "%q", v)
	}
}

// TestSizeOf: what the registry says counts, but for what can mean two things.
func TestSizeOf(t *testing.T) {
	for _, row := range []struct {
		ranges    string
		had, more int64
		want      int64
	}{
		{"0-99", 50, 50, 100},
		{"0-99", 50, 10, 100},
		{"0-99", unknown, 10, 100},
		{"0-99", 50, unknown, 100},
		{"0-0", 0, 0, 0},
		{"0-0", 0, 1, 1},
		{"0-0", 5, 5, 1},
		{"0-0", unknown, 1, unknown},
		{"", 50, 50, 100},
		{"", unknown, 50, unknown},
		{"", 50, unknown, unknown},
		{"no", 50, 50, 100},
	} {
		header := http.Header{}
		if row.ranges != "" {
			header.Set("Range", row.ranges)
		}
		assert.Equal(t, row.want, sizeOf(header, row.had, row.more), fmt.Sprintf("%+v", row))
	}
}

// TestLocationThatIsNone: an upload that nobody can say where it is leaves nothing either.
func TestLocationThatIsNone(t *testing.T) {
	for _, location := range []string{"", "http://%zz", "\x7f"} {
		h := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusAccepted)
		}), new(sinktest.Fake), Config{}).(*handler)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/v2/a/blobs/uploads/", nil))
		assert.Equal(t, location, w.Header().Get("Location"))
		assert.Zero(t, h.sessions.Len(), "%q", location)
	}
}
