package comparison

import (
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/registry-notifications/notifications/examples/internal/scenario"
)

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
)

// everything is each kind of request that the specification has, good and bad, to several
// repositories.
func everything(c *caller) {
	large := strings.Repeat("a large layer ", 1<<10)
	for _, repository := range []string{"one", "two/blobs", "three/manifests/uploads"} {
		base := "/v2/" + repository
		pushes(c, base, large)
		manifests(c, base)
		pulls(c, base, large)
	}
	mounts(c, "/v2/four", "one")
	listings(c)
	bad(c, "/v2/one")
	deletes(c, "/v2/one")
	deletes(c, "/v2/two/blobs")
	pulls(c, "/v2/one", large)
	listings(c)
}

func digestOf(content string) string { return digest.FromString(content).String() }

// streamed hides the length of a body.
func streamed(body string) io.Reader { return struct{ io.Reader }{strings.NewReader(body)} }

// pushes are all ways of an upload.
func pushes(c *caller, base, large string) {
	begin := func() string { return c.do("POST", base+"/blobs/uploads/", nil) }
	c.do("POST", base+"/blobs/uploads/?digest="+digestOf("{}"), strings.NewReader("{}"))
	c.do("PUT", scenario.End(begin(), digestOf("{}")), strings.NewReader("{}"))
	c.do("PUT", scenario.End(begin(), digestOf("")), nil)
	c.do("PUT", scenario.End(begin(), digestOf(large)), streamed(large))

	at := c.do("PATCH", begin(), streamed("a layer"))
	c.do("GET", at, nil)
	c.do("PUT", scenario.End(at, digestOf("a layer")), nil)
	c.do("PUT", scenario.End(at, digestOf("a layer")), nil) // is over

	at = c.do("PATCH", begin(), strings.NewReader("in "), "Content-Range: 0-2")
	c.do("PATCH", at, strings.NewReader("gap"), "Content-Range: 7-9")
	at = c.do("PATCH", at, strings.NewReader("pieces"), "Content-Range: 3-8")
	c.do("PUT", scenario.End(at, digestOf("in pieces!")), strings.NewReader("!"), "Content-Range: 9-9")

	at = c.do("PATCH", begin(), strings.NewReader("given up"))
	c.do("DELETE", at, nil)
	c.do("GET", at, nil)

	c.do("PUT", scenario.End(begin(), digestOf("another")), strings.NewReader("one"))
	c.do("PUT", scenario.End(begin(), "sha256:none"), strings.NewReader("one"))
	c.do("PUT", begin(), strings.NewReader("one"))
	c.do("POST", base+"/blobs/uploads/?digest="+digestOf("another"), strings.NewReader("one"))
}

func image(layer, more string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]%s}`,
		imageType, digestOf("{}"), digestOf(layer), len(layer), more)
}

// parts are an image, an index of it, and two artifacts that refer to it.
func parts() (app, index, notes, scan string) {
	app = image("a layer", "")
	descriptor := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, imageType, digestOf(app), len(app))
	index = fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, indexType, descriptor)
	notes = image("in pieces!", `,"artifactType":"application/vnd.example.notes","subject":`+descriptor)
	scan = image("", `,"artifactType":"application/vnd.example.scan","subject":`+descriptor)
	return app, index, notes, scan
}

// manifests are pushed by tag, by digest and in vain.
func manifests(c *caller, base string) {
	app, index, notes, scan := parts()
	put := func(reference, content, mediaType string) {
		c.do("PUT", base+"/manifests/"+reference, strings.NewReader(content), "Content-Type: "+mediaType)
	}
	put("early", index, indexType) // what it lists is not there
	put("v1", app, imageType)
	put("v1", app, imageType)
	put(digestOf(app), app, imageType)
	put("latest", index, indexType)
	put("v2", index, indexType)
	put(digestOf(notes), notes, imageType)
	put("scan", scan, imageType)
	put("missing", image("a layer that is not there", ""), imageType)
	put("other-type", app, indexType)
	put(digestOf("another"), app, imageType)
	put("none", "no manifest", imageType)
	put("empty", "", imageType)
	put("a/b", app, imageType)
	put(strings.Repeat("t", 129), app, imageType)
	c.do("PUT", base+"/manifests/streamed", streamed(app), "Content-Type: "+imageType)
	c.do("PUT", base+"/manifests/untyped", strings.NewReader(app))
}

// pulls are downloads of all kinds.
func pulls(c *caller, base, large string) {
	app, index, _, _ := parts()
	accept := "Accept: " + imageType + ", " + indexType
	for _, method := range []string{"GET", "HEAD"} {
		for _, reference := range []string{"v1", digestOf(app), "latest", "nowhere", digestOf("nowhere")} {
			c.do(method, base+"/manifests/"+reference, nil, accept)
		}
		c.do(method, base+"/manifests/latest", nil, "Accept: application/vnd.docker.distribution.manifest.v2+json")
		c.do(method, base+"/manifests/v1", nil, accept, `If-None-Match: "`+digestOf(app)+`"`)
		c.do(method, base+"/manifests/v1", nil, accept, `If-None-Match: "`+digestOf(index)+`"`)
		for _, content := range []string{"{}", "", "a layer", large, "nowhere"} {
			c.do(method, base+"/blobs/"+digestOf(content), nil)
		}
		c.do(method, base+"/blobs/"+digestOf("a layer"), nil, `If-None-Match: "`+digestOf("a layer")+`"`)
	}
	for _, ranges := range []string{"0-", "0-0", "0-4", "5-", "100-9999", "14000-", "-5", "0-1,3-4", "3-4,6-7", "999999-", "4-2", "x"} {
		c.do("GET", base+"/blobs/"+digestOf(large), nil, "Range: bytes="+ranges)
	}
	c.do("HEAD", base+"/blobs/"+digestOf(large), nil, "Range: bytes=0-4")
	c.do("GET", base+"/blobs/"+digestOf(large), nil, "Range: bytes=9-", `If-Range: "`+digestOf("another")+`"`)
}

func mounts(c *caller, base, from string) {
	mount := func(query string) { c.do("POST", base+"/blobs/uploads/?"+query, nil) }
	mount("mount=" + digestOf("a layer") + "&from=" + from)
	mount("mount=" + digestOf("a layer") + "&from=" + from)
	mount("mount=" + digestOf("{}") + "&from=nowhere")
	mount("mount=" + digestOf("nowhere") + "&from=" + from)
	mount("mount=" + digestOf("a layer"))
	mount("mount=sha256:none&from=" + from)
	mount("mount=" + digestOf("a layer") + "&from=No/Name")
	c.do("GET", base+"/blobs/"+digestOf("a layer"), nil)
}

// listings are what is not told of.
func listings(c *caller) {
	app, _, _, _ := parts()
	c.do("GET", "/v2/", nil)
	c.do("HEAD", "/v2/", nil)
	for _, query := range []string{"", "?n=1000", "?n=0", "?n=-1", "?n=x"} {
		c.do("GET", "/v2/_catalog"+query, nil)
	}
	for _, repository := range []string{"one", "two/blobs", "four", "nowhere"} {
		for _, query := range []string{"", "?n=1", "?n=1&last=latest", "?n=2&last=v1", "?last=zzz", "?n=-1"} {
			c.do("GET", "/v2/"+repository+"/tags/list"+query, nil)
		}
		c.do("GET", "/v2/"+repository+"/referrers/"+digestOf(app), nil)
		c.do("GET", "/v2/"+repository+"/referrers/"+digestOf(app)+"?artifactType=application/vnd.example.scan", nil)
		c.do("GET", "/v2/"+repository+"/referrers/sha256:none", nil)
	}
}

// bad is what no registry has, or takes.
func bad(c *caller, base string) {
	for _, path := range []string{
		"/", "/v1/", "/v2", "/v2/A/manifests/v1", "/v2/a//manifests/v1", "/v2/../v2/one/manifests/v1", "/v2/one/../one/manifests/v1",
		"/v2/%2e%2e/manifests/v1", "/v2/one%2Ftwo/manifests/v1", "/v2/on%65/manifests/v1", base + "/manifests/", base + "/manifests/..%2f..%2fv1",
		base + "/blobs/sha256:0", base + "/blobs/" + strings.ToUpper(digestOf("a layer")), base + "/blobs/uploads/no-such", base + "/blobs/uploads/%2e%2e",
		base + "/blobs/uploads/", base + "/manifests/v1?digest=x", base + "/tags", base + "/tags/list/", "/v2/one/two/three", "/v2//", "/elsewhere",
	} {
		c.do("GET", path, nil)
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FROBNICATE"} {
		c.do(method, base+"/blobs/"+digestOf("nowhere"), nil)
		c.do(method, base+"/tags/list", nil)
		c.do(method, base+"/blobs/uploads/no-such", nil)
	}
}

func deletes(c *caller, base string) {
	app, index, _, _ := parts()
	for _, path := range []string{
		"/manifests/v2", "/manifests/v2", "/manifests/nowhere", "/manifests/" + digestOf(index), "/manifests/" + digestOf(app),
		"/manifests/" + digestOf(app), "/manifests/sha256:none", "/blobs/" + digestOf("a layer"), "/blobs/" + digestOf("a layer"),
		"/blobs/" + digestOf("nowhere"), "/blobs/sha256:none",
	} {
		c.do("DELETE", base+path, nil)
	}
}
