package ociregistry_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// leaving is the writer of a client that goes away after so many bytes.
type leaving struct {
	*httptest.ResponseRecorder
	after int
}

func (l *leaving) Write(b []byte) (int, error) {
	n := min(len(b), l.after)
	l.after -= n
	_, _ = l.ResponseRecorder.Write(b[:n])
	if n < len(b) {
		return n, errGone
	}
	return n, nil
}

func (l *leaving) WriteString(s string) (int, error) { return l.Write([]byte(s)) }

// leave sends a request of a client that goes away after so many bytes of the answer.
func (r *rig) leave(after int, req *http.Request) {
	r.handler.ServeHTTP(&leaving{httptest.NewRecorder(), after}, req)
}

func TestWhatIsAPull(t *testing.T) {
	const content = "0123456789"
	for _, counting := range []bool{false, true} {
		r := newRig(t, options{}, Config{BridgeConfig: notifications.BridgeConfig{CountHEAD: counting}})
		image := r.image("a", "config", content)
		r.do(201, "PUT", "/v2/a/manifests/v1", image, "Content-Type", manifestType)
		r.events()
		blob, manifest := "/v2/a/blobs/"+digest.FromString(content).String(), "/v2/a/manifests/v1"
		for _, row := range []struct {
			name, method, path string
			headers            []string
			status             int
			pull               bool
		}{
			{"manifest", "GET", manifest, nil, 200, true},
			{"its HEAD", "HEAD", manifest, nil, 200, counting},
			{"not modified", "GET", manifest, []string{"If-None-Match", `"` + digest.FromString(image).String() + `"`}, 304, false},
			{"modified", "GET", manifest, []string{"If-None-Match", `"other"`}, 200, true},
			{"blob", "GET", blob, nil, 200, true},
			{"its HEAD", "HEAD", blob, nil, 200, counting},
			{"its HEAD with a range", "HEAD", blob, []string{"Range", "bytes=5-6"}, 206, counting},
			{"not modified", "GET", blob, []string{"If-None-Match", `"` + digest.FromString(content).String() + `"`}, 304, false},
			{"modified", "GET", blob, []string{"If-None-Match", `"other"`}, 200, true},
			{"first range", "GET", blob, []string{"Range", "bytes=0-4"}, 206, true},
			{"first byte", "GET", blob, []string{"Range", "bytes=0-0"}, 206, true},
			{"later range", "GET", blob, []string{"Range", "bytes=5-"}, 206, false},
			{"middle", "GET", blob, []string{"Range", "bytes=5-6"}, 206, false},
			{"all but the first", "GET", blob, []string{"Range", "bytes=1-"}, 206, false},
			{"all by a range", "GET", blob, []string{"Range", "bytes=0-"}, 206, true},
			{"suffix", "GET", blob, []string{"Range", "bytes=-9"}, 206, false},
			{"all by a suffix", "GET", blob, []string{"Range", "bytes=-10"}, 206, true},
			{"more by a suffix", "GET", blob, []string{"Range", "bytes=-99"}, 206, true},
			{"parts with the first byte", "GET", blob, []string{"Range", "bytes=8-8,0-1"}, 206, true},
			{"parts without", "GET", blob, []string{"Range", "bytes=1-1,8-9"}, 206, false},
			{"parts with the first byte by a suffix", "GET", blob, []string{"Range", "bytes=-10,3-4"}, 200, true},
			{"no such range", "GET", blob, []string{"Range", "bytes=10-"}, 416, false},
			{"a range of nothing", "GET", blob, []string{"Range", "bytes=5-4"}, 416, false},
			{"unit nobody knows", "GET", blob, []string{"Range", "lines=1-2"}, 416, false},
			{"range of another", "GET", blob, []string{"Range", "bytes=5-", "If-Range", `"other"`}, 200, true},
			{"range of this", "GET", blob, []string{"Range", "bytes=5-", "If-Range", `"` + digest.FromString(content).String() + `"`}, 206, false},
			{"not there", "GET", "/v2/b/blobs/" + digest.FromString(content).String(), nil, 404, false},
			{"its HEAD", "HEAD", "/v2/b/blobs/" + digest.FromString(content).String(), nil, 404, false},
		} {
			t.Run(fmt.Sprintf("%s %s counting=%v", row.method, row.name, counting), func(t *testing.T) {
				r.t = t
				r.do(row.status, row.method, row.path, nil, row.headers...)
				var want []fact
				if row.pull && row.path == manifest {
					want = []fact{manifestFact("pull", "a", "v1", image, manifestType)}
				} else if row.pull {
					want = []fact{pulled("a", content)}
				}
				assert.Equal(t, want, r.told())
			})
		}
	}
}

// TestResumedDownload: one download is one pull, however often it breaks off.
func TestResumedDownload(t *testing.T) {
	content := strings.Repeat("0123456789", 10)
	type get struct {
		ranges string
		after  int // bytes the client goes away, or never
		pull   bool
	}
	const never = 1 << 20
	for name, gets := range map[string][]get{
		"never broken":                             {{"", never, true}},
		"resumed":                                  {{"", 30, false}, {"bytes=30-", never, true}},
		"resumed, and once more":                   {{"", 30, false}, {"bytes=30-", never, true}, {"bytes=30-", never, false}},
		"resumed twice":                            {{"", 30, false}, {"bytes=30-", 20, false}, {"bytes=50-", never, true}},
		"resumed five times":                       {{"", 1, false}, {"bytes=1-", 1, false}, {"bytes=2-", 1, false}, {"bytes=3-", 1, false}, {"bytes=4-", 1, false}, {"bytes=5-", never, true}},
		"resumed from what it has":                 {{"", 30, false}, {"bytes=20-", never, true}},
		"resumed in ranges":                        {{"", 30, false}, {"bytes=30-59", never, false}, {"bytes=60-89", never, false}, {"bytes=90-99", never, true}},
		"resumed, but not to the end":              {{"", 30, false}, {"bytes=30-98", never, false}},
		"begun again":                              {{"", 30, false}, {"", never, true}, {"bytes=30-", never, false}},
		"begun again, resumed":                     {{"", 30, false}, {"", 10, false}, {"bytes=10-", never, true}},
		"broken before the first":                  {{"", 0, false}, {"", never, true}},
		"broken before the first, all by a range":  {{"", 0, false}, {"bytes=0-", never, true}},
		"in ranges":                                {{"bytes=0-49", never, true}, {"bytes=50-99", never, false}},
		"in ranges, the first broken":              {{"bytes=0-49", 30, false}, {"bytes=50-99", never, false}, {"bytes=30-49", never, true}},
		"in ranges, the first broken and repeated": {{"bytes=0-49", 30, false}, {"bytes=0-49", never, true}, {"bytes=50-99", never, false}},
		"in ranges, the second broken":             {{"bytes=0-49", never, true}, {"bytes=50-99", 10, false}, {"bytes=60-99", never, false}},
		"the last by a suffix":                     {{"", 30, false}, {"bytes=-70", never, true}},
		"only the last":                            {{"bytes=90-", never, false}},
		"several parts, broken":                    {{"bytes=0-1,5-6", 10, false}},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s chunked=%v", name, chunked), func(t *testing.T) {
				r := newRig(t, options{}, Config{})
				d := r.push("a", content)
				if chunked {
					inner := r.registry
					r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
						inner.ServeHTTP(unmeasured{w}, req)
					}), r.sink, Config{})
				}
				for i, g := range gets {
					req := request("GET", "/v2/a/blobs/"+d.String(), nil)
					if g.ranges != "" {
						req.Header.Set("Range", g.ranges)
					}
					r.leave(g.after, req)
					var want []fact
					if g.pull {
						want = []fact{pulled("a", content)}
					}
					told := r.told()
					if chunked && len(told) == 1 && told[0].Size == 0 {
						want[0].Size = 0 // nobody has said it
					}
					require.Equal(t, want, told, "request %d: %+v", i, g)
				}
			})
		}
	}
}

// TestResumedFarther: what a server has written is at least what the client has. Of the
// Write that failed it can have all, and nothing of what comes behind.
func TestResumedFarther(t *testing.T) {
	content := strings.Repeat("x", 100_000)
	for _, row := range []struct {
		from int
		pull bool
	}{{39_999, true}, {40_000, true}, {40_001, true}, {2 * copied, true}, {2*copied + 1, false}, {99_999, false}} {
		r := newRig(t, options{}, Config{})
		d := r.push("a", content)
		r.leave(40_000, request("GET", "/v2/a/blobs/"+d.String(), nil))
		r.do(206, "GET", "/v2/a/blobs/"+d.String(), nil, "Range", fmt.Sprintf("bytes=%d-", row.from))
		var want []fact
		if row.pull {
			want = []fact{pulled("a", content)}
		}
		assert.Equal(t, want, r.told(), "resumed from %d", row.from)
	}
}

// TestResumedFromBefore: what a client has it keeps, also if it asks for some of it again.
func TestResumedFromBefore(t *testing.T) {
	content := strings.Repeat("x", 100_000)
	r := newRig(t, options{}, Config{})
	d := r.push("a", content)
	path := "/v2/a/blobs/" + d.String()
	r.leave(90_000, request("GET", path, nil))
	r.leave(10, request("GET", path, nil, "Range", "bytes=1000-"))
	assert.Empty(t, r.told())
	r.do(206, "GET", path, nil, "Range", "bytes=90000-")
	assert.Equal(t, []fact{pulled("a", content)}, r.told())
}

// copied is how much of a content io.Copy writes at once.
const copied = 32 << 10

// unmeasured has an answer that does not say how long it is.
type unmeasured struct{ http.ResponseWriter }

func (u unmeasured) WriteHeader(status int) {
	u.Header().Del("Content-Length")
	u.ResponseWriter.WriteHeader(status)
}

// TestTwoClientsAtOnce: nobody resumes what another has begun.
func TestTwoClientsAtOnce(t *testing.T) {
	r := newRig(t, options{}, Config{})
	content := strings.Repeat("x", 100)
	d := r.push("a", content)
	get := func(addr, agent, ranges string) *http.Request {
		req := request("GET", "/v2/a/blobs/"+d.String(), nil, "User-Agent", agent)
		req.RemoteAddr = addr
		if ranges != "" {
			req.Header.Set("Range", ranges)
		}
		return req
	}
	r.leave(30, get("192.0.2.1:1000", "one", ""))
	for _, other := range []*http.Request{
		get("192.0.2.2:1000", "one", "bytes=30-"),
		get("192.0.2.1:1000", "two", "bytes=30-"),
		get("[2001:db8::1]:1000", "one", "bytes=30-"),
		get("not an address", "one", "bytes=30-"),
	} {
		r.send(206, other)
		assert.Empty(t, r.told(), "of %s %s", other.RemoteAddr, other.UserAgent())
	}
	r.send(200, get("192.0.2.2:1000", "one", ""))
	assert.Equal(t, []fact{pulled("a", content)}, r.told())
	// The connection is another, the client is the same.
	r.send(206, get("192.0.2.1:2000", "one", "bytes=30-"))
	assert.Equal(t, []fact{pulled("a", content)}, r.told())

	// The same blob of another repository is another download.
	r.push("b", content)
	r.leave(30, get("192.0.2.1:1000", "one", ""))
	other := get("192.0.2.1:1000", "one", "bytes=30-")
	other.URL.Path = "/v2/b/blobs/" + d.String()
	r.send(206, other)
	assert.Empty(t, r.told())
}

// TestTwoClientsBehindAProxy: a client is where the trusted proxy says, as in its events.
func TestTwoClientsBehindAProxy(t *testing.T) {
	r := newRig(t, options{}, Config{BridgeConfig: notifications.BridgeConfig{TrustedProxies: 1}})
	content := strings.Repeat("x", 100)
	d := r.push("a", content)
	get := func(proxy, client, ranges string) *http.Request {
		req := request("GET", "/v2/a/blobs/"+d.String(), nil, "X-Forwarded-For", "198.51.100.1, "+client)
		req.RemoteAddr = proxy
		if ranges != "" {
			req.Header.Set("Range", ranges)
		}
		return req
	}
	r.leave(30, get("10.0.0.1:1000", "203.0.113.1", ""))
	r.send(206, get("10.0.0.1:1000", "203.0.113.2", "bytes=30-"))
	assert.Empty(t, r.told(), "another client of the same proxy")
	r.send(206, get("10.0.0.2:1000", "203.0.113.1", "bytes=30-"))
	events := r.events()
	require.Len(t, events, 1, "the same, through another proxy")
	assert.Equal(t, pulled("a", content), factOf(events[0]))
	assert.Equal(t, "203.0.113.1", events[0].Request.Addr)
}

// TestManyClientsAtOnce: each of them makes one pull, of one that breaks off too.
func TestManyClientsAtOnce(t *testing.T) {
	r := newRig(t, options{}, Config{})
	content := strings.Repeat("x", 100)
	d := r.push("a", content)
	const clients, downloads = 16, 20
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range downloads {
				get := func(ranges string) *http.Request {
					req := request("GET", "/v2/a/blobs/"+d.String(), nil, "User-Agent", strconv.Itoa(c))
					if ranges != "" {
						req.Header.Set("Range", ranges)
					}
					return req
				}
				if i%2 == 0 {
					r.leave(i, get(""))
					r.handler.ServeHTTP(httptest.NewRecorder(), get(fmt.Sprintf("bytes=%d-", i)))
				} else {
					r.handler.ServeHTTP(httptest.NewRecorder(), get(""))
				}
			}
		})
	}
	wg.Wait()
	pulls := make(map[string]int)
	for _, e := range r.events() {
		require.Equal(t, pulled("a", content), factOf(e))
		pulls[e.Request.UserAgent]++
	}
	require.Len(t, pulls, clients)
	for c, n := range pulls {
		assert.Equal(t, downloads, n, "pulls of client %s", c)
	}
}

// TestClientThatGoesAwayAndComesBack is a real one, over a real connection.
func TestClientThatGoesAwayAndComesBack(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			r := newRig(t, options{}, Config{})
			content := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB do not fit into what lies between
			d := r.push("a", content)
			var over atomic.Int32
			server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				defer over.Add(1)
				r.handler.ServeHTTP(w, req)
			}))
			// most is how many bytes the client reads before it goes away, or -1: to the end.
			get := func(from, most int64) int64 {
				req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v2/a/blobs/"+d.String(), nil)
				require.NoError(t, err)
				if from > 0 {
					req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
				}
				answer, err := server.Client().Do(req)
				require.NoError(t, err)
				defer answer.Body.Close()
				if most < 0 {
					most = 1 << 40
				}
				n, err := io.Copy(io.Discard, io.LimitReader(answer.Body, most))
				require.NoError(t, err)
				return from + n
			}
			has := int64(0)
			for i := range 3 {
				has = get(has, 1000)
				sinktest.Eventually(t, func() bool { return int(over.Load()) == i+1 }, "the server has noticed")
				assert.Empty(t, r.told())
			}
			assert.EqualValues(t, len(content), get(has, -1))
			sinktest.Eventually(t, func() bool { return over.Load() == 4 }, "the download is over")
			assert.Equal(t, []fact{pulled("a", content)}, r.told())
		})
	}
}

// serve has a real server serve a test, with a client that follows no redirect.
func serve(t testing.TB, http2 bool, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quietLog
	if http2 {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	s.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(s.Close)
	return s
}

// TestRedirect: what happens elsewhere nobody sees, so to be sent there is the pull. To be
// sent back is none.
func TestRedirect(t *testing.T) {
	content := strings.Repeat("x", 100)
	d := digest.FromString(content)
	at := "/v2/a/blobs/" + d.String()
	for _, row := range []struct {
		name, method, ranges string
		status               int
		location             string
		pull, counted        bool
	}{
		{"307", "GET", "", 307, "https://storage.example.org/x?signature=y", true, true},
		{"302", "GET", "", 302, "https://storage.example.org/x", true, true},
		{"303", "GET", "", 303, "https://storage.example.org/x", true, true},
		{"301 is of what has moved for ever", "GET", "", 301, "https://storage.example.org/x", false, false},
		{"308 is, too", "GET", "", 308, "https://storage.example.org/x", false, false},
		{"relative", "GET", "", 307, "/storage/x", true, true},
		{"HEAD", "HEAD", "", 307, "https://storage.example.org/x", false, true},
		{"first range", "GET", "bytes=0-9", 307, "https://storage.example.org/x", true, true},
		{"later range", "GET", "bytes=10-19", 307, "https://storage.example.org/x", false, false},
		{"all by a suffix", "GET", "bytes=-100", 307, "https://storage.example.org/x", true, true},
		{"suffix", "GET", "bytes=-99", 307, "https://storage.example.org/x", false, false},
		{"by https", "GET", "", 307, "https://example.com" + at, false, false},
		{"by another name", "GET", "", 307, "http://registry.example.org" + at, false, false},
		{"to itself", "GET", "", 307, at, false, false},
		{"to itself, relative", "GET", "", 307, "./" + d.String(), false, false},
		{"to a session of it", "GET", "", 307, at + "?session=1", true, true},
		{"nowhere", "GET", "", 307, "", false, false},
		{"to what is no URL", "GET", "", 307, "http://%zz", false, false},
	} {
		for _, counting := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s counting=%v", row.name, counting), func(t *testing.T) {
				sink := new(sinktest.Fake)
				h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost {
						_, _ = io.Copy(io.Discard, r.Body)
						w.WriteHeader(http.StatusCreated)
						return
					}
					if row.location != "" {
						w.Header().Set("Location", row.location)
					}
					w.WriteHeader(row.status)
				}), sink, Config{BridgeConfig: notifications.BridgeConfig{CountHEAD: counting}})
				h.ServeHTTP(new(discard), request("POST", "/v2/a/blobs/uploads/?digest="+d.String(), content))
				before := len(sink.Events())

				req := request(row.method, at, nil)
				if row.ranges != "" {
					req.Header.Set("Range", row.ranges)
				}
				h.ServeHTTP(httptest.NewRecorder(), req)
				events := sink.Events()[before:]
				if row.pull || row.counted && counting {
					require.Len(t, events, 1)
					assert.Equal(t, d, events[0].Target.Digest)
				} else {
					assert.Empty(t, events)
				}
			})
		}
	}

	// The size is known from before.
	r := newRig(t, options{redirects: "https://storage.example.org/"}, Config{})
	r.push("a", content)
	r.do(307, "GET", at, nil)
	assert.Equal(t, []fact{pulled("a", content)}, r.told())
}

// TestEncoded: what is said of an answer that was compressed on its way is not of the
// content.
func TestEncoded(t *testing.T) {
	r := newRig(t, options{noDigest: true}, Config{BridgeConfig: notifications.BridgeConfig{IncludeReferences: true}})
	content := strings.Repeat("compressible ", 1000)
	image := r.image("a", "config", content)
	d := digest.FromString(content)
	compressed := Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var inner httptest.ResponseRecorder
		inner.Body, inner.Code = new(bytes.Buffer), 200
		r.registry.ServeHTTP(&inner, req)
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(inner.Body.Bytes())
		_ = z.Close()
		for k, v := range inner.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
		if req.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", b.Len()-1, b.Len()))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(b.Bytes())
	}), r.sink, Config{BridgeConfig: notifications.BridgeConfig{IncludeReferences: true}})
	r.do(201, "PUT", "/v2/a/manifests/v1", image, "Content-Type", manifestType)
	r.events()

	nameless := pulled("a", content)
	nameless.Size = 0
	for range 2 {
		compressed.ServeHTTP(httptest.NewRecorder(), request("GET", "/v2/a/blobs/"+d.String(), nil))
		compressed.ServeHTTP(httptest.NewRecorder(), request("GET", "/v2/a/blobs/"+d.String(), nil, "Range", "bytes=0-"))
		assert.Equal(t, []fact{nameless, nameless}, r.told())
	}
	compressed.ServeHTTP(httptest.NewRecorder(), request("GET", "/v2/a/manifests/v1", nil))
	want := manifestFact("pull", "a", "v1", image, manifestType)
	want.Size, want.Digest = 0, ""
	e := r.events()[0]
	assert.Equal(t, want, factOf(e))
	assert.Empty(t, e.Target.References)
}

// TestSizeOfWhatBrokeOff: only what is known of a size is said later.
func TestSizeOfWhatBrokeOff(t *testing.T) {
	r := newRig(t, options{}, Config{})
	content := strings.Repeat("x", 100)
	d := r.push("a", content)
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.registry.ServeHTTP(unmeasured{w}, req)
	}), r.sink, Config{})
	r.leave(30, request("GET", "/v2/a/blobs/"+d.String(), nil))
	r.do(201, "POST", "/v2/b/blobs/uploads/?from=a&mount="+d.String(), nil)
	mount := moved("mount", "b", content)
	mount.From, mount.Size = "a", 0
	assert.Equal(t, []fact{mount}, r.told())

	// What went through whole has told.
	r.do(200, "GET", "/v2/a/blobs/"+d.String(), nil)
	r.do(201, "POST", "/v2/b/blobs/uploads/?from=a&mount="+d.String(), nil)
	mount.Size = 100
	assert.Equal(t, []fact{pulled("a", content), mount}, r.told())
}
