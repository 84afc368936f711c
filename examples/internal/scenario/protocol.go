package scenario

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	octets = "Content-Type: application/octet-stream"

	// configContent and layerContent are blobs, and manifestContent has both.
	configContent = `{"os":"linux","architecture":"amd64"}`
	layerContent  = "a layer that is long enough for a range"

	blobContent = "a blob"
)

// manifestContent returns an image manifest of the given media type.
func manifestContent(mediaType types.MediaType) string {
	configType, layerType := types.OCIConfigJSON, types.OCILayer
	if mediaType == types.DockerManifestSchema2 {
		configType, layerType = types.DockerConfigJSON, types.DockerLayer
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.title":"layer.tar"}}]}`,
		mediaType,
		configType, digestOf(configContent), len(configContent),
		layerType, digestOf(layerContent), len(layerContent))
}

// artifactContent is a manifest that says more about itself than an image's does.
func artifactContent() string {
	image := manifestContent(types.OCIManifestSchema1)
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"application/vnd.example.notes","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":%d},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":%d},"annotations":{"org.example.kind":"notes"}}`,
		types.OCIManifestSchema1, digestOf(configContent), len(configContent),
		types.OCIManifestSchema1, digestOf(image), len(image))
}

// Protocol is what clients do in other ways than an image library's: every kind of
// upload, reference and condition, and what a registry must not report.
func (s *Scenario) Protocol() []Step {
	const repo, other = "team/tool", "team/fork"
	blobs, manifests := "/v2/"+repo+"/blobs/", "/v2/"+repo+"/manifests/"
	layer := blobs + digestOf(layerContent)

	image := manifestContent(types.OCIManifestSchema1)
	docker := manifestContent(types.DockerManifestSchema2)
	dgst := digestOf(image)
	put := func(ref string, mediaType types.MediaType, content string) request {
		return request{
			method: http.MethodPut, path: manifests + ref, body: content, want: http.StatusCreated,
			headers: []string{"Content-Type: " + string(mediaType)},
		}
	}
	pushed := func(tag string) []Event {
		return []Event{{Action: "push", Type: "manifest", Repository: repo, Tag: tag}}
	}
	pulled := func(n int, tag string) []Event {
		return times(n, Event{Action: "pull", Type: "manifest", Repository: repo, Tag: tag})
	}
	blobPushed := times(1, Event{Action: "push", Type: "blob", Repository: repo})
	blobPulled := times(1, Event{Action: "pull", Type: "blob", Repository: repo})

	return []Step{
		{"upload in one piece", s.upload(repo, configContent, len(configContent)), blobPushed},
		{"upload in pieces", s.upload(repo, layerContent, 10), blobPushed},
		{"push by digest", s.sends(put(dgst, types.OCIManifestSchema1, image)), pushed("")},
		{"push by tag", s.sends(put("v1", types.OCIManifestSchema1, image)), pushed("v1")},
		{"push the same again", s.sends(put("v1", types.OCIManifestSchema1, image)), pushed("v1")},
		{"push by another tag", s.sends(put("latest", types.OCIManifestSchema1, image)), pushed("latest")},
		{"push for docker", s.sends(put("legacy", types.DockerManifestSchema2, docker)), pushed("legacy")},
		{"push an artifact", s.sends(put("notes", types.OCIManifestSchema1, artifactContent())), pushed("notes")},
		{"GET a manifest by tag", s.sends(request{method: "GET", path: manifests + "v1", want: 200}), pulled(1, "v1")},
		{"GET a manifest by digest", s.sends(request{method: "GET", path: manifests + dgst, want: 200}), pulled(1, "")},
		{"GET the artifact", s.sends(request{method: "GET", path: manifests + "notes", want: 200}), pulled(1, "notes")},
		{"HEAD a manifest by tag", s.sends(request{method: "HEAD", path: manifests + "v1", want: 200}), nil},
		{"HEAD a manifest by digest", s.sends(request{method: "HEAD", path: manifests + dgst, want: 200}), nil},
		{
			"GET a manifest that the client has", s.sends(
				request{method: "GET", path: manifests + dgst, want: 304, headers: []string{`If-None-Match: "` + dgst + `"`}},
				request{method: "GET", path: manifests + "v1", want: 304, headers: []string{`If-None-Match: "` + dgst + `"`}},
			), nil,
		},
		{
			"GET a manifest of which the client has another version", s.sends(
				request{method: "GET", path: manifests + "v1", want: 200, headers: []string{`If-None-Match: "` + digestOf(docker) + `"`}},
			), pulled(1, "v1"),
		},
		{"GET a blob", s.sends(request{method: "GET", path: layer, want: 200}), blobPulled},
		{"HEAD a blob", s.sends(request{method: "HEAD", path: layer, want: 200}), nil},
		{
			"GET a blob in parts", s.sends(
				request{method: "GET", path: layer, want: 206, headers: []string{"Range: bytes=0-9"}},
				request{method: "GET", path: layer, want: 206, headers: []string{"Range: bytes=10-19"}},
				request{method: "GET", path: layer, want: 206, headers: []string{"Range: bytes=20-"}},
			), blobPulled,
		},
		{
			"GET a piece out of the middle and the end of a blob", s.sends(
				request{method: "GET", path: layer, want: 206, headers: []string{"Range: bytes=2-6"}},
				request{method: "GET", path: layer, want: 206, headers: []string{"Range: bytes=-5"}},
			), nil,
		},
		{
			"GET a blob in two parts at once, with the first byte and without", s.sends(
				request{method: "GET", path: layer, want: 206, headers: []string{"Range: bytes=20-24,0-4"}},
				request{method: "GET", path: layer, want: 206, headers: []string{"Range: bytes=20-24,5-9"}},
			), blobPulled,
		},
		{
			"GET a blob beyond its end", s.sends(
				request{method: "GET", path: layer, want: 416, headers: []string{"Range: bytes=1000-"}},
			), nil,
		},
		{
			"GET a blob that the client has", s.sends(
				request{method: "GET", path: layer, want: 304, headers: []string{`If-None-Match: "` + digestOf(layerContent) + `"`}},
			), nil,
		},
		{
			"mount a blob", s.sends(request{
				method: "POST", path: "/v2/" + other + "/blobs/uploads/?mount=" + digestOf(layerContent) + "&from=" + repo,
				want: http.StatusCreated,
			}), times(1, Event{Action: "mount", Type: "blob", Repository: other, From: repo}),
		},
		{"GET the mounted blob", s.sends(request{
			method: "GET", path: "/v2/" + other + "/blobs/" + digestOf(layerContent), want: 200,
		}), times(1, Event{Action: "pull", Type: "blob", Repository: other})},
		{"what a registry does not report", s.quietly(repo, other), nil},
		{"clients that say little or much of themselves", s.sends(
			request{method: "GET", path: manifests + "v1", want: 200, headers: []string{"User-Agent: "}},
			request{method: "GET", path: manifests + "v1", want: 200, headers: []string{"User-Agent: <tool> & \"söhne\" \u2028 \xff"}},
		), pulled(2, "v1")},
		{"delete a tag", s.sends(request{method: "DELETE", path: manifests + "legacy", want: http.StatusAccepted}),
			times(1, Event{Action: "delete", Type: "tag", Repository: repo, Tag: "legacy"})},
		{"delete a manifest, and with it two tags", s.sends(request{method: "DELETE", path: manifests + dgst, want: http.StatusAccepted}),
			[]Event{
				{Action: "delete", Type: "manifest", Repository: repo},
				{Action: "delete", Type: "tag", Repository: repo, Tag: "v1"},
				{Action: "delete", Type: "tag", Repository: repo, Tag: "latest"},
			}},
		{"delete a blob", s.sends(request{method: "DELETE", path: blobs + digestOf(layerContent), want: http.StatusAccepted}),
			times(1, Event{Action: "delete", Type: "blob", Repository: repo})},
	}
}

// Proxied is what comes through a proxy that says for whom it asks, or from somebody
// who only claims to be one.
func (s *Scenario) Proxied() []Step {
	const repo = "team/proxied"
	content := "a blob behind a proxy"
	return []Step{
		{"upload", s.upload(repo, content, len(content)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		{"GET with a user and forwarded headers", s.sends(request{
			method: "GET", path: "/v2/" + repo + "/blobs/" + digestOf(content), want: 200,
			headers: []string{
				"X-Forwarded-For: 192.0.2.7",
				"X-Forwarded-Host: registry.example.org",
				"X-Forwarded-Proto: https",
				"Authorization: Basic YWRhOmxvdmVsYWNl", // ada:lovelace
			},
		}), times(1, Event{Action: "pull", Type: "blob", Repository: repo})},
	}
}

// upload returns a step's Do that uploads content in pieces of a size.
func (s *Scenario) upload(repository, content string, size int) func(context.Context) error {
	return func(ctx context.Context) error {
		location, err := s.send(ctx, request{method: "POST", path: "/v2/" + repository + "/blobs/uploads/", want: http.StatusAccepted})
		if err != nil {
			return err
		}
		rest := content
		for at := 0; len(rest) > size; at += size {
			location, err = s.send(ctx, request{
				method: "PATCH", path: location, body: rest[:size], want: http.StatusAccepted,
				headers: []string{octets, fmt.Sprintf("Content-Range: %d-%d", at, at+size-1)},
			})
			if err != nil {
				return err
			}
			rest = rest[size:]
		}
		_, err = s.send(ctx, request{
			method: "PUT", path: End(location, digestOf(content)), body: rest, want: http.StatusCreated,
			headers: []string{octets},
		})
		return err
	}
}

// quietly does what fails, comes to nothing, or is none of a receiver's business.
func (s *Scenario) quietly(repository, other string) func(context.Context) error {
	nowhere := digestOf("nowhere")
	base := "/v2/" + repository
	return func(ctx context.Context) error {
		// A mount of what is not there becomes an upload, which is given up.
		location, err := s.send(ctx, request{
			method: "POST", path: "/v2/" + other + "/blobs/uploads/?mount=" + nowhere + "&from=" + repository, want: http.StatusAccepted,
		})
		if err != nil {
			return err
		}
		return s.sends(
			request{method: "DELETE", path: location, want: http.StatusNoContent},
			request{method: "GET", path: "/v2/", want: 200},
			request{method: "GET", path: "/v2/_catalog", want: 200},
			request{method: "GET", path: base + "/tags/list", want: 200},
			request{method: "GET", path: base + "/manifests/nowhere", want: 404},
			request{method: "HEAD", path: base + "/manifests/" + nowhere, want: 404},
			request{method: "GET", path: base + "/blobs/" + nowhere, want: 404},
			request{method: "HEAD", path: base + "/blobs/" + nowhere, want: 404},
			request{method: "DELETE", path: base + "/manifests/nowhere", want: 404},
			request{method: "DELETE", path: base + "/blobs/" + nowhere, want: 404},
			request{
				method: "PUT", path: base + "/manifests/bad", want: 400, body: strings.Repeat("{", 10),
				headers: []string{"Content-Type: " + string(types.OCIManifestSchema1)},
			},
		)(ctx)
	}
}

// Tagged pushes so many manifests, each by a tag of its own.
func (s *Scenario) Tagged(n int) []Step {
	const repo = "team/tagged"
	steps := []Step{{"upload", s.upload(repo, configContent, len(configContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})}}
	for i := range n {
		tag := fmt.Sprintf("v%d", i)
		steps = append(steps, Step{
			"push " + tag,
			s.sends(request{
				method: http.MethodPut, path: "/v2/" + repo + "/manifests/" + tag, want: http.StatusCreated,
				headers: []string{"Content-Type: " + string(types.OCIManifestSchema1)},
				body: fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[],"annotations":{"org.example.tag":%q}}`,
					types.OCIManifestSchema1, types.OCIConfigJSON, digestOf(configContent), len(configContent), tag),
			}),
			times(1, Event{Action: "push", Type: "manifest", Repository: repo, Tag: tag}),
		})
	}
	return steps
}

// Push uploads a blob into a repository, and Pull gets it from there.
func (s *Scenario) Push(repository string) Step {
	return Step{"upload", s.upload(repository, blobContent, len(blobContent)), times(1, Event{Action: "push", Type: "blob", Repository: repository})}
}

func (s *Scenario) Pull(repository string) Step {
	return Step{
		"GET a blob", s.sends(request{method: "GET", path: "/v2/" + repository + "/blobs/" + digestOf(blobContent), want: 200}),
		times(1, Event{Action: "pull", Type: "blob", Repository: repository}),
	}
}
