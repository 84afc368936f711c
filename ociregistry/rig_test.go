package ociregistry_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// rig is a test's registry, a Handler around it and a sink.
type rig struct {
	*registry
	t       testing.TB
	handler http.Handler
	sink    *sinktest.Fake
	read    int // events
}

func newRig(t testing.TB, o options, config Config) *rig {
	t.Helper()
	g, sink := newRegistry(o), new(sinktest.Fake)
	config.Prefix = o.prefix
	return &rig{registry: g, t: t, handler: Handler(g, sink, config), sink: sink}
}

// request makes a request. Each header is a name and a value. A body is a string, an
// io.Reader of unknown length, or nil.
func request(method, url string, body any, headers ...string) *http.Request {
	var reader io.Reader
	switch b := body.(type) {
	case string:
		reader = strings.NewReader(b)
	case io.Reader:
		reader = struct{ io.Reader }{b}
	}
	r := httptest.NewRequest(method, url, reader)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// do sends a request, and wants a status.
func (r *rig) do(status int, method, url string, body any, headers ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	return r.send(status, request(method, url, body, headers...))
}

func (r *rig) send(status int, req *http.Request) *httptest.ResponseRecorder {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	require.Equal(r.t, status, w.Code, "%s %s: %s", req.Method, req.URL, w.Body)
	return w
}

// events returns the events since the last call.
func (r *rig) events() []*notifications.Event {
	all := r.sink.Events()
	defer func() { r.read = len(all) }()
	return all[r.read:]
}

// told returns the events since the last call as facts.
func (r *rig) told() (facts []fact) {
	for _, e := range r.events() {
		facts = append(facts, factOf(e))
	}
	return facts
}

func factOf(e *notifications.Event) fact {
	t := &e.Target
	return fact{
		Action: e.Action, Type: t.Type, Repository: t.Repository, From: t.FromRepository, Tag: t.Tag,
		Digest: t.Digest, Size: t.Size, MediaType: t.MediaType,
	}
}

const octets = "application/octet-stream"

// pushes and pulls of blobs.
func pushed(repository, content string) fact { return moved("push", repository, content) }
func pulled(repository, content string) fact { return moved("pull", repository, content) }

func moved(action, repository, content string) fact {
	return fact{
		Action: action, Type: "blob", Repository: repository, Digest: digest.FromString(content),
		Size: int64(len(content)), MediaType: octets,
	}
}

// push pushes a blob at once, and forgets the event and the fact.
func (r *rig) push(repository, content string) digest.Digest {
	r.t.Helper()
	d := digest.FromString(content)
	r.do(http.StatusCreated, "POST", r.prefix+"/v2/"+repository+"/blobs/uploads/?digest="+d.String(), content)
	r.events()
	r.history()
	return d
}

// start begins an upload, and returns where it goes on.
func (r *rig) start(repository string) string {
	r.t.Helper()
	return r.do(http.StatusAccepted, "POST", r.prefix+"/v2/"+repository+"/blobs/uploads/", nil).Header().Get("Location")
}

// with adds a digest to the place of an upload.
func with(location string, d digest.Digest) string {
	if strings.Contains(location, "?") {
		return location + "&digest=" + d.String()
	}
	return location + "?digest=" + d.String()
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

// image pushes the parts of an image, and returns its manifest.
func (r *rig) image(repository string, parts ...string) string {
	r.t.Helper()
	m := content{MediaType: manifestType}
	for i, p := range parts {
		desc := part{"application/vnd.oci.image.layer.v1.tar", r.push(repository, p), int64(len(p))}
		if i == 0 {
			desc.MediaType = "application/vnd.oci.image.config.v1+json"
			m.Config = &desc
			continue
		}
		m.Layers = append(m.Layers, desc)
	}
	return text(r.t, m)
}

func text(t testing.TB, m content) string {
	t.Helper()
	b, err := json.Marshal(m)
	require.NoError(t, err)
	return string(b)
}

// manifestFact is what happens to a manifest.
func manifestFact(action, repository, tag, manifest, mediaType string) fact {
	return fact{
		Action: action, Type: "manifest", Repository: repository, Tag: tag, Digest: digest.FromString(manifest),
		Size: int64(len(manifest)), MediaType: mediaType,
	}
}

func contentRange(from, length int) string {
	return strconv.Itoa(from) + "-" + strconv.Itoa(from+length-1)
}

// quietLog is for servers in tests where much goes wrong.
var quietLog = log.New(io.Discard, "", 0)
