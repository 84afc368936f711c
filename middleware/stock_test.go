package middleware

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/signature"
)

// stock is what operators have in their files today, for distribution's own
// notifications.
const stock = `
  events:
    includereferences: true
  endpoints:
    - name: alistener
      disabled: false
      url: URL
      headers:
        Authorization: [Bearer token]
        X-Two: [a, b]
      timeout: 1s
      threshold: 10
      backoff: 1s
      ignoredmediatypes:
        - application/vnd.docker.image.rootfs.foreign.diff.tar.gzip
      ignore:
        mediatypes:
          - application/octet-stream
        actions:
          - pull
    - name: later
      disabled: true
      url: http://localhost:8083/callback
      timeout: 1s
      threshold: 10
      backoff: 1s
`

// The block of a stock configuration moves into the options as it is, and means what it
// did.
func TestStockNotifications(t *testing.T) {
	rc := newReceiver(t)
	block := strings.ReplaceAll(stock, "URL", rc.URL)
	theirs := parseYAML(t, "notifications:"+block).Notifications

	config := parseYAML(t, "middleware:\n  registry:\n    - name: notifications\n      options:"+strings.ReplaceAll(block, "\n", "\n      "))
	ours, err := new(document).parse(config.Middleware["registry"][0].Options)
	require.NoError(t, err)
	require.Equal(t, theirs.EventConfig.IncludeReferences, ours.Events.IncludeReferences)
	require.Len(t, ours.Endpoints, len(theirs.Endpoints))
	for i, want := range theirs.Endpoints {
		got := ours.Endpoints[i]
		require.Equal(t, want.Name, got.Name)
		require.Equal(t, want.Disabled, got.Disabled)
		require.Equal(t, want.URL, got.URL)
		require.Equal(t, want.Headers, got.Headers)
		require.Equal(t, want.Timeout, got.Timeout)
		require.Equal(t, want.Threshold, got.Threshold)
		require.Equal(t, want.Backoff, got.Backoff)
		require.Equal(t, want.IgnoredMediaTypes, got.IgnoredMediaTypes)
		require.Equal(t, want.Ignore.MediaTypes, got.Ignore.MediaTypes)
		require.Equal(t, want.Ignore.Actions, got.Ignore.Actions)
	}

	s := newServer(t, config)
	s.pushImage("library/app", "v1")
	s.get("/v2/library/app/manifests/v1")
	require.NoError(t, s.shutdown())
	require.Equal(t, []string{"push manifest"}, rc.kinds()) // of the blob the type is ignored
	require.Len(t, rc.events[0].Target.References, 1)
	header := rc.headers[0]
	require.Equal(t, []string{"Bearer token"}, header["Authorization"])
	require.Equal(t, []string{"a", "b"}, header["X-Two"])
}

// One server with each hub, from the text of its configuration to the webhook.
func TestEachHub(t *testing.T) {
	for hub, block := range map[string]string{
		"memory":  "{maxpending: 1000, maxpendingbytes: 16MiB, overflow: block}",
		"journal": "{dir: " + filepath.Join(t.TempDir(), "events") + ", maxbytes: 16MiB}",
		"testhub": "{wait: 1s}",
	} {
		t.Run(hub, func(t *testing.T) {
			rc := newReceiver(t)
			s := newServer(t, parseYAML(t, `
middleware:
	registry:
		- name: notifications
			options:
				hub: `+hub+`
				`+hub+`: `+block+`
				counthead: true
				endpoints: [{name: webhook, url: "`+rc.URL+`"}]
`))
			manifest := s.pushImage("library/app", "v1")
			s.get("/v2/library/app/manifests/v1")
			require.Equal(t, http.StatusOK, s.do("HEAD", "/v2/library/app/manifests/v1", "", "").StatusCode)
			require.Equal(t, http.StatusAccepted, s.do("DELETE", "/v2/library/app/manifests/"+digest.FromString(manifest).String(), "", "").StatusCode)
			rc.waitFor(t, "push blob", "push manifest", "pull manifest", "pull manifest", "delete manifest", "delete tag")
			require.NoError(t, s.shutdown())
			if hub == "testhub" {
				<-testHubs
			}
		})
	}
}

// A HEAD is a pull only for those who say so.
func TestHEADIsNoPull(t *testing.T) {
	rc := newReceiver(t)
	s := newServer(t, parseYAML(t, `
middleware:
	registry:
		- name: notifications
			options: {endpoints: [{name: webhook, url: "`+rc.URL+`", only: {actions: [pull]}}]}
`))
	s.pushImage("library/app", "v1")
	require.Equal(t, http.StatusOK, s.do("HEAD", "/v2/library/app/manifests/v1", "", "").StatusCode)
	s.get("/v2/library/app/manifests/v1")
	require.NoError(t, s.shutdown())
	require.Equal(t, []string{"pull manifest"}, rc.kinds())
}

// Signed, over TLS, with secrets from elsewhere, one event for each image: all of it by
// YAML alone.
func TestSecuredImages(t *testing.T) {
	const key = "whsec_b2xkLWtleS1vbGQta2V5LW9sZC1rZXktb2xk"
	k, err := signature.ParseKey(key)
	require.NoError(t, err)
	verifier, err := signature.NewVerifier(signature.VerifierConfig{Keys: []signature.Key{k}})
	require.NoError(t, err)

	rc := &receiver{hold: make(chan struct{})}
	close(rc.hold)
	var mu sync.Mutex // guards unverified
	var unverified []error
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(strings.Builder)
		r.Body = tee(r.Body, body)
		rc.ServeHTTP(w, r)
		if err := verifier.Verify(r.Header, []byte(body.String())); err != nil {
			mu.Lock()
			unverified = append(unverified, err)
			mu.Unlock()
		}
	}))
	defer server.Close()

	t.Setenv("WEBHOOK", server.URL)
	t.Setenv("IMAGES", "true")
	ca := writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	s := newServer(t, parseYAML(t, `
middleware:
	registry:
		- name: notifications
			options:
				endpoints:
					- name: images
						url: ${env:WEBHOOK}
						images: ${env:IMAGES}
						headers: {Authorization: ["Bearer ${file:`+writeFile(t, "hunter2\n")+`}"]}
						signingkeys: ["${file:`+writeFile(t, key+"\n")+`}"]
						tls: {cafile: `+ca+`}
						addresses: {allow: [127.0.0.0/8]}
						only: {repositories: ["library/*"]}
`))
	manifest := s.pushImage("library/app", "v1")
	s.pushImage("other/app", "v1")
	require.NoError(t, s.shutdown())
	require.Equal(t, []string{"push manifest"}, rc.kinds())
	image := rc.events[0].Target
	require.Equal(t, "v1", image.Tag)
	require.Len(t, image.References, 1) // though nobody has asked for them
	require.Equal(t, int64(len(manifest)+len("{}")), image.TotalSize)
	require.Equal(t, []string{"Bearer hunter2"}, rc.headers[0]["Authorization"])
	require.Empty(t, unverified)
}
