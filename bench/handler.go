package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/ociregistry"
)

const blobPath = "/v2/team-01/service-001/blobs/sha256:3b6b5b1a3c2f4c9d9a5f0c8e7d6b5a49382716054f3e2d1c0b9a8f7e6d5c4b3a"

// handlerGet measures what the handler around a registry adds to a GET of a small blob,
// with its event, which a sink takes that does nothing, or a hub.
func handlerGet() experiment {
	return experiment{
		rows: []row{
			{name: "handler/blob-get", unit: "ns added", targets: []target{atMost(own, 2000)}},
			{name: "handler/allocs", unit: "allocations", targets: []target{atMost(own, 3)}},
			{name: "handler/blob-get to a hub", unit: "ns added"},
		},
		round: func(s scale) ([]sample, error) {
			hub, err := newOurHub(setup{endpoints: 1, dead: true})
			if err != nil {
				return nil, err
			}
			content := make([]byte, 1024)
			bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = octetStream
				w.Header()["Content-Length"] = kibibyte
				_, _ = w.Write(content)
			})
			does := []func() error{serving(bare), serving(heard(bare, nowhere{})), serving(heard(bare, hub))}
			took, err := takeTurns(does, s.of(2000))
			if err != nil {
				return nil, err
			}
			n := s.of(10_000)
			allocs := allocations(n, does[1]) - allocations(n, does[0])
			return []sample{{ours: took[1]}, {ours: allocs}, {ours: took[2]}}, hub.stop()
		},
	}
}

var octetStream, kibibyte = []string{"application/octet-stream"}, []string{"1024"}

func heard(next http.Handler, sink notifications.Sink) http.Handler {
	return ociregistry.Handler(next, sink, ociregistry.Config{BridgeConfig: notifications.BridgeConfig{Source: source}})
}

// nowhere is a sink that takes everything and keeps nothing.
type nowhere struct{}

func (nowhere) Write(context.Context, ...*notifications.Event) error { return nil }
func (nowhere) Close(context.Context) error                          { return nil }

// serving returns one request for a small blob.
func serving(h http.Handler) func() error {
	r := httptest.NewRequest(http.MethodGet, "http://registry.example.org"+blobPath, nil)
	r.RemoteAddr = "10.120.130.140:43210"
	r.Header.Set("User-Agent", "docker/29.1.2 go/go1.26.0 os/linux arch/amd64")
	w := &connection{client{header: make(http.Header)}}
	return func() error {
		clear(w.header)
		h.ServeHTTP(w, r)
		return nil
	}
}

// connection is a client with the methods that the standard library's server has.
type connection struct{ client }

func (c *connection) Flush()                              {}
func (c *connection) ReadFrom(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }
func (c *connection) CloseNotify() <-chan bool            { return nil }
func (c *connection) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.ErrUnsupported
}

// allocations returns how many allocations it takes to do something, once.
func allocations(n int, do func() error) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		_ = do()
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs - before.Mallocs) / uint64(n))
}

// handlerDownload measures what the handler costs of the throughput of a large blob, which
// the server sends from a file without having it in memory. The two downloads go on in
// turn, a slice at a time: no machine is equally fast for as long as a whole one takes.
func handlerDownload() experiment {
	return experiment{
		rows: []row{{name: "handler/download", unit: "MiB/s", targets: []target{atLeast(ofCeiling, 0.97)}}},
		round: func(s scale) ([]sample, error) {
			hub, err := newOurHub(setup{endpoints: 1, dead: true})
			if err != nil {
				return nil, err
			}
			slice := int64(s.of(16)) << 20
			file, err := zeros(parts * slice)
			if err != nil {
				return nil, err
			}
			defer os.RemoveAll(filepath.Dir(file))
			bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
			handlers := [2]http.Handler{heard(bare, hub), bare}
			var took [2][]float64 // seconds for a slice, of each
			for range pairs {
				if err := downloadBoth(handlers, slice, &took); err != nil {
					return nil, err
				}
			}
			rate := func(took []float64) float64 {
				slices.Sort(took)
				return mebibytes(uint64(slice)) / middle(took)
			}
			return []sample{{ours: rate(took[0]), ceiling: rate(took[1])}}, hub.stop()
		},
	}
}

const (
	parts = 64 // of a download
	pairs = 6  // of downloads in a round
)

// downloadBoth downloads a blob from two servers, a slice from one and then one from the
// other.
func downloadBoth(handlers [2]http.Handler, slice int64, took *[2][]float64) error {
	var bodies [2]io.Reader
	for i, h := range handlers {
		server := httptest.NewServer(h)
		defer server.Close()
		resp, err := server.Client().Get(server.URL + blobPath)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ContentLength != parts*slice {
			return fmt.Errorf("download: %s, %d bytes", resp.Status, resp.ContentLength)
		}
		bodies[i] = resp.Body
	}
	for turn := range parts {
		for i := range bodies {
			i = (i + turn) % len(bodies)
			start := time.Now()
			if _, err := io.CopyN(io.Discard, bodies[i], slice); err != nil {
				return err
			}
			took[i] = append(took[i], time.Since(start).Seconds())
		}
	}
	return nil
}

// zeros returns a file of that size.
func zeros(size int64) (path string, err error) {
	dir, err := os.MkdirTemp("", "bench-blob-")
	if err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(dir, "blob"))
	if err != nil {
		return "", err
	}
	return f.Name(), errors.Join(f.Truncate(size), f.Close())
}
