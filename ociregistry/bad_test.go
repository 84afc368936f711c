package ociregistry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestWhatFailsMakesNoEvent has requests that a registry refuses.
func TestWhatFailsMakesNoEvent(t *testing.T) {
	r := newRig(t, options{}, Config{})
	image := r.image("a", "config", "layer")
	layer, wrong := digest.FromString("layer").String(), digest.FromString("something else").String()
	at := r.start("a")
	for _, row := range []struct {
		status       int
		method, path string
		body         any
		headers      []string
	}{
		{400, "PUT", "/v2/a/manifests/" + wrong, image, nil},
		{400, "PUT", "/v2/a/manifests/v1", "no manifest", nil},
		{400, "PUT", "/v2/b/manifests/v1", image, nil},
		{400, "POST", "/v2/a/blobs/uploads/?digest=" + wrong, "content", nil},
		{400, "POST", "/v2/a/blobs/uploads/?digest=no", "content", nil},
		{400, "POST", "/v2/a/blobs/uploads/?digest=", "content", nil},
		{202, "POST", "/v2/b/blobs/uploads/?mount=" + wrong + "&from=a", nil, nil},
		{202, "POST", "/v2/b/blobs/uploads/?mount=" + layer + "&from=../a", nil, nil},
		{416, "PATCH", at, "content", []string{"Content-Range", "5-11"}},
		{416, "PATCH", at, "content", []string{"Content-Range", "0-5"}},
		{400, "PUT", with(at, digest.Digest(wrong)), "content", nil},
		{400, "PUT", at, "content", nil},
		{404, "PUT", with(at+"x", digest.Digest(wrong)), "content", nil},
		{404, "PATCH", "/v2/b/blobs/uploads/s1", "content", nil},
		{404, "GET", "/v2/a/blobs/" + wrong, nil, nil},
		{404, "DELETE", "/v2/a/blobs/" + wrong, nil, nil},
		{404, "DELETE", "/v2/a/manifests/" + wrong, nil, nil},
		{404, "GET", "/v2/../a/blobs/" + layer, nil, nil},
		{404, "GET", "/v2/a%2f..%2fa/blobs/" + layer, nil, nil},
		{404, "GET", "/v2/A/blobs/" + layer, nil, nil},
		{404, "GET", "/v2//a/blobs/" + layer, nil, nil},
		{404, "GET", "/v2/a//blobs/" + layer, nil, nil},
		{404, "GET", "/v2/a/blobs/" + strings.ToUpper(layer), nil, nil},
		{405, "PATCH", "/v2/a/manifests/v1", nil, nil},
		{405, "PUT", "/v2/a/blobs/uploads/", nil, nil},
	} {
		if row.status == 404 && row.method == "PATCH" {
			// The session of another repository: an ID that somebody has guessed.
			require.True(t, strings.HasSuffix(at, "/s1"))
		}
		if row.path == "/v2/a/manifests/v1" && row.method == "PATCH" {
			r.do(201, "PUT", row.path, image)
			r.events()
		}
		r.do(row.status, row.method, row.path, row.body, row.headers...)
		assert.Empty(t, r.told(), "%s %s", row.method, row.path)
	}
}

// TestAnythingUnderASlashIsOne: a slash may come encoded, and is one for a registry that
// takes it for one.
func TestAnythingUnderASlashIsOne(t *testing.T) {
	r := newRig(t, options{}, Config{})
	d := r.push("a/b", "x")
	r.do(200, "GET", "/v2/a%2Fb/blobs/"+d.String(), nil)
	assert.Equal(t, []fact{pulled("a/b", "x")}, r.told())
	e := r.sink.Events()[1]
	assert.Equal(t, "http://example.com/v2/a/b/blobs/"+d.String(), e.Target.URL)
}

// TestManifestOverTheLimit: its event has what can be known without holding it.
func TestManifestOverTheLimit(t *testing.T) {
	for _, noDigest := range []bool{false, true} {
		r := newRig(t, options{noDigest: noDigest}, Config{MaxManifest: 1000, BridgeConfig: notifications.BridgeConfig{IncludeReferences: true}})
		small := r.image("a", "config", "layer")
		large := strings.TrimSuffix(small, "}") + strings.Repeat(" ", 1001-len(small)) + "}"
		atLimit := strings.TrimSuffix(small, "}") + strings.Repeat(" ", 1000-len(small)) + "}"
		for _, manifest := range []string{atLimit, large} {
			r.do(201, "PUT", "/v2/a/manifests/v1", manifest, "Content-Type", manifestType)
			w := r.do(200, "GET", "/v2/a/manifests/v1", nil)
			assert.Equal(t, manifest, w.Body.String())
			events := r.events()
			require.Len(t, events, 2)
			for i, action := range []string{"push", "pull"} {
				want := manifestFact(action, "a", "v1", manifest, manifestType)
				over := len(manifest) > 1000
				if over && noDigest {
					want.Digest = "" // nobody says it
				}
				assert.Equal(t, want, factOf(events[i]))
				assert.Len(t, events[i].Target.References, map[bool]int{false: 2}[over])
			}
		}
	}
}

// TestMemoryOfAManifestOverTheLimit: no more than the limit is held, whatever comes.
func TestMemoryOfAManifestOverTheLimit(t *testing.T) {
	const size = 64 << 20
	sink := new(sinktest.Fake)
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	}), sink, Config{MaxManifest: 64 << 10})
	r := request("PUT", "/v2/a/manifests/v1", &zeros{size})
	assert.Less(t, allocated(func() { h.ServeHTTP(new(discard), r) }), uint64(1<<20))
	events := sink.Events()
	require.Len(t, events, 1)
	assert.EqualValues(t, size, events[0].Target.Size)
}

// zeros is so many bytes of nothing.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.n)
	clear(p[:n])
	z.n -= n
	return int(n), nil
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestManifestThatIsNone: a registry may take what it wants; its event says what is known.
func TestManifestThatIsNone(t *testing.T) {
	for _, body := range []string{
		"", "null", "[]", `"text"`, "{", `{"layers":1}`, `{"layers":[{"size":"x"}]}`, `{"config":[]}`, "\x00\xff", strings.Repeat("[", 100_000),
		`{"mediaType":1,"layers":[{"digest":"sha256:x","size":-5}]}`,
	} {
		config := Config{}
		config.IncludeReferences = true
		sink := new(sinktest.Fake)
		h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusCreated)
		}), sink, config)
		h.ServeHTTP(new(discard), request("PUT", "/v2/a/manifests/v1", body, "Content-Type", manifestType))
		events := sink.Events()
		require.Len(t, events, 1)
		want := manifestFact("push", "a", "v1", body, manifestType)
		if body == "" {
			want.Digest = "" // of nothing there is none
		}
		assert.Equal(t, want, factOf(events[0]), "%.20q", body)
		assert.Empty(t, events[0].Target.References, "%.20q", body)
		_, err := events[0].MarshalJSON()
		assert.NoError(t, err)
	}
}

// TestRegistryThatDoesNotReadItAll: nobody knows how much of a body such a one has taken,
// and what a client has announced is no proof.
func TestRegistryThatDoesNotReadItAll(t *testing.T) {
	manifest := `{"mediaType":"` + manifestType + `","layers":[]}`
	for _, row := range []struct {
		name string
		body any
		read int
		size int64
	}{
		{"nothing of it", manifest, 0, 0},
		{"half", manifest, 10, 0},
		{"all, and not that it is all", manifest, len(manifest), int64(len(manifest))},
		{"of unknown length, all, and not that it is all", strings.NewReader(manifest), len(manifest), 0},
		{"all", manifest, 1 << 20, int64(len(manifest))},
		{"of unknown length, all", strings.NewReader(manifest), 1 << 20, int64(len(manifest))},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, path := range []string{"/v2/a/manifests/v1", "/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/"} {
				sink := new(sinktest.Fake)
				h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "POST" && !r.URL.Query().Has("digest") {
						w.Header().Set("Location", "/v2/a/blobs/uploads/1")
						w.WriteHeader(202)
						return
					}
					_, _ = io.CopyN(io.Discard, r.Body, int64(row.read))
					w.Header().Set("Docker-Content-Digest", digest.FromString(manifest).String())
					w.WriteHeader(http.StatusCreated)
				}), sink, Config{})
				method := "PUT"
				if strings.HasSuffix(path, "/") {
					method = "POST"
				} else if strings.HasSuffix(path, "/1") {
					h.ServeHTTP(new(discard), request("POST", strings.TrimSuffix(path, "1"), nil))
				}
				body := row.body
				if s, ok := body.(*strings.Reader); ok {
					_, _ = s.Seek(0, io.SeekStart)
				}
				h.ServeHTTP(new(discard), request(method, path+"?digest="+digest.FromString(manifest).String(), body))
				events := sink.Events()
				require.Len(t, events, 1, path)
				assert.Equal(t, row.size, events[0].Target.Size, path)
				assert.Equal(t, digest.FromString(manifest), events[0].Target.Digest)
			}
		})
	}
}

// TestUploadThatGoesWrongOnItsWay: a part fails, and the client goes on.
func TestUploadThatGoesWrongOnItsWay(t *testing.T) {
	for _, o := range []options{{}, {noRange: true}, {location: "/elsewhere"}, {location: "/elsewhere", noRange: true}} {
		r := newRig(t, o, Config{})
		at := r.start("a")
		r.do(202, "PATCH", at, "0123", "Content-Range", "0-3")
		r.do(416, "PATCH", at, "89", "Content-Range", "8-9")
		r.do(202, "PATCH", at, "4567", "Content-Range", "4-7")
		want := pushed("a", "0123456789")
		if o.noRange {
			want.Size = 0 // how much the failed part has left nobody knows, unless it is said
		}
		r.do(201, "PUT", with(at, want.Digest), "89")
		assert.Equal(t, []fact{want}, r.told(), "%+v", o)

		// A part that breaks off, of which the registry has taken a half.
		at = r.start("b")
		r.do(202, "PATCH", at, "0123")
		r.do(400, "PATCH", at, io.MultiReader(strings.NewReader("45"), broken{}))
		r.do(204, "GET", at, nil)
		r.do(202, "PATCH", at, "6789")
		r.do(201, "PUT", with(at, want.Digest), nil)
		want.Repository = "b"
		// The size of the content is known by now, but for the one that was never told.
		assert.Equal(t, []fact{want}, r.told(), "%+v", o)

		// The client says how large it is.
		at = r.start("c")
		r.do(400, "PATCH", at, io.MultiReader(strings.NewReader("abc"), broken{}))
		r.do(201, "PUT", with(at, digest.FromString("abcdef")), "def", "Content-Range", "3-5")
		assert.Equal(t, []fact{pushed("c", "abcdef")}, r.told(), "%+v", o)

		// The wrong digest first, then the right one.
		at = r.start("d")
		r.do(400, "PUT", with(at, digest.FromString("other")), "ghi")
		assert.Empty(t, r.told())
		r.do(201, "PUT", with(at, digest.FromString("ghi")), nil)
		want = pushed("d", "ghi")
		want.Size = 0
		assert.Equal(t, []fact{want}, r.told(), "%+v", o)
	}
}

// broken is a body whose client has gone.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestPartThatWasRefusedUnread: such a one has changed nothing, as when a token expires in
// the middle of an upload.
func TestPartThatWasRefusedUnread(t *testing.T) {
	r := newRig(t, options{noRange: true}, Config{})
	expired := false
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if expired = !expired && req.Method != "POST"; expired {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.registry.ServeHTTP(w, req)
	}), r.sink, Config{})
	at := r.start("a")
	for _, part := range []string{"012", "345", "678"} {
		r.do(401, "PATCH", at, part)
		r.do(202, "PATCH", at, part)
	}
	r.do(401, "PUT", with(at, digest.FromString("0123456789")), "9")
	r.do(201, "PUT", with(at, digest.FromString("0123456789")), "9")
	assert.Equal(t, []fact{pushed("a", "0123456789")}, r.told())
}

// TestStrangersDoNotFillTheTable: requests for uploads that were never begun take no room
// from those that were.
func TestStrangersDoNotFillTheTable(t *testing.T) {
	r := newRig(t, options{noRange: true}, Config{})
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, "guess") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		r.registry.ServeHTTP(w, req)
	}), r.sink, Config{})
	at := r.do(202, "PATCH", r.start("a"), "012345").Header().Get("Location")
	guess := request("PATCH", "/", nil)
	for i := range 20_000 { // more than there is room for
		guess.Method = []string{"PATCH", "PUT"}[i%2]
		guess.URL.Path = fmt.Sprintf("/v2/a/blobs/uploads/guess-%d", i)
		r.handler.ServeHTTP(new(discard), guess)
	}
	r.do(201, "PUT", with(at, digest.FromString("0123456789")), "6789")
	assert.Equal(t, []fact{pushed("a", "0123456789")}, r.told())
}

// TestTwoUploadsOfTheSameBlobAtOnce: both are pushes, each with its size.
func TestTwoUploadsOfTheSameBlobAtOnce(t *testing.T) {
	for _, o := range []options{{}, {noRange: true}} {
		r := newRig(t, o, Config{})
		content := strings.Repeat("0123456789", 10)
		d := digest.FromString(content)
		var wg sync.WaitGroup
		for client := range 8 {
			wg.Go(func() {
				at := r.start("a")
				step := client + 1
				for i := 0; i+step < len(content); i += step {
					r.do(202, "PATCH", at, content[i:i+step])
				}
				whole := (len(content) - 1) / step * step
				r.do(201, "PUT", with(at, d), content[whole:])
			})
		}
		wg.Wait()
		var want []fact
		for range 8 {
			want = append(want, pushed("a", content))
		}
		assert.Equal(t, want, r.told())
		assert.Equal(t, want, r.history())
	}
}

// TestTwoPartsOfOneUploadAtOnce: nobody knows in what order the registry took them, so the
// size is not said, rather than a wrong one.
func TestTwoPartsOfOneUploadAtOnce(t *testing.T) {
	r := newRig(t, options{noRange: true}, Config{})
	at := r.start("a")
	slow, read := newSlowBody("0123456789")
	var wg sync.WaitGroup
	wg.Go(func() { r.do(202, "PATCH", at, slow) })
	<-read
	r.do(202, "PATCH", at, "abcde")
	close(slow.end)
	wg.Wait()
	r.do(201, "PUT", with(at, digest.FromString("abcde0123456789!")), "!")
	want := pushed("a", "abcde0123456789!")
	want.Size = 0
	assert.Equal(t, []fact{want}, r.told())
}

// TestTwoFirstPartsAtOnce: the same of an upload that has begun elsewhere, where the answer
// to the earlier one comes late.
func TestTwoFirstPartsAtOnce(t *testing.T) {
	r := newRig(t, options{}, Config{})
	begun := httptest.NewRecorder()
	r.registry.ServeHTTP(begun, request("POST", "/v2/a/blobs/uploads/", nil))
	at := begun.Header().Get("Location")
	taken, goOn := make(chan struct{}), make(chan struct{})
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.registry.ServeHTTP(w, req)
		if req.Header.Get("Slow") != "" {
			close(taken)
			<-goOn
		}
	}), r.sink, Config{})
	var wg sync.WaitGroup
	wg.Go(func() { r.do(202, "PATCH", at, "01234", "Slow", "yes") })
	<-taken
	r.do(202, "PATCH", at, "56789")
	close(goOn)
	wg.Wait()
	want := pushed("a", "0123456789!")
	want.Size = 0
	r.do(201, "PUT", with(at, want.Digest), "!")
	assert.Equal(t, []fact{want}, r.told())
}

// TestPartDuringTheLast: the same of the last part, which the registry took after another
// that came at once.
func TestPartDuringTheLast(t *testing.T) {
	r := newRig(t, options{noRange: true}, Config{})
	at := r.start("a")
	slow, read := newSlowBody("!")
	var wg sync.WaitGroup
	wg.Go(func() { r.do(201, "PUT", with(at, digest.FromString("0123456789!")), slow) })
	<-read
	r.do(202, "PATCH", at, "0123456789")
	close(slow.end)
	wg.Wait()
	want := pushed("a", "0123456789!")
	want.Size = 0
	assert.Equal(t, []fact{want}, r.told())
}

// TestSlowStateOfAnUpload: what a part has noted while its upload's state was on its way
// is newer.
func TestSlowStateOfAnUpload(t *testing.T) {
	r := newRig(t, options{noRange: true}, Config{})
	asked, goOn := make(chan struct{}), make(chan struct{})
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.registry.ServeHTTP(w, req)
		if req.Method == "GET" {
			close(asked)
			<-goOn
		}
	}), r.sink, Config{})
	at := r.start("a")
	r.do(202, "PATCH", at, "01234")
	var wg sync.WaitGroup
	wg.Go(func() { r.do(204, "GET", at, nil) })
	<-asked
	r.do(202, "PATCH", at, "56789")
	close(goOn)
	wg.Wait()
	r.do(201, "PUT", with(at, digest.FromString("0123456789")), nil)
	assert.Equal(t, []fact{pushed("a", "0123456789")}, r.told())
}

// TestUploadUsedAgain: an upload that is over is the registry's to refuse, and only what it
// takes again is a push again.
func TestUploadUsedAgain(t *testing.T) {
	for _, o := range []options{{}, {location: "/elsewhere"}, {location: "/elsewhere?session="}} {
		r := newRig(t, o, Config{})
		at := r.do(202, "PATCH", r.start("a"), "01234").Header().Get("Location")
		r.do(201, "PUT", with(at, digest.FromString("0123456789")), "56789")
		assert.Equal(t, []fact{pushed("a", "0123456789")}, r.told())
		for _, again := range []func() *http.Request{
			func() *http.Request { return request("PUT", with(at, digest.FromString("0123456789")), "56789") },
			func() *http.Request { return request("PUT", with(at, digest.FromString("x")), "x") },
			func() *http.Request { return request("PATCH", at, "56789") },
			func() *http.Request { return request("PATCH", at, "56789", "Content-Range", "10-14") },
			func() *http.Request { return request("GET", at, nil) },
			func() *http.Request { return request("DELETE", at, nil) },
		} {
			bare := httptest.NewRecorder()
			r.registry.ServeHTTP(bare, again())
			w := r.send(404, again())
			assert.Equal(t, bare.Body.String(), w.Body.String())
			assert.Equal(t, bare.Header(), w.Header())
			assert.Empty(t, r.told(), "%s %+v", again().Method, o)
		}
		assert.Len(t, r.history(), 1)
	}

	// One that takes an ID again begins anew with it: its size is not that of before.
	r := newRig(t, options{}, Config{})
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Location", "/v2/a/blobs/uploads/1")
		w.WriteHeader(map[string]int{"POST": 202, "PATCH": 202, "PUT": 201}[req.Method])
	}), r.sink, Config{})
	at := r.start("a")
	r.do(202, "PATCH", at, "01234")
	r.do(201, "PUT", with(at, digest.FromString("0123456789")), "56789")
	again := pushed("a", "x")
	again.Size = 0
	r.do(201, "PUT", with(at, again.Digest), "x")
	r.start("a")
	r.do(201, "PUT", with(at, digest.FromString("abc")), "abc")
	assert.Equal(t, []fact{pushed("a", "0123456789"), again, pushed("a", "abc")}, r.told())
}

// TestPathsThatNobodyNames: a registry may serve what it wants under a path that is none of
// the specification's. Nobody knows what that is.
func TestPathsThatNobodyNames(t *testing.T) {
	sink := new(sinktest.Fake)
	served := &counted{Handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Served", r.Method+" "+r.RequestURI)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	}), sink, Config{})}
	server := serve(t, false, served)
	d := digest.FromString("content").String()
	n := int32(0)
	for _, path := range []string{
		"/v2/../a/manifests/v1", "/v2/a/../b/manifests/v1", "/v2/a/../../manifests/v1", "/v2/%2e%2e/a/manifests/v1", "/v2/a%2f..%2fb/manifests/v1",
		"/v2/a%252fb/manifests/v1", "/v2/a%5cb/manifests/v1", "/v2/a%00b/manifests/v1", "/v2/a/manifests/%2e%2e", "/v2/a/manifests/..%2fv1",
		"/v2/a/blobs/../blobs/" + d, "/v2/a/blobs/..%2f" + d, "/v2/a%2f%2e%2e/blobs/" + d, "/v2/a/blobs/" + d + "%2f..", "/v2/A/blobs/" + d,
		"/v2/../v2/a/blobs/" + d, "/v2%2f..%2fa/blobs/" + d, "/v2/a/../blobs/uploads/?digest=" + d, "/v2/%2e%2e/blobs/uploads/1?digest=" + d,
		"/v2/a/blobs/uploads/../uploads?digest=no", "/v2/a/./blobs/uploads/?mount=" + d + "&from=b", "/../v2/a%2f./blobs/uploads/1?digest=" + d,
	} {
		for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE"} {
			status, body := dial(t, server, method+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 7\r\n\r\ncontent", true)
			assert.Equal(t, 201, status)
			assert.Equal(t, "content", body)
			n++
			served.wait(t, n)
			for _, e := range sink.Events() {
				assert.Fail(t, "an event", "%s %s: %+v", method, path, e.Target)
			}
		}
	}
}

// slowBody is a body that ends only when it is told to.
type slowBody struct {
	io.Reader
	once sync.Once
	read chan struct{}
	end  chan struct{}
}

func newSlowBody(s string) (*slowBody, <-chan struct{}) {
	b := &slowBody{Reader: strings.NewReader(s), read: make(chan struct{}), end: make(chan struct{})}
	return b, b.read
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.once.Do(func() { close(b.read) })
	<-b.end
	return b.Reader.Read(p)
}

// TestPanic: whatever the registry has said before, what panicked has not succeeded, and
// the panic goes on to the server.
func TestPanic(t *testing.T) {
	for _, what := range []any{http.ErrAbortHandler, "a bug", errors.New("another")} {
		for _, when := range []string{"before", "header", "body"} {
			sink := new(sinktest.Fake)
			h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				status := map[string]int{"GET": 200, "PUT": 201, "POST": 201, "DELETE": 202, "PATCH": 202}[r.Method]
				if when != "before" {
					w.WriteHeader(status)
				}
				if when == "body" {
					_, _ = io.WriteString(w, "content")
				}
				panic(what)
			}), sink, Config{})
			for _, req := range []*http.Request{
				request("GET", anyBlob, nil), request("GET", "/v2/a/manifests/v1", nil), request("PUT", "/v2/a/manifests/v1", "{}"),
				request("DELETE", anyBlob, nil), request("DELETE", "/v2/a/manifests/v1", nil),
				request("POST", "/v2/a/blobs/uploads/?digest="+anyBlob[len("/v2/a/blobs/"):], "x"),
				request("PUT", "/v2/a/blobs/uploads/1?digest="+anyBlob[len("/v2/a/blobs/"):], "x"),
				request("PATCH", "/v2/a/blobs/uploads/1", "x"),
			} {
				assert.PanicsWithValue(t, what, func() { h.ServeHTTP(httptest.NewRecorder(), req) })
				assert.Empty(t, sink.Events(), "%s %s, %s", req.Method, req.URL, when)
			}
		}
	}
}

// TestClientThatDoesNotHear: a push that the registry has taken is one, though the client
// had gone when it was told.
func TestClientThatDoesNotHear(t *testing.T) {
	r := newRig(t, options{}, Config{})
	inner := r.registry
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		inner.ServeHTTP(w, req)
		_, _ = io.WriteString(w, "created") // which fails
	}), r.sink, Config{})
	d := digest.FromString("x")
	r.leave(0, request("POST", "/v2/a/blobs/uploads/?digest="+d.String(), "x"))
	r.leave(0, request("DELETE", "/v2/a/blobs/"+d.String(), nil))
	assert.Equal(t, r.history(), r.told())
}

// TestSinkThatFails: the client gets the registry's answer, and the operator hears of it.
func TestSinkThatFails(t *testing.T) {
	for _, row := range []struct {
		name   string
		breaks func(*sinktest.Fake)
		says   string
	}{
		{"error", func(f *sinktest.Fake) { f.Fail(-1, errors.New("disk full")) }, "disk full"},
		{"panic", func(f *sinktest.Fake) { f.Panic(1) }, "told to panic"},
		{"closed", func(f *sinktest.Fake) { _ = f.Close(context.Background()) }, notifications.ErrSinkClosed.Error()},
	} {
		t.Run(row.name, func(t *testing.T) {
			log, hook := logrustest.NewNullLogger()
			r := newRig(t, options{}, Config{BridgeConfig: notifications.BridgeConfig{Logger: logrus.NewEntry(log)}})
			d := r.push("a", "content")
			row.breaks(r.sink)
			w := r.do(200, "GET", "/v2/a/blobs/"+d.String(), nil)
			assert.Equal(t, "content", w.Body.String())
			assert.Empty(t, r.told())
			require.Len(t, hook.AllEntries(), 1)
			entry := hook.LastEntry()
			assert.Equal(t, logrus.ErrorLevel, entry.Level)
			assert.ErrorContains(t, entry.Data["error"].(error), row.says)
			assert.Equal(t, "a", entry.Data["repository"])
			assert.Equal(t, "GET", entry.Data["http.request.method"])
			assert.Equal(t, "pull", entry.Data["action"])
			assert.NotEmpty(t, entry.Data["event.id"])
			assert.NotEmpty(t, entry.Data["http.request.id"])
		})
	}
}

// TestSinkThatHangs: the client waits no longer than DispatchTimeout.
func TestSinkThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hook := logrustest.NewNullLogger()
		r := newRig(t, options{}, Config{BridgeConfig: notifications.BridgeConfig{Logger: logrus.NewEntry(log), DispatchTimeout: 3 * time.Second}})
		d := r.push("a", "content")
		release := r.sink.Hold()
		defer release()
		begun := time.Now()
		w := r.do(200, "GET", "/v2/a/blobs/"+d.String(), nil)
		assert.Equal(t, 3*time.Second, time.Since(begun))
		assert.Equal(t, "content", w.Body.String())
		require.Len(t, hook.AllEntries(), 1)
		assert.ErrorIs(t, hook.LastEntry().Data["error"].(error), notifications.ErrDispatchTimeout)

		// A client that has gone does not cut the sink's time short.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun = time.Now()
		r.send(200, request("GET", "/v2/a/blobs/"+d.String(), nil).WithContext(ctx))
		assert.Equal(t, 3*time.Second, time.Since(begun))
	})
}

// TestSilence: who says nothing to a client that is there says 200; to one that has gone,
// nothing.
func TestSilence(t *testing.T) {
	f := new(sinktest.Fake)
	silent := Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), f, Config{})
	for _, method := range []string{"PUT", "GET", "DELETE"} {
		r := httptest.NewRequest(method, "/v2/foo/manifests/latest", nil)
		gone, leave := context.WithCancel(t.Context())
		leave()
		before := len(f.Events())
		silent.ServeHTTP(httptest.NewRecorder(), r.WithContext(gone))
		assert.Len(t, f.Events(), before, method)
		silent.ServeHTTP(httptest.NewRecorder(), r)
		assert.Len(t, f.Events(), before+1, method)
	}
}
