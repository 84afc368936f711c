package notifications_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// receiver is a webhook: it decodes what it gets and answers as it is told.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex // guards the rest
	requests []*http.Request
	bodies   []string
	events   []*Event
	conns    int
	answer   http.HandlerFunc // nil: 200
	held     chan struct{}
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			r.mu.Lock()
			r.conns++
			r.mu.Unlock()
		}
	}
	r.Start()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.requests = append(r.requests, req)
	r.bodies = append(r.bodies, string(body))
	answer, held := r.answer, r.held
	r.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-req.Context().Done():
			return
		}
	}
	if answer != nil {
		answer(w, req)
		return
	}
	r.take(w, req, body)
}

func (r *receiver) take(w http.ResponseWriter, req *http.Request, body []byte) {
	env, err := DecodeEnvelope(req.Header.Get("Content-Type"), strings.NewReader(string(body)), 1<<30)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, env.Events...)
}

// answers changes what the receiver answers: nil for taking what comes.
func (r *receiver) answers(h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = h
}

// hold makes the receiver wait before it answers.
func (r *receiver) hold() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := make(chan struct{})
	r.held = held
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held = nil
		close(held)
	})
}

func (r *receiver) got() []*Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Event(nil), r.events...)
}

func (r *receiver) posts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

func (r *receiver) last() (*http.Request, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests[len(r.requests)-1], r.bodies[len(r.bodies)-1]
}

func statusHandler(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func newHTTPSink(t testing.TB, url string, c HTTPConfig) Sink {
	s, err := NewHTTPSink(url, c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func TestHTTPSinkIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
		r := newReceiver(t)
		return sinktest.Subject{Sink: newHTTPSink(t, r.URL, HTTPConfig{}), Events: r.got, Hold: r.hold}
	})
}

func TestHTTPSinkPostsAnEnvelope(t *testing.T) {
	r := newReceiver(t)
	s := newHTTPSink(t, r.URL+"/hook?x=1", HTTPConfig{})
	events := sinktest.Events("app", 3)
	require.NoError(t, s.Write(t.Context(), events...))
	req, body := r.last()
	assert.Equal(t, "POST", req.Method)
	assert.Equal(t, "/hook?x=1", req.RequestURI)
	assert.Equal(t, MediaTypeV2, req.Header.Get("Content-Type"))
	assert.EqualValues(t, len(body), req.ContentLength)
	want, err := (&Envelope{Events: events}).MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, string(want), body)
}

func TestHTTPSinkHeadersReplace(t *testing.T) {
	r := newReceiver(t)
	r.answers(statusHandler(200))
	s := newHTTPSink(t, strings.Replace(r.URL, "http://", "http://user:pass@", 1), HTTPConfig{Headers: http.Header{
		"content-type": {"application/json"}, "HOST": {"public.example.org"},
		"User-Agent": {"mine/1"}, "X-Two": {"a", "b"},
	}})
	require.NoError(t, s.Write(t.Context(), NewEvent(ActionPush)))
	req, _ := r.last()
	assert.Equal(t, []string{"application/json"}, req.Header["Content-Type"])
	assert.Equal(t, []string{"mine/1"}, req.Header["User-Agent"])
	assert.Equal(t, []string{"a", "b"}, req.Header["X-Two"])
	assert.Equal(t, "public.example.org", req.Host)
	assert.NotContains(t, req.Header, "Idempotency-Key")
	user, password, _ := req.BasicAuth()
	assert.Equal(t, "user pass", user+" "+password)
}

func TestHTTPSinkMediaTypeV1(t *testing.T) {
	r := newReceiver(t)
	s := newHTTPSink(t, r.URL, HTTPConfig{MediaType: MediaTypeV1})
	require.NoError(t, s.Write(t.Context(), NewEvent(ActionPush)))
	req, _ := r.last()
	assert.Equal(t, MediaTypeV1, req.Header.Get("Content-Type"))
}

func TestHTTPSinkEnvelopeLimits(t *testing.T) {
	events := sinktest.Events("app", 10)
	for _, e := range events {
		e.Timestamp = time.Unix(1e9, 0) // all of one length
	}
	one, err := (&Envelope{Events: events[:1]}).MarshalJSON()
	require.NoError(t, err)
	three, err := (&Envelope{Events: events[:3]}).MarshalJSON()
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		config HTTPConfig
		posts  []int
	}{
		{"defaults", HTTPConfig{}, []int{10}},
		{"one event", HTTPConfig{MaxEvents: 1}, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"four events", HTTPConfig{MaxEvents: 4}, []int{4, 4, 2}},
		{"three just fit", HTTPConfig{MaxBytes: len(three)}, []int{3, 3, 3, 1}},
		{"three do not fit", HTTPConfig{MaxBytes: len(three) - 1}, []int{2, 2, 2, 2, 2}},
		{"not even one", HTTPConfig{MaxBytes: len(one) - 1}, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(t)
			require.NoError(t, newHTTPSink(t, r.URL, c.config).Write(t.Context(), events...))
			var posts []int
			for _, body := range r.bodies {
				var env struct{ Events []json.RawMessage }
				require.NoError(t, json.Unmarshal([]byte(body), &env))
				posts = append(posts, len(env.Events))
				if c.config.MaxBytes > 0 && len(env.Events) > 1 {
					assert.LessOrEqual(t, len(body), c.config.MaxBytes)
				}
			}
			assert.Equal(t, c.posts, posts)
			assert.Equal(t, sinktest.IDs(events), sinktest.IDs(r.got()))
		})
	}
}

func TestHTTPSinkOneEventOf100MB(t *testing.T) {
	if testing.Short() {
		t.Skip("needs some hundred MB")
	}
	r := newReceiver(t)
	r.answers(statusHandler(413))
	e := NewEvent(ActionPush)
	e.Target.Data = make([]byte, 75<<20) // 100 MB in base64
	err := newHTTPSink(t, r.URL, HTTPConfig{}).Write(t.Context(), NewEvent(ActionPush), e)
	var failed *DeliveryError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, Refused, failed.Kind)
}

// TestHTTPSinkOutcomes has every status of the delivery policy.
func TestHTTPSinkOutcomes(t *testing.T) {
	want := map[int]FailureKind{
		300: Transient, 301: Transient, 302: Transient, 303: Transient, 304: Transient, 307: Transient, 308: Transient,
		400: Refused, 401: Misconfigured, 402: Misconfigured, 403: Misconfigured, 404: Misconfigured, 405: Misconfigured,
		408: Transient, 409: Misconfigured, 410: Gone, 413: Refused, 415: Refused, 418: Misconfigured, 421: Misconfigured,
		422: Refused, 425: Transient, 429: Transient, 499: Misconfigured,
		500: Transient, 501: Refused, 502: Transient, 503: Transient, 504: Transient, 599: Transient, 799: Transient,
	}
	r := newReceiver(t)
	r.answers(func(w http.ResponseWriter, req *http.Request) {
		code, _ := strconv.Atoi(req.URL.Query().Get("code"))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
	})
	for code, kind := range want {
		s := newHTTPSink(t, fmt.Sprintf("%s/?code=%d", r.URL, code), HTTPConfig{})
		err := s.Write(t.Context(), NewEvent(ActionPush))
		var failed *DeliveryError
		require.ErrorAs(t, err, &failed, "status %d", code)
		assert.Equal(t, kind, failed.Kind, "status %d", code)
		assert.Equal(t, code, failed.Status)
		assert.ErrorContains(t, err, strconv.Itoa(code))
	}
	assert.Equal(t, len(want), r.posts(), "no redirect was followed")
	for _, code := range []int{200, 201, 202, 204, 206, 299} {
		s := newHTTPSink(t, fmt.Sprintf("%s/?code=%d", r.URL, code), HTTPConfig{})
		assert.NoError(t, s.Write(t.Context(), NewEvent(ActionPush)), "status %d", code)
	}
}

func TestHTTPSinkRetryAfter(t *testing.T) {
	r := newReceiver(t)
	s := newHTTPSink(t, r.URL, HTTPConfig{})
	for value, want := range map[string][2]time.Duration{
		"":                                       {0, 0},
		"0":                                      {0, 0},
		"7":                                      {7 * time.Second, 7 * time.Second},
		" 7 ":                                    {7 * time.Second, 7 * time.Second},
		"3600":                                   {time.Hour, time.Hour},
		"3601":                                   {MaxRetryAfter, MaxRetryAfter},
		"99999999999999999999999":                {MaxRetryAfter, MaxRetryAfter},
		"-5":                                     {0, 0},
		"1.5":                                    {0, 0},
		"soon":                                   {0, 0},
		"Fri, 31 Dec 1999 23:59:59 GMT":          {0, 0},
		"Fri, 31 Dec 9999 23:59:59 GMT":          {MaxRetryAfter, MaxRetryAfter},
		inHTTP(time.Now().Add(10 * time.Minute)): {9 * time.Minute, 10 * time.Minute},
	} {
		r.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(503)
		})
		var failed *DeliveryError
		require.ErrorAs(t, s.Write(t.Context(), NewEvent(ActionPush)), &failed)
		assert.GreaterOrEqual(t, failed.RetryAfter, want[0], value)
		assert.LessOrEqual(t, failed.RetryAfter, want[1], value)
	}
}

func inHTTP(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

func TestHTTPSinkNoAnswer(t *testing.T) {
	failure := func(t *testing.T, url string, c HTTPConfig) *DeliveryError {
		t.Helper()
		err := newHTTPSink(t, url, c).Write(t.Context(), NewEvent(ActionPush))
		var failed *DeliveryError
		require.ErrorAs(t, err, &failed)
		assert.Zero(t, failed.Status)
		assert.Error(t, failed.Err)
		return failed
	}
	t.Run("nobody listens", func(t *testing.T) {
		r := newReceiver(t)
		r.Close()
		assert.Equal(t, Transient, failure(t, r.URL, HTTPConfig{}).Kind)
	})
	t.Run("no such host", func(t *testing.T) {
		assert.Equal(t, Transient, failure(t, "http://host.invalid/", HTTPConfig{}).Kind)
	})
	t.Run("accepts and never answers", func(t *testing.T) {
		r := newReceiver(t)
		defer r.hold()()
		assert.Equal(t, Transient, failure(t, r.URL, HTTPConfig{Timeout: 20 * time.Millisecond}).Kind)
	})
	t.Run("not TLS", func(t *testing.T) {
		r := newReceiver(t)
		assert.Equal(t, Misconfigured, failure(t, strings.Replace(r.URL, "http", "https", 1), HTTPConfig{}).Kind)
	})
	t.Run("certificate that nobody knows", func(t *testing.T) {
		r := httptest.NewUnstartedServer(http.NotFoundHandler())
		r.Config.ErrorLog = quietLog
		r.StartTLS()
		defer r.Close()
		assert.Equal(t, Misconfigured, failure(t, r.URL, HTTPConfig{}).Kind)
	})
	t.Run("TLS of long ago", func(t *testing.T) {
		r := httptest.NewUnstartedServer(http.NotFoundHandler())
		r.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		r.Config.ErrorLog = quietLog
		r.StartTLS()
		defer r.Close()
		assert.Equal(t, Misconfigured, failure(t, r.URL, HTTPConfig{}).Kind)
	})
	t.Run("not HTTP", func(t *testing.T) {
		url := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-x\r\n\r\n") })
		assert.Equal(t, Transient, failure(t, url, HTTPConfig{}).Kind)
	})
	t.Run("hangs up", func(t *testing.T) {
		url := listen(t, func(net.Conn) {})
		assert.Equal(t, Transient, failure(t, url, HTTPConfig{}).Kind)
	})
}

// listen serves raw connections: each is read from once, handed over and closed.
func listen(t *testing.T, serve func(net.Conn)) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 4096))
				serve(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "http://" + l.Addr().String()
}

// TestHTTPSinkEndlessAnswer: what a receiver sends back costs no memory and no more
// than the time-out.
func TestHTTPSinkEndlessAnswer(t *testing.T) {
	r := newReceiver(t)
	sent := make(chan int, 1)
	r.answers(func(w http.ResponseWriter, req *http.Request) {
		n := 0
		defer func() { sent <- n }()
		for piece := make([]byte, 1<<16); n < 1<<30; n += len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	assert.NoError(t, newHTTPSink(t, r.URL, HTTPConfig{}).Write(t.Context(), NewEvent(ActionPush)), "it said 200")
	assert.Less(t, <-sent, 64<<20, "bytes that were taken of it, with all buffers between")

	r.answers(func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(200)
		for req.Context().Err() == nil {
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		}
	})
	assert.NoError(t, newHTTPSink(t, r.URL, HTTPConfig{Timeout: 50 * time.Millisecond}).Write(t.Context(), NewEvent(ActionPush)))
}

func TestHTTPSinkKeepsItsConnection(t *testing.T) {
	r := newReceiver(t)
	s := newHTTPSink(t, r.URL, HTTPConfig{})
	for i := range 50 {
		r.answers(nil)
		if i%2 == 0 {
			r.answers(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(500)
				_, _ = w.Write(make([]byte, 10<<10))
			})
		}
		_ = s.Write(t.Context(), NewEvent(ActionPush))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Len(t, r.requests, 50)
	assert.Equal(t, 1, r.conns)
}

// TestHTTPSinkKeepAliveDropped: a connection that the receiver closed while it was
// idle is no failure.
func TestHTTPSinkKeepAliveDropped(t *testing.T) {
	r := newReceiver(t)
	s := newHTTPSink(t, r.URL, HTTPConfig{})
	for range 20 {
		require.NoError(t, s.Write(t.Context(), NewEvent(ActionPush)))
		r.CloseClientConnections()
	}
	assert.Len(t, r.got(), 20)
}

// TestHTTPSinkLeavesTheRestOfTheProcessAlone: others' idle connections live on.
func TestHTTPSinkLeavesTheRestOfTheProcessAlone(t *testing.T) {
	r := newReceiver(t)
	r.answers(statusHandler(200))
	get := func() {
		resp, err := http.Get(r.URL)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	defer http.DefaultClient.CloseIdleConnections()
	get()
	s := newHTTPSink(t, r.URL, HTTPConfig{})
	require.NoError(t, s.Write(t.Context(), NewEvent(ActionPush)))
	require.NoError(t, s.Close(t.Context()))
	get()
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Equal(t, 2, r.conns, "one of the process's and one of the sink's")
}

func TestHTTPSinkBadInput(t *testing.T) {
	for _, c := range []struct {
		name, url string
		config    HTTPConfig
		want      []string
	}{
		{"no URL", "", HTTPConfig{}, []string{`url: ""`, "allowed is http:// or https://"}},
		{"no scheme", "example.org/hook", HTTPConfig{}, []string{"url:", "allowed"}},
		{"another scheme", "ftp://example.org/hook", HTTPConfig{}, []string{"url: ftp://example.org/hook", "allowed"}},
		{"no host", "http:///hook", HTTPConfig{}, []string{"url:", "allowed"}},
		{"only a port", "http://:80/", HTTPConfig{}, []string{"url:", "allowed"}},
		{"not a URL", "http://user:hunter2#x@example.org", HTTPConfig{}, []string{"url:", "allowed"}},
		{"control characters", "http://example.org/\x7f", HTTPConfig{}, []string{"url:", "allowed"}},
		{"negative timeout", "http://example.org", HTTPConfig{Timeout: -1}, []string{"timeout: -1ns", "allowed"}},
		{"media type", "http://example.org", HTTPConfig{MediaType: "text/plain"}, []string{`mediatype: "text/plain"`, MediaTypeV1}},
		{"too many events", "http://example.org", HTTPConfig{MaxEvents: 1025}, []string{"maxevents: 1025", "1024"}},
		{"negative events", "http://example.org", HTTPConfig{MaxEvents: -1}, []string{"maxevents: -1", "allowed"}},
		{"negative bytes", "http://example.org", HTTPConfig{MaxBytes: -1}, []string{"maxbytes: -1", "allowed"}},
		{"header name", "http://example.org", HTTPConfig{Headers: http.Header{"a b": {"x"}}}, []string{`headers: "a b"`, "allowed"}},
		{"no header name", "http://example.org", HTTPConfig{Headers: http.Header{"": {"x"}}}, []string{`headers: ""`, "allowed"}},
		{"header value", "http://example.org", HTTPConfig{Headers: http.Header{"X-A": {"ok", "hunter2\r\nY: z"}}}, []string{"headers: X-A[1]", "allowed"}},
		{"framing header", "http://example.org", HTTPConfig{Headers: http.Header{"content-length": {"0"}}}, []string{"content-length", "allowed"}},
		{"one header twice", "http://example.org", HTTPConfig{Headers: http.Header{"x-a": {"hunter2"}, "X-A": {"hunter2"}}}, []string{`"X-A"`, "allowed"}},
		{"two authorizations", "http://u:hunter2@example.org", HTTPConfig{Headers: http.Header{"Authorization": {"hunter2"}}}, []string{"Authorization", "allowed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewHTTPSink(c.url, c.config)
			require.Error(t, err)
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}
