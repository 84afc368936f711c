package ociregistry_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// counted counts what a handler has done with, panics too.
type counted struct {
	http.Handler
	over atomic.Int32
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer c.over.Add(1)
	c.Handler.ServeHTTP(w, r)
}

func (c *counted) wait(t *testing.T, n int32) {
	t.Helper()
	sinktest.Eventually(t, func() bool { return c.over.Load() >= n }, "%d requests are over", n)
}

// dial writes raw bytes to a server, and reads an answer if there is one.
func dial(t *testing.T, server *httptest.Server, raw string, answered bool) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, raw)
	require.NoError(t, err)
	if !answered {
		return 0, ""
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(b)
}

// TestLyingContentLength: a client announces more than it sends, or sends more than it has
// announced.
func TestLyingContentLength(t *testing.T) {
	r := newRig(t, options{}, Config{})
	done := &counted{Handler: r.handler}
	server := serve(t, false, done)
	d := digest.FromString("content")
	at := "/v2/a/blobs/uploads/?digest=" + d.String()

	// Too little, and then nothing any more.
	dial(t, server, "POST "+at+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ncontent", false)
	dial(t, server, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{}", false)
	dial(t, server, "POST "+at+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ncontent\r\n", false)
	dial(t, server, "POST "+at+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n99\r\ncontent\r\n0\r\n\r\n", false)
	done.wait(t, 4)
	assert.Empty(t, r.told())

	// Too much: what is behind belongs to no request.
	status, _ := dial(t, server, "POST "+at+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 7\r\n\r\ncontent and more", true)
	assert.Equal(t, 201, status)
	done.wait(t, 5)
	assert.Equal(t, []fact{pushed("a", "content")}, r.told())

	// What the server itself refuses does not come here.
	for _, headers := range []string{
		"Content-Length: -1", "Content-Length: 7\r\nContent-Length: 8", "Content-Length: 7,8", "Content-Length: x", "Transfer-Encoding: other",
	} {
		status, _ := dial(t, server, "POST "+at+" HTTP/1.1\r\nHost: x\r\n"+headers+"\r\n\r\ncontent", true)
		assert.GreaterOrEqual(t, status, 400, headers)
	}
	assert.Empty(t, r.told())
	assert.EqualValues(t, 5, done.over.Load())
}

// TestRegistryThatLiesAboutItsLength: less than it has announced is no download, and the
// server cuts off what is more.
func TestRegistryThatLiesAboutItsLength(t *testing.T) {
	for _, row := range []struct {
		announced string
		status    int
		path      string
		pull      bool
	}{
		{"7", 200, anyBlob, true},
		{"8", 200, anyBlob, false},
		{"6", 200, anyBlob, false},
		{"-7", 200, anyBlob, true}, // the server drops it
		{"x", 200, anyBlob, true},
		{"8", 200, "/v2/a/manifests/v1", false},
		{"7", 200, "/v2/a/manifests/v1", true},
		{"8", 206, anyBlob, false},
		{"7", 206, anyBlob, true},
	} {
		sink := new(sinktest.Fake)
		done := &counted{Handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Length"] = []string{row.announced}
			w.Header().Set("Content-Range", "bytes 0-6/7")
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, "content")
		}), sink, Config{})}
		server := serve(t, false, done)
		if answer, err := server.Client().Get(server.URL + row.path); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		done.wait(t, 1)
		assert.Len(t, sink.Events(), map[bool]int{true: 1}[row.pull], "%+v", row)
	}
}

// TestClientGoesAwayDuringPush: what it has not sent was not pushed.
func TestClientGoesAwayDuringPush(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			r := newRig(t, options{}, Config{})
			done := &counted{Handler: r.handler}
			server := serve(t, http2, done)
			at := r.start("a")
			content := strings.Repeat("x", 1<<20)
			d := digest.FromString(content)
			for i, row := range []struct{ method, url string }{
				{"POST", "/v2/a/blobs/uploads/?digest=" + d.String()},
				{"PATCH", at},
				{"PUT", with(at, d)},
				{"PUT", "/v2/a/manifests/v1"},
			} {
				reader, writer := io.Pipe()
				req, err := http.NewRequestWithContext(t.Context(), row.method, server.URL+row.url, reader)
				require.NoError(t, err)
				if row.method == "PATCH" {
					req.ContentLength = int64(len(content))
				}
				go func() {
					_, _ = io.WriteString(writer, content[:1000])
					_ = writer.CloseWithError(errGone)
				}()
				_, err = server.Client().Do(req)
				require.ErrorIs(t, err, errGone)
				done.wait(t, int32(i+1))
				assert.Empty(t, r.told(), "%s %s", row.method, row.url)
			}
			assert.Empty(t, r.history())
		})
	}
}

// TestPanicsOverTheNetwork: the server cuts the connection, as it does without a Handler.
func TestPanicsOverTheNetwork(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		sink := new(sinktest.Fake)
		done := &counted{Handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				_, _ = w.Write(make([]byte, 100_000))
			}
			panic("a bug")
		}), sink, Config{})}
		server := serve(t, http2, done)
		answer, err := server.Client().Get(server.URL + anyBlob)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, answer.Body)
		require.Error(t, err)
		answer.Body.Close()
		req, err := http.NewRequestWithContext(t.Context(), "PUT", server.URL+"/v2/a/manifests/v1", strings.NewReader("{}"))
		require.NoError(t, err)
		_, err = server.Client().Do(req)
		require.Error(t, err)
		done.wait(t, 2)
		assert.Empty(t, sink.Events())
	}
}

// TestInFrontOfAReverseProxy: the registry is elsewhere, and dies in the middle.
func TestInFrontOfAReverseProxy(t *testing.T) {
	g := newRegistry(options{location: "/elsewhere?session="})
	var dies atomic.Bool
	backend := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !dies.Load() {
			g.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Query().Has("measured") {
			w.Header().Set("Content-Length", "100000")
		}
		if !strings.HasSuffix(r.URL.Path, "nothing") {
			_, _ = w.Write(make([]byte, 5000))
			_ = http.NewResponseController(w).Flush()
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if assert.NoError(t, err) {
			_ = conn.Close()
		}
	}))
	u, err := url.Parse(backend.URL)
	require.NoError(t, err)
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }, Transport: transport, ErrorLog: quietLog,
	}
	sink := new(sinktest.Fake)
	r := &rig{registry: g, t: t, handler: Handler(proxy, sink, Config{}), sink: sink}
	done := &counted{Handler: r.handler}
	front := serve(t, false, done)

	// All is well.
	do := func(status int, method, path string, body io.Reader, headers ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, front.URL+path, body)
		require.NoError(t, err)
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		before := done.over.Load()
		answer, err := front.Client().Do(req)
		require.NoError(t, err)
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		require.Equal(t, status == 0, err != nil, "%v", err)
		if status != 0 {
			require.Equal(t, status, answer.StatusCode)
		}
		done.wait(t, before+1)
		return answer
	}
	layer := strings.Repeat("layer", 100_000)
	d := digest.FromString(layer)
	at := do(202, "POST", "/v2/a/blobs/uploads/", nil).Header.Get("Location")
	at = do(202, "PATCH", at, strings.NewReader(layer[:300_000])).Header.Get("Location")
	at = do(202, "PATCH", at, struct{ io.Reader }{strings.NewReader(layer[300_000:400_000])}).Header.Get("Location")
	do(201, "PUT", with(at, d), strings.NewReader(layer[400_000:]))
	manifest := text(t, content{MediaType: manifestType, Layers: []part{{octets, d, int64(len(layer))}}})
	do(201, "PUT", "/v2/a/manifests/v1", strings.NewReader(manifest), "Content-Type", manifestType)
	do(200, "GET", "/v2/a/manifests/v1", nil)
	do(200, "GET", "/v2/a/blobs/"+d.String(), nil)
	do(206, "GET", "/v2/a/blobs/"+d.String(), nil, "Range", "bytes=100-")
	do(201, "POST", "/v2/b/blobs/uploads/?from=a&mount="+d.String(), nil)
	do(404, "GET", "/v2/a/manifests/v2", nil)
	do(202, "DELETE", "/v2/a/manifests/v1", nil)
	mount := moved("mount", "b", layer)
	mount.From = "a"
	want := []fact{
		pushed("a", layer), manifestFact("push", "a", "v1", manifest, manifestType), manifestFact("pull", "a", "v1", manifest, manifestType),
		pulled("a", layer), mount, {Action: "delete", Type: "tag", Repository: "a", Tag: "v1"},
	}
	assert.Equal(t, want, r.told())

	// And nothing is any more.
	dies.Store(true)
	at = "/v2/a/blobs/uploads/1?digest=" + d.String()
	for _, path := range []string{
		"/v2/a/blobs/" + d.String(), "/v2/a/blobs/" + d.String() + "?measured=1",
		"/v2/a/manifests/v1", "/v2/a/manifests/v1?measured=1",
	} {
		do(0, "GET", path, nil)
		assert.Empty(t, r.told(), path)
	}
	do(502, "GET", "/v2/a/manifests/nothing", nil)
	do(502, "PUT", "/v2/a/manifests/nothing", strings.NewReader(manifest))
	do(502, "DELETE", "/v2/a/manifests/nothing", nil)
	do(0, "PUT", at, strings.NewReader(layer))
	assert.Empty(t, r.told())
	backend.CloseClientConnections()
	backend.Listener.Close()
	transport.CloseIdleConnections()
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		do(502, method, "/v2/a/manifests/v1", strings.NewReader(manifest))
	}
	do(502, "PUT", at, strings.NewReader(layer))
	assert.Empty(t, r.told())
}

// TestEarlyHints: an informational answer is not the answer.
func TestEarlyHints(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, final := range []int{200, 404} {
			sink := new(sinktest.Fake)
			done := &counted{Handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Link", "</style.css>")
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusProcessing)
				w.Header().Set("Docker-Content-Digest", digest.FromString("content").String())
				w.WriteHeader(final)
				_, _ = io.WriteString(w, "content")
			}), sink, Config{})}
			server := serve(t, http2, done)
			var hints []int
			trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
				hints = append(hints, code)
				return nil
			}}
			req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "GET", server.URL+"/v2/a/manifests/v1", nil)
			require.NoError(t, err)
			answer, err := server.Client().Do(req)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, answer.Body)
			require.NoError(t, err)
			answer.Body.Close()
			done.wait(t, 1)
			assert.Equal(t, final, answer.StatusCode)
			assert.Equal(t, []int{103, 102}, hints)
			assert.Len(t, sink.Events(), map[int]int{200: 1}[final])
		}
	}
}

// TestExpectContinue: a client that asks first is told by the registry's first read.
func TestExpectContinue(t *testing.T) {
	r := newRig(t, options{}, Config{})
	server := serve(t, false, r.handler)
	d := digest.FromString("content")
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /v2/a/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n", d)
	require.NoError(t, err)
	buffer := bufio.NewReader(conn)
	line, err := buffer.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = buffer.ReadString('\n')
	require.NoError(t, err)
	_, err = io.WriteString(conn, "content")
	require.NoError(t, err)
	answer, err := http.ReadResponse(buffer, nil)
	require.NoError(t, err)
	answer.Body.Close()
	assert.Equal(t, 201, answer.StatusCode)
	assert.Equal(t, []fact{pushed("a", "content")}, r.told())
}
