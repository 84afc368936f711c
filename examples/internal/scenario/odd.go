package scenario

import (
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Odd is what few clients do, and every registry has to answer.
func (s *Scenario) Odd() []Step {
	const repo = "team/odd"
	base := "/v2/" + repo
	layer := base + "/blobs/" + digestOf(layerContent)
	image := manifestContent(types.OCIManifestSchema1)
	oci := "Content-Type: " + string(types.OCIManifestSchema1)
	get := func(path string, want int, headers ...string) request {
		return request{method: "GET", path: path, want: want, headers: headers}
	}
	blobs := func(n int) []Event { return times(n, Event{Action: "pull", Type: "blob", Repository: repo}) }
	manifests := func(n int, tag string) []Event {
		return times(n, Event{Action: "pull", Type: "manifest", Repository: repo, Tag: tag})
	}
	return []Step{
		{"upload", s.upload(repo, configContent, len(configContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		{"upload", s.upload(repo, layerContent, len(layerContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		{"push", s.sends(request{method: "PUT", path: base + "/manifests/v1", body: image, want: 201, headers: []string{oci}}),
			times(1, Event{Action: "push", Type: "manifest", Repository: repo, Tag: "v1"})},

		{"ask for the whole of a blob as one range", s.sends(
			get(layer, 206, "Range: bytes=0-"), get(layer, 206, "Range: bytes=0-1000"), get(layer, 206, "Range: bytes=-1000"),
		), blobs(3)},
		{"ask for a range twice", s.sends(get(layer, 206, "Range: bytes=0-4"), get(layer, 206, "Range: bytes=0-4")), blobs(2)},
		{"ask for more in parts than there is", s.sends(get(layer, 200, "Range: bytes=5-,6-,7-")), blobs(1)},
		{"ask for another unit", s.sends(get(layer, 416, "Range: lines=0-4")), nil},
		{"ask for a range that is none", s.sends(
			get(layer, 416, "Range: bytes=7-3"), get(layer, 416, "Range: bytes=a-"), get(layer, 416, "Range: bytes=0-a"),
		), nil},
		{"go on with a blob that is another by now", s.sends(
			get(layer, 200, "Range: bytes=5-", `If-Range: "`+digestOf("another")+`"`),
			get(layer, 206, "Range: bytes=5-", `If-Range: "`+digestOf(layerContent)+`"`),
		), blobs(1)},
		{"ask for a blob that is not one of a list", s.sends(
			get(layer, 200, `If-None-Match: "a", "b"`),
			get(layer, 304, `If-None-Match: "a", "`+digestOf(layerContent)+`"`),
			get(layer, 304, `If-None-Match: *`),
		), blobs(1)},
		{"ask for a manifest in other ways", s.sends(
			get(base+"/manifests/v1", 200, `If-None-Match: *`),
			get(base+"/manifests/v1", 200, `If-None-Match: "a", "`+digestOf(image)+`"`),
			get(base+"/manifests/v1", 304, `If-None-Match: `+digestOf(image)),
			get(base+"/manifests/v1", 200, "Range: bytes=5-9"),
			get(base+"/manifests/v1?ns=docker.io", 200),
			get(base+"/manifests/v1", 200, "Accept-Encoding: gzip"),
		), manifests(5, "v1")},
		{"ask with a path that is written in another way", s.sends(
			get(strings.Replace(layer, "team/odd", "team%2Fodd", 1), 200),
			get(strings.Replace(layer, "team/odd", "%74eam/odd", 1), 200),
		), blobs(2)},
		{"ask with a path that leads elsewhere", s.sends(
			get("/v2//team/odd/manifests/v1", 301),
			get("/v2/team/../team/odd/manifests/v1", 301),
			get(base+"/manifests/v1/", 301),
			get(base+"/blobs/sha256:abc", 400),
			get(base+"/blobs/"+strings.ToUpper(digestOf(layerContent)), 404),
			get(base+"/tags/list/", 301),
			get("/v1"+strings.TrimPrefix(layer, "/v2"), 404),
		), nil},
		{"ask in a way that there is none of", s.sends(
			request{method: "POST", path: layer, want: http.StatusMethodNotAllowed},
			request{method: "PUT", path: layer, want: http.StatusMethodNotAllowed, body: layerContent},
			request{method: "PATCH", path: base + "/manifests/v1", want: http.StatusMethodNotAllowed, body: image},
			request{method: "OPTIONS", path: layer, want: http.StatusOK},
		), nil},
	}
}

// Unacceptable is a client that takes only docker's image manifests, which a registry
// may keep to.
func (s *Scenario) Unacceptable() []Step {
	const repo = "team/unacceptable"
	oci, docker := types.OCIManifestSchema1, types.DockerManifestSchema2
	at := "/v2/" + repo + "/manifests/"
	store := func(tag string, mediaType types.MediaType, content string) Step {
		return Step{"push " + tag, s.sends(request{
			method: "PUT", path: at + tag, body: content, want: 201, headers: []string{"Content-Type: " + string(mediaType)},
		}), times(1, Event{Action: "push", Type: "manifest", Repository: repo, Tag: tag})}
	}
	get := func(tag string, want int) request {
		return request{method: "GET", path: at + tag, want: want, headers: []string{"Accept: " + string(docker)}}
	}
	pulled := func(tag string) []Event {
		return times(1, Event{Action: "pull", Type: "manifest", Repository: repo, Tag: tag})
	}
	image, forDocker := manifestContent(oci), manifestContent(docker)
	return []Step{
		{"upload", s.upload(repo, configContent, len(configContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		{"upload", s.upload(repo, layerContent, len(layerContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		store("oci", oci, image),
		store("docker", docker, forDocker),
		store("index", types.OCIImageIndex, indexContent(types.OCIImageIndex, string(oci), image)),
		store("list", types.DockerManifestList, indexContent(types.DockerManifestList, string(docker), forDocker)),

		{"pull what the client takes", s.sends(get("docker", 200)), pulled("docker")},
		// The decorators of a repository cannot know that.
		{"pull what it does not take", s.sends(get("oci", 404)), pulled("oci")},
		{"pull what it gets all the same", s.sends(get("index", 200)), pulled("index")},
		// And these see how the registry looks into the list.
		{"pull what the registry finds in a list", s.sends(get("list", 200)), events(pulled("list"), pulled(""))},
	}
}

// Heads is a client that only looks.
func (s *Scenario) Heads() []Step {
	const repo = "team/heads"
	image := manifestContent(types.OCIManifestSchema1)
	layer, manifests := "/v2/"+repo+"/blobs/"+digestOf(layerContent), "/v2/"+repo+"/manifests/"
	head := func(path string, want int, headers ...string) request {
		return request{method: "HEAD", path: path, want: want, headers: headers}
	}
	return []Step{
		{"upload", s.upload(repo, configContent, len(configContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		{"upload", s.upload(repo, layerContent, len(layerContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		{"push", s.sends(request{
			method: "PUT", path: manifests + "v1", body: image, want: 201,
			headers: []string{"Content-Type: " + string(types.OCIManifestSchema1)},
		}), times(1, Event{Action: "push", Type: "manifest", Repository: repo, Tag: "v1"})},
		{"HEAD a manifest", s.sends(head(manifests+"v1", 200), head(manifests+digestOf(image), 200)), events(
			times(1, Event{Action: "pull", Type: "manifest", Repository: repo, Tag: "v1"}),
			times(1, Event{Action: "pull", Type: "manifest", Repository: repo}),
		)},
		{"HEAD a manifest that the client has", s.sends(head(manifests+"v1", 304, `If-None-Match: "`+digestOf(image)+`"`)), nil},
		{"HEAD a blob", s.sends(head(layer, 200)), times(1, Event{Action: "pull", Type: "blob", Repository: repo})},
		{"HEAD a blob that the client has", s.sends(head(layer, 304, `If-None-Match: "`+digestOf(layerContent)+`"`)), nil},
		{"HEAD a blob in parts", s.sends(head(layer, 206, "Range: bytes=0-4"), head(layer, 206, "Range: bytes=5-9")),
			times(2, Event{Action: "pull", Type: "blob", Repository: repo})},
		{"HEAD a part of a blob that there is none of", s.sends(head(layer, 416, "Range: bytes=1000-")), nil},
		{"HEAD what is not there", s.sends(head("/v2/"+repo+"/blobs/"+digestOf("nowhere"), 404), head(manifests+"v2", 404), head(manifests+digestOf("nowhere"), 404)), nil},
	}
}
