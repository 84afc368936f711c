package ociregistry_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// endless is a registry that keeps nothing, and has blobs of any size.
type endless struct{ size int64 }

var copying = make([]byte, 32<<10) // so that the registry needs none of its own

func (e endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case "POST":
		w.Header().Set("Location", "/v2/a/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	case "PATCH", "PUT":
		for {
			if _, err := r.Body.Read(copying); err != nil {
				break
			}
		}
		w.WriteHeader(map[string]int{"PATCH": 202, "PUT": 201}[r.Method])
	case "GET":
		w.Header().Set("Content-Length", strconv.FormatInt(e.size, 10))
		for left := e.size; left > 0; {
			n, err := w.Write(copying[:min(left, int64(len(copying)))])
			if err != nil {
				return
			}
			left -= int64(n)
		}
	}
}

// TestMemoryIsFlat: a body passes by, and nothing of it is kept.
func TestMemoryIsFlat(t *testing.T) {
	const size = int64(4 << 30)
	sink := new(sinktest.Fake)
	h := Handler(endless{size}, sink, Config{})
	d := digest.FromString("anything")
	patch := request("PATCH", "/v2/a/blobs/uploads/1", &zeros{size})
	end := request("PUT", "/v2/a/blobs/uploads/1?digest="+d.String(), nil)
	atOnce := request("PUT", "/v2/a/blobs/uploads/2?digest="+d.String(), &zeros{size})
	get := request("GET", "/v2/a/blobs/"+d.String(), nil)
	h.ServeHTTP(new(discard), request("POST", "/v2/a/blobs/uploads/", nil))
	assert.Less(t, allocated(func() {
		h.ServeHTTP(new(discard), patch)
		h.ServeHTTP(new(discard), end)
		h.ServeHTTP(new(discard), atOnce)
		h.ServeHTTP(new(discard), get)
	}), uint64(256<<10), "all that was allocated, in bytes")
	events := sink.Events()
	require.Len(t, events, 3)
	assert.EqualValues(t, size, events[0].Target.Size)
	assert.EqualValues(t, size, events[2].Target.Size)
}

// TestMemoryIsFlatOverTheNetwork is the same with a real server and a real client, who need
// some themselves.
func TestMemoryIsFlatOverTheNetwork(t *testing.T) {
	size := int64(64 << 20)
	if *long {
		size = 4 << 30
	}
	sink := new(sinktest.Fake)
	done := &counted{Handler: Handler(endless{size}, sink, Config{})}
	server := serve(t, false, done)
	do := func(method, path string, body io.Reader) {
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, body)
		require.NoError(t, err)
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
	}
	d := digest.FromString("anything").String()
	assert.Less(t, allocated(func() {
		do("POST", "/v2/a/blobs/uploads/", nil)
		do("PATCH", "/v2/a/blobs/uploads/1", &zeros{size})
		do("PUT", "/v2/a/blobs/uploads/1?digest="+d, nil)
		do("GET", "/v2/a/blobs/"+d, nil)
	}), uint64(4<<20), "all that was allocated, in bytes")
	done.wait(t, 4)
	events := sink.Events()
	require.Len(t, events, 2)
	assert.EqualValues(t, size, events[0].Target.Size)
	assert.EqualValues(t, size, events[1].Target.Size)
}

// TestMemoryOfTheTables: what is known of uploads, sizes and downloads is bounded.
func TestMemoryOfTheTables(t *testing.T) {
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			w.Header().Set("Location", r.URL.Path+r.UserAgent())
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "some")
	}), nowhere{}, Config{})
	post, get := request("POST", "/v2/a/blobs/uploads/", nil), request("GET", "/", nil)
	round := func(n int) {
		for i := range 17_000 { // more than there is room for
			id := strconv.Itoa(n*1_000_000 + i)
			post.Header.Set("User-Agent", id)
			h.ServeHTTP(new(discard), post)
			get.Header.Set("User-Agent", id)
			get.URL.Path = "/v2/a/blobs/" + digest.FromString(id).String()
			h.ServeHTTP(new(discard), get)
		}
	}
	round(0) // which fills them
	before := live()
	round(1)
	assert.Less(t, live()-before, int64(1<<20), "more bytes live after twice as many")
	runtime.KeepAlive(h)
}

// live returns how many bytes are in use.
func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// nowhere is a sink that takes everything, and keeps nothing.
type nowhere struct{}

var _ notifications.Sink = nowhere{}

func (nowhere) Write(context.Context, ...*notifications.Event) error { return nil }
func (nowhere) Close(context.Context) error                          { return nil }

// plain is a writer in memory with the methods of net/http's for HTTP/1.
type plain struct{ header http.Header }

func (p *plain) Header() http.Header                   { return p.header }
func (p *plain) WriteHeader(int)                       {}
func (p *plain) Write(b []byte) (int, error)           { return len(b), nil }
func (p *plain) Flush()                                {}
func (p *plain) ReadFrom(src io.Reader) (int64, error) { return io.Copy(io.Discard, src) }
func (p *plain) CloseNotify() <-chan bool              { return nil }
func (p *plain) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("no connection")
}

// TestAllocations is of a blob of 1 KiB: what the handler adds.
func TestAllocations(t *testing.T) {
	content := make([]byte, 1<<10)
	registry := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(content)
	})
	r := request("GET", anyBlob, nil)
	with, without := Handler(registry, nowhere{}, Config{}), http.Handler(registry)
	count := func(h http.Handler) float64 {
		w := &plain{header: http.Header{"Content-Length": {"1024"}, "Content-Type": {octets}}}
		return testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) })
	}
	assert.LessOrEqual(t, count(with)-count(without), 3.0)
}

// BenchmarkBlob is the same, in time.
func BenchmarkBlob(b *testing.B) {
	content := make([]byte, 1<<10)
	registry := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(content)
	})
	for name, h := range map[string]http.Handler{"without": registry, "with": Handler(registry, nowhere{}, Config{})} {
		b.Run(name, func(b *testing.B) {
			r := request("GET", anyBlob, nil)
			w := &plain{header: http.Header{"Content-Length": {"1024"}, "Content-Type": {octets}}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
