package ociregistry_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestLaxPaths has what registries serve beside what the specification has. Of these,
// distribution serves none: it redirects to the path as it should be (301), and says 404 to
// capitals. go-containerregistry's serves those of blobs as what they are without the empty
// parts, but a manifest under another name, which no client can ask for otherwise.
func TestLaxPaths(t *testing.T) {
	d := digest.FromString("content").String()
	for path, repository := range map[string]string{
		"/v2/a/blobs/D":           "a",
		"/v2/a/blobs/D/":          "a",
		"/v2/a%2Fb/blobs/D%2F":    "a/b",
		"/v2//a/blobs/D":          "a",
		"/v2/a//blobs/D":          "a",
		"/v2/a//b///c/blobs/D/":   "a/b/c",
		"/v2/a/manifests/v1/":     "a",
		"/v2/a/manifests/D/":      "a",
		"/v2/a/manifests/v1//":    "",
		"/v2/a//manifests/v1":     "",
		"/v2//a/manifests/v1":     "",
		"/v2/a/manifests//v1":     "",
		"/v2/a/blobs//D":          "",
		"/v2/a/blobs/D//":         "",
		"/v2///blobs/D":           "",
		"/v2/a/./blobs/D":         "",
		"/v2/a/../b/blobs/D":      "",
		"/v2/A/blobs/D":           "",
		"//v2/a/blobs/D":          "",
		"/v2/a/blobs/./D":         "",
		"/v2/a/manifests/./v1":    "",
		"/v2/a/manifests/v1/../2": "",
	} {
		sink := new(sinktest.Fake)
		r := &rig{t: t, sink: sink, handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.WriteString(w, "content")
		}), sink, Config{})}
		for _, method := range []string{"GET", "DELETE"} {
			req := request(method, "/", nil)
			var err error
			req.URL, err = url.Parse("http://example.com" + strings.Replace(path, "D", d, 1)) // as it is
			require.NoError(t, err)
			r.send(http.StatusOK, req)
			events := r.events()
			if repository == "" {
				assert.Empty(t, events, path)
				continue
			}
			require.Len(t, events, 1, path)
			assert.Equal(t, repository, events[0].Target.Repository, path)
		}
	}
}

// TestLaxPathsOfAnUpload: an upload is the same under each of its paths.
func TestLaxPathsOfAnUpload(t *testing.T) {
	const all = "0123456789"
	d := digest.FromString(all)
	sink := new(sinktest.Fake)
	r := &rig{t: t, sink: sink, handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Location", "/v2/a/b/blobs/uploads/1")
		w.WriteHeader(map[string]int{"POST": 202, "PATCH": 202, "PUT": 201}[req.Method])
	}), sink, Config{})}
	r.do(202, "POST", "/v2/a//b/blobs/uploads/", nil)
	r.do(202, "PATCH", "/v2/a/b/blobs/uploads/1/", all[:4])
	r.do(202, "PATCH", "/v2//a/b/blobs/uploads/1", all[4:8])
	r.do(201, "PUT", with("/v2/a/b//blobs/uploads/1/", d), all[8:])
	assert.Equal(t, []fact{pushed("a/b", all)}, r.told())
}
