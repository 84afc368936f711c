package clients

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	_ "github.com/registry-notifications/notifications/middleware"
	"github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// kind is a kind of server, with what it can do.
type kind struct {
	name  string
	start func(t *testing.T, s *server) http.Handler
	// mounts says that it takes blobs over from another repository. One that does not has
	// every blob in every repository.
	mounts bool
	// untags says that tags go with their manifest, and tells that they do.
	untags bool
	// refers says that it lists the referrers of a manifest. For one that does not, clients
	// keep the list themselves, under a tag.
	refers bool
	// resumes says that it tells how far an upload has come, and gives out the rest of a blob
	// without its end being named.
	resumes bool
}

var kinds = []kind{
	{name: "handler around go-containerregistry", start: startAny, refers: true},
	{name: "middleware in distribution", start: startStock, mounts: true, untags: true, resumes: true},
	{name: "handler around distribution", start: startWatched, mounts: true, resumes: true},
}

// server is a registry whose events are kept.
type server struct {
	kind
	t    *testing.T
	host string
	net  *network
	kept sinktest.Fake // gets the events

	seen   int // how many of them were looked at
	asked  int // how many times
	client http.Client
}

const (
	// own is the user agent of the test's own requests.
	own = "the test"
	// What is pulled to see that all before it is over.
	ownRepository, ownContent = "the/test", "a blob"

	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

func newServer(t *testing.T, k kind) *server {
	s := &server{kind: k, t: t, client: http.Client{Transport: new(http.Transport)}}
	t.Cleanup(s.client.CloseIdleConnections)
	s.net = &network{server: k.start(t, s)}
	web := httptest.NewServer(s.net)
	t.Cleanup(web.Close)
	s.host = strings.TrimPrefix(web.URL, "http://")

	header, _ := s.do(http.MethodPost, "/v2/"+ownRepository+"/blobs/uploads/", "")
	at, err := url.Parse(header.Get("Location"))
	require.NoError(t, err)
	query := at.Query()
	query.Set("digest", digest.FromString(ownContent).String())
	at.RawQuery = query.Encode()
	s.do(http.MethodPut, at.RequestURI(), ownContent)
	require.Empty(t, s.events())
	return s
}

// startAny is ociregistry.Handler around a registry that knows nothing of events.
func startAny(_ *testing.T, s *server) http.Handler {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	return ociregistry.Handler(inner, &s.kept, ociregistry.Config{})
}

// startWatched is ociregistry.Handler around a stock server.
func startWatched(t *testing.T, s *server) http.Handler {
	return ociregistry.Handler(newApp(t, ""), &s.kept, ociregistry.Config{})
}

// startStock is a stock server with the middleware, and a webhook.
func startStock(t *testing.T, s *server) http.Handler {
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		envelope, err := notifications.DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 0)
		if err == nil {
			err = s.kept.Write(r.Context(), envelope.Events...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	t.Cleanup(hook.Close)
	return newApp(t, `
middleware:
  registry:
    - name: notifications
      options:
        endpoints:
          - name: webhook
            url: `+hook.URL)
}

func newApp(t *testing.T, middleware string) http.Handler {
	config, err := configuration.Parse(strings.NewReader(`
version: 0.1
log: {accesslog: {disabled: true}}
storage: {inmemory: {}, delete: {enabled: true}, maintenance: {uploadpurging: {enabled: false}}}
http: {secret: of use to several servers with one storage}
` + middleware))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	app := handlers.NewApp(ctx, config)
	t.Cleanup(func() {
		require.NoError(t, app.Shutdown())
		cancel()
	})
	return app
}

// do sends a request of the test's own, whose events are left out.
func (s *server) do(method, path, body string) (header http.Header, content []byte) {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://"+s.host+path, strings.NewReader(body))
	require.NoError(s.t, err)
	r.Header.Set("User-Agent", own)
	r.Header.Set("Accept", strings.Join([]string{v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, dockerManifest}, ", "))
	resp, err := s.client.Do(r)
	require.NoError(s.t, err)
	content, err = io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, resp.Body.Close())
	require.Less(s.t, resp.StatusCode, 300, "%s", content)
	return resp.Header, content
}

// read returns the manifest that a tag leads to.
func (s *server) read(repository, tag string) image {
	s.t.Helper()
	header, raw := s.do(http.MethodGet, "/v2/"+repository+"/manifests/"+tag, "")
	return image{
		piece: piece{digest.FromBytes(raw), header.Get("Content-Type"), int64(len(raw))},
		blobs: blobsOf(s.t, raw),
	}
}

// readIndex returns the index that a tag leads to, with its images.
func (s *server) readIndex(repository, tag string) image {
	s.t.Helper()
	_, raw := s.do(http.MethodGet, "/v2/"+repository+"/manifests/"+tag, "")
	var listed v1.Index
	require.NoError(s.t, json.Unmarshal(raw, &listed))
	i := s.read(repository, tag)
	for _, m := range listed.Manifests {
		i.manifests = append(i.manifests, s.read(repository, m.Digest.String()))
	}
	return i
}

// events returns what has come since the last call, when nothing more can: no request is
// under way, and the event of one that came after all of them is there.
func (s *server) events() (came []event) {
	s.t.Helper()
	sinktest.Eventually(s.t, func() bool { return s.net.active.Load() == 0 }, "no request under way")
	s.asked++
	s.do(http.MethodGet, "/v2/"+ownRepository+"/blobs/"+digest.FromString(ownContent).String(), "")
	var all []*notifications.Event
	sinktest.Eventually(s.t, func() bool {
		all = s.kept.Events()
		answers := 0
		for _, e := range all {
			if e.Action == notifications.ActionPull && e.Target.Repository == ownRepository {
				answers++
			}
		}
		return answers == s.asked
	}, "the event that comes last")
	for _, e := range all[s.seen:] {
		if e.Request.UserAgent != own {
			came = append(came, eventOf(e))
		}
	}
	s.seen = len(all)
	return came
}
