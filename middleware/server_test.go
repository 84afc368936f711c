package middleware

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

const soon = 30 * time.Second // is never waited for when all is well

// receiver is a webhook that keeps what it gets.
type receiver struct {
	URL  string
	hold chan struct{} // while it is open, no answer is given

	mu      sync.Mutex // guards the rest
	events  []*notifications.Event
	headers []http.Header
}

func newReceiver(t *testing.T) *receiver {
	rc := &receiver{hold: make(chan struct{})}
	close(rc.hold)
	server := httptest.NewServer(rc)
	t.Cleanup(server.Close)
	rc.URL = server.URL
	return rc
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	envelope, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	<-rc.hold
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.events = append(rc.events, envelope.Events...)
	rc.headers = append(rc.headers, r.Header)
}

// tee has what is read from body written to w.
func tee(body io.ReadCloser, w io.Writer) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(body, w), body}
}

// kinds returns what has come: "push blob", "pull manifest" and so on.
func (rc *receiver) kinds() []string {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	kinds := []string{}
	for _, e := range rc.events {
		kinds = append(kinds, e.Action+" "+e.Target.Type)
	}
	return kinds
}

func (rc *receiver) waitFor(t *testing.T, kinds ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(rc.kinds()) >= len(kinds) }, soon, time.Millisecond)
	require.Equal(t, kinds, rc.kinds())
}

// parseYAML reads a server's configuration as the server does.
func parseYAML(t *testing.T, middleware string) *configuration.Configuration {
	t.Helper()
	config, err := configuration.Parse(strings.NewReader(`
version: 0.1
log: {accesslog: {disabled: true}}
storage: {inmemory: {}, delete: {enabled: true}}
http: {addr: ":5000", secret: for the test}
` + strings.ReplaceAll(middleware, "\t", "  ")))
	require.NoError(t, err)
	return config
}

// optionsOf returns the options of the registry middleware.
func optionsOf(t *testing.T, yaml string) map[string]any {
	t.Helper()
	config := parseYAML(t, "middleware:\n  registry:\n    - name: notifications\n      options:\n        "+
		strings.ReplaceAll(strings.TrimSpace(yaml), "\n", "\n        "))
	return config.Middleware["registry"][0].Options
}

// server is a stock distribution server.
type server struct {
	app *handlers.App
	url string
	t   *testing.T

	shutdown func() error
}

func newServer(t *testing.T, config *configuration.Configuration) *server {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	app := handlers.NewApp(ctx, config)
	s := &server{app: app, t: t}
	s.shutdown = sync.OnceValue(app.Shutdown)
	t.Cleanup(func() { _ = s.shutdown() })
	s.url = serve(t, app)
	return s
}

func serve(t *testing.T, app http.Handler) (url string) {
	web := httptest.NewServer(app)
	t.Cleanup(web.Close)
	return web.URL
}

func (s *server) do(method, path, contentType, body string) *http.Response {
	s.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = s.url + path
	}
	r, err := http.NewRequest(method, path, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header.Set("Accept", imageManifest)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	s.t.Cleanup(http.DefaultClient.CloseIdleConnections)
	resp.Body.Close()
	return resp
}

// pushBlob uploads content in one request after the first.
func (s *server) pushBlob(repository, content string) digest.Digest {
	s.t.Helper()
	dgst := digest.FromString(content)
	start := s.do("POST", "/v2/"+repository+"/blobs/uploads/", "", "")
	require.Equal(s.t, http.StatusAccepted, start.StatusCode)
	end := s.do("PUT", start.Header.Get("Location")+"&digest="+dgst.String(), "application/octet-stream", content)
	require.Equal(s.t, http.StatusCreated, end.StatusCode)
	return dgst
}

func (s *server) get(path string) {
	s.t.Helper()
	require.Equal(s.t, http.StatusOK, s.do("GET", path, "", "").StatusCode)
}
