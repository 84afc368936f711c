package ociregistry_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// bare is a writer with no method beside, which records which of those that its wrappers
// have was called.
type bare struct {
	header http.Header
	status int
	body   bytes.Buffer
	called []string
	from   io.Reader // of the last ReadFrom
}

func newBare() *bare { return &bare{header: make(http.Header)} }

func (b *bare) Header() http.Header         { return b.header }
func (b *bare) WriteHeader(status int)      { b.status = status }
func (b *bare) Write(p []byte) (int, error) { return b.body.Write(p) }

func (b *bare) call(name string) { b.called = append(b.called, name) }

type (
	withFlush    struct{ b *bare }
	withReadFrom struct{ b *bare }
	withHijack   struct{ b *bare }
	withPush     struct{ b *bare }
	withNotify   struct{ b *bare }
)

var errHijack = errors.New("no connection here")

func (w withFlush) Flush() { w.b.call("Flush") }
func (w withReadFrom) ReadFrom(src io.Reader) (int64, error) {
	w.b.call("ReadFrom")
	w.b.from = src
	return w.b.body.ReadFrom(src)
}
func (w withHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.b.call("Hijack")
	return nil, nil, errHijack
}
func (w withPush) Push(string, *http.PushOptions) error {
	w.b.call("Push")
	return nil
}
func (w withNotify) CloseNotify() <-chan bool {
	w.b.call("CloseNotify")
	return nil
}

// writers has a writer with each set of methods that a server's may have beside.
func writers(b *bare) map[string]http.ResponseWriter {
	f, r, h, p := withFlush{b}, withReadFrom{b}, withHijack{b}, withPush{b}
	type w = http.ResponseWriter
	return map[string]http.ResponseWriter{
		"": struct{ w }{b},
		"F": struct {
			w
			withFlush
		}{b, f},
		"R": struct {
			w
			withReadFrom
		}{b, r},
		"H": struct {
			w
			withHijack
		}{b, h},
		"P": struct {
			w
			withPush
		}{b, p},
		"FR": struct {
			w
			withFlush
			withReadFrom
		}{b, f, r},
		"FH": struct {
			w
			withFlush
			withHijack
		}{b, f, h},
		"FP": struct {
			w
			withFlush
			withPush
		}{b, f, p},
		"RH": struct {
			w
			withReadFrom
			withHijack
		}{b, r, h},
		"RP": struct {
			w
			withReadFrom
			withPush
		}{b, r, p},
		"HP": struct {
			w
			withHijack
			withPush
		}{b, h, p},
		"FRH": struct {
			w
			withFlush
			withReadFrom
			withHijack
		}{b, f, r, h},
		"FRP": struct {
			w
			withFlush
			withReadFrom
			withPush
		}{b, f, r, p},
		"FHP": struct {
			w
			withFlush
			withHijack
			withPush
		}{b, f, h, p},
		"RHP": struct {
			w
			withReadFrom
			withHijack
			withPush
		}{b, r, h, p},
		"FRHP": struct {
			w
			withFlush
			withReadFrom
			withHijack
			withPush
		}{b, f, r, h, p},
		// Those of the standard library.
		"FRHN": &standard1{b, f, r, h, withNotify{b}},
		"FPN": struct {
			w
			withFlush
			withPush
			withNotify
		}{b, f, p, withNotify{b}},
	}
}

// standard1 has the methods of net/http's writer for HTTP/1.
type standard1 struct {
	http.ResponseWriter
	withFlush
	withReadFrom
	withHijack
	withNotify
}

// methods returns which methods a writer has beside, in the order of the names above.
func methods(w http.ResponseWriter) (has string) {
	if _, ok := w.(http.Flusher); ok {
		has += "F"
	}
	if _, ok := w.(io.ReaderFrom); ok {
		has += "R"
	}
	if _, ok := w.(http.Hijacker); ok {
		has += "H"
	}
	if _, ok := w.(http.Pusher); ok {
		has += "P"
	}
	if _, ok := w.(interface{ CloseNotify() <-chan bool }); ok {
		has += "N"
	}
	return has
}

const anyBlob = "/v2/a/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// TestWriterHasWhatTheServersHas: no method more, none less, and each gets there.
func TestWriterHasWhatTheServersHas(t *testing.T) {
	all := writers(newBare())
	require.Len(t, all, 18)
	for want := range all {
		for _, path := range []string{anyBlob, "/v2/a/manifests/v1"} {
			b := newBare()
			called := false
			h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				called = true
				assert.Equal(t, want, methods(w))
				if f, ok := w.(http.Flusher); ok {
					f.Flush()
					assert.Equal(t, "Flush", b.called[len(b.called)-1])
				}
				if f, ok := w.(interface{ FlushError() error }); ok {
					require.NoError(t, f.FlushError())
					assert.Equal(t, "Flush", b.called[len(b.called)-1])
				}
				if p, ok := w.(http.Pusher); ok {
					require.NoError(t, p.Push("/", nil))
					assert.Equal(t, "Push", b.called[len(b.called)-1])
				}
				if n, ok := w.(interface{ CloseNotify() <-chan bool }); ok {
					n.CloseNotify()
					assert.Equal(t, "CloseNotify", b.called[len(b.called)-1])
				}
				if rf, ok := w.(io.ReaderFrom); ok {
					n, err := rf.ReadFrom(strings.NewReader("from a reader, "))
					require.NoError(t, err)
					assert.EqualValues(t, 15, n)
				}
				if h, ok := w.(http.Hijacker); ok {
					_, _, err := h.Hijack()
					assert.ErrorIs(t, err, errHijack)
					assert.Equal(t, "Hijack", b.called[len(b.called)-1])
				}
				_, err := io.WriteString(w, "by a string, ")
				require.NoError(t, err)
				_, err = w.Write([]byte("by bytes"))
				require.NoError(t, err)
			}), new(sinktest.Fake), Config{})
			h.ServeHTTP(writers(b)[want], request("GET", path, nil))
			assert.True(t, called)
			body := "by a string, by bytes"
			if strings.Contains(want, "R") {
				body = "from a reader, " + body
			}
			assert.Equal(t, body, b.body.String(), "%q of %s", want, path)
		}
	}
}

// TestNoHijackIsNoHarm: where the server has no connection to give, the answer goes on.
func TestNoHijackIsNoHarm(t *testing.T) {
	sink := new(sinktest.Fake)
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		assert.Error(t, err)
		_, _ = io.WriteString(w, "content")
	}), sink, Config{})
	b := newBare()
	h.ServeHTTP(writers(b)["FRHN"], request("GET", anyBlob, nil))
	assert.Equal(t, "content", b.body.String())
	assert.Len(t, sink.Events(), 1)
}

// TestSendfileIsPossible: the server gets the file, and none of its bytes come by here.
func TestSendfileIsPossible(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob")
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	for _, kind := range []string{"FRHN", "R", "FRHP"} {
		b, sink := newBare(), new(sinktest.Fake)
		Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f, err := os.Open(path)
			require.NoError(t, err)
			defer f.Close()
			http.ServeContent(w, r, "", time.Time{}, f)
		}), sink, Config{}).ServeHTTP(writers(b)[kind], request("GET", anyBlob, nil))
		limited, ok := b.from.(*io.LimitedReader)
		require.True(t, ok, "%T", b.from)
		assert.IsType(t, new(os.File), limited.R)
		assert.Equal(t, 1<<20, b.body.Len())
		events := sink.Events()
		require.Len(t, events, 1)
		assert.EqualValues(t, 1<<20, events[0].Target.Size)
	}
}

// TestReadFromOfAManifest: its bytes are needed here, whoever copies them.
func TestReadFromOfAManifest(t *testing.T) {
	manifest := text(t, content{MediaType: manifestType, Config: &part{"x", digest.FromString("config"), 6}})
	config := Config{}
	config.IncludeReferences = true
	for kind := range writers(newBare()) {
		for _, write := range []func(http.ResponseWriter){
			func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader(manifest)) },
			func(w http.ResponseWriter) { _, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader(manifest)}) },
			func(w http.ResponseWriter) { _, _ = io.WriteString(w, manifest) },
			func(w http.ResponseWriter) {
				for i := range manifest {
					_, _ = w.Write([]byte(manifest[i : i+1]))
				}
			},
		} {
			b, sink := newBare(), new(sinktest.Fake)
			Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", manifestType)
				write(w)
			}), sink, config).ServeHTTP(writers(b)[kind], request("GET", "/v2/a/manifests/v1", nil))
			assert.Equal(t, manifest, b.body.String())
			events := sink.Events()
			require.Len(t, events, 1)
			assert.Equal(t, manifestFact("pull", "a", "v1", manifest, manifestType), factOf(events[0]))
			assert.Len(t, events[0].Target.References, 1)
		}
	}
}

// TestOverRealServers: what net/http's own writers have works through a Handler.
func TestOverRealServers(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			sink := new(sinktest.Fake)
			var direct, through string
			flushed := make(chan struct{})
			registry := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				through = methods(w)
				c := http.NewResponseController(w)
				assert.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Hour)))
				assert.NoError(t, c.SetReadDeadline(time.Now().Add(time.Hour)))
				if !http2 {
					assert.NoError(t, c.EnableFullDuplex())
				}
				w.Header().Set("X-Registry", "said before")
				w.Header().Set("Trailer", "X-After")
				_, _ = io.WriteString(w, "first, ")
				assert.NoError(t, c.Flush())
				<-flushed // the client has it
				_, _ = io.WriteString(w, "second")
				w.Header().Set("X-After", "said after")
			})
			h := Handler(registry, sink, Config{})
			server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				direct = methods(w)
				h.ServeHTTP(w, r)
			}))
			answer, err := server.Client().Get(server.URL + anyBlob)
			require.NoError(t, err)
			defer answer.Body.Close()
			first := make([]byte, 7)
			_, err = io.ReadFull(answer.Body, first)
			require.NoError(t, err)
			assert.Equal(t, "first, ", string(first))
			assert.Empty(t, sink.Events(), "the answer is not over")
			close(flushed)
			rest, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			assert.Equal(t, "second", string(rest))
			assert.Equal(t, "said before", answer.Header.Get("X-Registry"))
			assert.Equal(t, "said after", answer.Trailer.Get("X-After"))
			assert.Equal(t, direct, through)
			assert.Equal(t, map[bool]string{false: "FRHN", true: "FPN"}[http2], through)
			assert.EqualValues(t, 13, sink.Wait(t, 1)[0].Target.Size)
		})
	}
}

// TestHijack: what is said on a connection that was taken over nobody knows.
func TestHijack(t *testing.T) {
	for _, row := range []struct{ method, path string }{
		{"GET", anyBlob}, {"GET", "/v2/a/manifests/v1"}, {"PUT", "/v2/a/manifests/v1"}, {"DELETE", "/v2/a/manifests/v1"},
		{"POST", "/v2/a/blobs/uploads/?mount=" + anyBlob[len("/v2/a/blobs/"):] + "&from=b"},
	} {
		sink := new(sinktest.Fake)
		served := make(chan struct{})
		registry := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, buffer, err := http.NewResponseController(w).Hijack()
			if !assert.NoError(t, err) {
				return
			}
			defer conn.Close()
			_, _ = buffer.WriteString("HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
			_ = buffer.Flush()
		})
		h := Handler(registry, sink, Config{})
		server := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(served)
			h.ServeHTTP(w, r)
		}))
		req := httptest.NewRequest(row.method, server.URL+row.path, nil)
		req.RequestURI = ""
		answer, err := server.Client().Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		answer.Body.Close()
		assert.Equal(t, "hello", string(body))
		<-served
		assert.Empty(t, sink.Events(), "%s %s", row.method, row.path)
	}
}
