package stocktest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream/clustertest"
	_ "github.com/registry-notifications/notifications/middleware/jetstream"
	"github.com/registry-notifications/notifications/sinktest"
)

// cluster starts one server of NATS.
func cluster(t *testing.T, change func(*server.Options)) *clustertest.Cluster {
	t.Helper()
	c, err := clustertest.Start(1, change)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c
}

// options are those of the middleware, with servers at these URLs and one endpoint.
func options(urls, webhook, more string) string {
	return `
hub: jetstream
jetstream: {servers: ["` + urls + `"], lease: 1s` + more + `}
endpoints: [{name: ci, url: "` + webhook + `", backoff: 1ms, maxbackoff: 2ms}]
`
}

func parse(t *testing.T, options string) *configuration.Configuration {
	t.Helper()
	config, err := configuration.Parse(strings.NewReader(`
version: 0.1
log: {accesslog: {disabled: true}}
storage: {inmemory: {}, delete: {enabled: true}}
http: {addr: ":5000", secret: for the test}
middleware:
  registry:
    - name: notifications
      options:` + strings.ReplaceAll(options, "\n", "\n        ")))
	require.NoError(t, err)
	return config
}

// registry is a stock distribution server.
type registry struct {
	t        *testing.T
	url      string
	shutdown func() error
}

func start(t *testing.T, options string) *registry {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	app := handlers.NewApp(ctx, parse(t, options))
	web := httptest.NewServer(app)
	t.Cleanup(web.Close)
	r := &registry{t: t, url: web.URL, shutdown: sync.OnceValue(app.Shutdown)}
	t.Cleanup(func() { _ = r.shutdown() })
	return r
}

// refused returns why a server does not start.
func refused(t *testing.T, options string) (text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	config := parse(t, options)
	defer func() {
		err, is := recover().(error)
		require.True(t, is, "it has started")
		text = err.Error()
	}()
	_ = handlers.NewApp(ctx, config).Shutdown()
	return ""
}

func (r *registry) do(method, url, contentType, body string) *http.Response {
	r.t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(r.t, err)
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", manifestType)
	response, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	r.t.Cleanup(http.DefaultClient.CloseIdleConnections)
	response.Body.Close()
	return response
}

func (r *registry) pushBlob(repository, content string) digest.Digest {
	r.t.Helper()
	d := digest.FromString(content)
	begin := r.do("POST", r.url+"/v2/"+repository+"/blobs/uploads/", "", "")
	require.Equal(r.t, http.StatusAccepted, begin.StatusCode)
	end := r.do("PUT", begin.Header.Get("Location")+"&digest="+d.String(), "application/octet-stream", content)
	require.Equal(r.t, http.StatusCreated, end.StatusCode)
	return d
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

// pushImage pushes a manifest by tag, and its config.
func (r *registry) pushImage(repository, tag string) {
	r.t.Helper()
	config := r.pushBlob(repository, "{}")
	put := r.do("PUT", r.url+"/v2/"+repository+"/manifests/"+tag, manifestType,
		fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, manifestType, config))
	require.Equal(r.t, http.StatusCreated, put.StatusCode)
}

// webhook keeps what it gets, unless it is away.
type webhook struct {
	url    string
	away   atomic.Bool
	missed atomic.Int32 // requests while it was away

	mu     sync.Mutex // guards events
	events []*notifications.Event
}

func newWebhook(t *testing.T) *webhook {
	w := new(webhook)
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if w.away.Load() {
		w.missed.Add(1)
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	envelope, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, envelope.Events...)
}

// kinds are "push blob", "push manifest" and so on.
func (w *webhook) kinds() (kinds []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		kinds = append(kinds, e.Action+" "+e.Target.Type)
	}
	return kinds
}

func (w *webhook) waitFor(t *testing.T, kinds ...string) {
	t.Helper()
	sinktest.Eventually(t, func() bool { return len(w.kinds()) >= len(kinds) }, "events come")
	require.Equal(t, kinds, w.kinds())
}

// logged keeps every line of the log, down to those for debugging.
func logged(t *testing.T) *logrustest.Hook {
	level := logrus.GetLevel()
	logrus.SetLevel(logrus.DebugLevel)
	hook := logrustest.NewGlobal()
	t.Cleanup(func() {
		logrus.SetLevel(level)
		logrus.StandardLogger().ReplaceHooks(make(logrus.LevelHooks))
	})
	return hook
}

func lines(hook *logrustest.Hook, message string) (found []*logrus.Entry) {
	for _, e := range hook.AllEntries() {
		if strings.Contains(e.Message, message) {
			found = append(found, e)
		}
	}
	return found
}
