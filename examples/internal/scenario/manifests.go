package scenario

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Manifests is every kind of manifest, in every form, and what a registry refuses.
func (s *Scenario) Manifests() []Step {
	const repo = "team/manifests/of/many/parts"
	at := "/v2/" + repo + "/manifests/"
	oci, docker := string(types.OCIManifestSchema1), string(types.DockerManifestSchema2)
	put := func(ref, mediaType, content string, want int) request {
		r := request{method: "PUT", path: at + ref, body: content, want: want}
		if mediaType != "" {
			r.headers = []string{"Content-Type: " + mediaType}
		}
		return r
	}
	get := func(ref string) request {
		return request{method: "GET", path: at + ref, want: 200, headers: []string{"Accept: " + strings.Join([]string{
			oci, docker, string(types.OCIImageIndex), string(types.DockerManifestList),
		}, ", ")}}
	}
	event := func(action, tag string) []Event {
		return times(1, Event{Action: action, Type: "manifest", Repository: repo, Tag: tag})
	}

	image, forDocker := manifestContent(types.OCIManifestSchema1), manifestContent(types.DockerManifestSchema2)
	spacious := strings.ReplaceAll(image, `,"`, ",\n\t\"")
	nameless := strings.Replace(image, `"mediaType":"`+oci+`",`, "", 1)
	layers := strings.Repeat(layerDescriptor(types.OCILayer)+",", 1000)
	large := strings.Replace(image, `"layers":[`, `"layers":[`+layers, 1)
	tooLarge := strings.Replace(image, `"layers":[`, `"layers":[`+strings.Repeat(layers, 30), 1)
	rich := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"application/vnd.example.kind","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2,"data":"e30="},"layers":[{"mediaType":"text/plain","digest":%q,"size":%d,"artifactType":"application/vnd.example.part","annotations":{"b":"2","a":"1 & <1>"},"platform":{"os":"linux","architecture":"arm","os.version":"1","os.features":["x"],"variant":"v7"}}],"subject":{"mediaType":%q,"digest":%q,"size":%d},"annotations":{"org.example.kind":"söhne"},"unknown":{"config":1}}`,
		oci, digestOf("{}"), digestOf(layerContent), len(layerContent), oci, digestOf(image), len(image))
	orphan := strings.Replace(image, digestOf(layerContent), digestOf("nowhere"), 1)
	index := indexContent(types.OCIImageIndex, oci, image)
	list := indexContent(types.DockerManifestList, docker, forDocker)

	return []Step{
		{"upload", s.upload(repo, configContent, len(configContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		{"upload", s.upload(repo, layerContent, len(layerContent)), times(1, Event{Action: "push", Type: "blob", Repository: repo})},
		{"upload", s.upload(repo, "{}", 2), times(1, Event{Action: "push", Type: "blob", Repository: repo})},

		{"push by tag", s.sends(put("v1", oci, image, 201)), event("push", "v1")},
		{"push by digest", s.sends(put(digestOf(image), oci, image, 201)), event("push", "")},
		{"push for docker", s.sends(put("docker", docker, forDocker, 201)), event("push", "docker")},
		{"push with white space", s.sends(put("spacious", oci, spacious, 201)), event("push", "spacious")},
		{"push what does not say its media type", s.sends(put("nameless", oci, nameless, 201)), event("push", "nameless")},
		{"push with a parameter in the media type", s.sends(put("utf-8", oci+"; charset=utf-8", image, 201)), event("push", "utf-8")},
		{"push a large one", s.sends(put("large", oci, large, 201)), event("push", "large")},
		{"push an artifact with a subject", s.sends(put("rich", oci, rich, 201)), event("push", "rich")},
		{"push an index", s.sends(put("index", string(types.OCIImageIndex), index, 201)), event("push", "index")},
		{"push an index by digest", s.sends(put(digestOf(index), string(types.OCIImageIndex), index, 201)), event("push", "")},
		{"push a list for docker", s.sends(put("list", string(types.DockerManifestList), list, 201)), event("push", "list")},
		{"move a tag", s.sends(put("v1", oci, spacious, 201)), event("push", "v1")},
		{"push what a registry refuses", s.sends(
			put("v2", oci, orphan, 400),
			put("v2", oci, image[1:], 400),
			put("v2", docker, image, 400),
			put("v2", "text/plain", image, 400),
			put("v2", oci, "", 400),
			put("v2", oci, tooLarge, 400),
			put(digestOf("nowhere"), oci, image, 400),
			put("-", oci, image, 404),
		), nil},

		{"GET each", s.sends(
			get("v1"), get("docker"), get("nameless"), get("large"), get("rich"), get("index"), get("list"), get(digestOf(image)),
		), events(
			event("pull", "v1"), event("pull", "docker"), event("pull", "nameless"), event("pull", "large"),
			event("pull", "rich"), event("pull", "index"), event("pull", "list"), event("pull", ""),
		)},
		{"ask for what refers to a manifest, which this registry does not tell", s.sends(
			request{method: "GET", path: "/v2/" + repo + "/referrers/" + digestOf(image), want: 404},
		), nil},

		{"delete a tag", s.sends(request{method: "DELETE", path: at + "docker", want: http.StatusAccepted}),
			times(1, Event{Action: "delete", Type: "tag", Repository: repo, Tag: "docker"})},
		{"delete it again", s.sends(request{method: "DELETE", path: at + "docker", want: 404}), nil},
		{"delete an index, and with it the tag", s.sends(request{method: "DELETE", path: at + digestOf(index), want: http.StatusAccepted}),
			events(event("delete", ""), times(1, Event{Action: "delete", Type: "tag", Repository: repo, Tag: "index"}))},
		{"delete a manifest, and with it two tags", s.sends(request{method: "DELETE", path: at + digestOf(spacious), want: http.StatusAccepted}),
			events(event("delete", ""),
				times(1, Event{Action: "delete", Type: "tag", Repository: repo, Tag: "spacious"}),
				times(1, Event{Action: "delete", Type: "tag", Repository: repo, Tag: "v1"}))},
		{"delete it again", s.sends(request{method: "DELETE", path: at + digestOf(spacious), want: 404}), nil},
		{"delete a manifest that no tag points to", s.sends(request{method: "DELETE", path: at + digestOf(forDocker), want: http.StatusAccepted}),
			event("delete", "")},
	}
}

func layerDescriptor(mediaType types.MediaType) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digestOf(layerContent), len(layerContent))
}

// indexContent is an index, or a list, of one manifest for two platforms.
func indexContent(mediaType types.MediaType, manifestType, manifest string) string {
	one := func(architecture string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":%q},"annotations":{"for":%q}}`,
			manifestType, digestOf(manifest), len(manifest), architecture, architecture)
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, mediaType, one("amd64"), one("arm64"))
}
