package ociregistry_test

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	. "github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

var uuidV7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// TestEventOfEachRow has every row of the documentation's table, and each field.
func TestEventOfEachRow(t *testing.T) {
	source := notifications.SourceRecord{Addr: "node-1:5000", InstanceID: "instance"}
	r := newRig(t, options{prefix: "/hub"}, Config{BridgeConfig: notifications.BridgeConfig{Source: source, IncludeReferences: true}})
	image := r.image("library/app", "config", "layer one", "layer two", "layer one")
	imageDigest := digest.FromString(image)
	parts := []distribution.Descriptor{
		{MediaType: "application/vnd.oci.image.config.v1+json", Digest: digest.FromString("config"), Size: 6},
		{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: digest.FromString("layer one"), Size: 9},
		{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: digest.FromString("layer two"), Size: 9},
		{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: digest.FromString("layer one"), Size: 9},
	}
	index := text(t, content{MediaType: indexType, Manifests: []part{{manifestType, imageDigest, int64(len(image))}}})
	withParts := func(target notifications.Target) notifications.Target {
		target.References, target.TotalSize = parts, int64(len(image))+24
		return target
	}
	manifest := func(tag string) notifications.Target {
		return withParts(notifications.Target{
			Type: "manifest", MediaType: manifestType, Digest: imageDigest, Size: int64(len(image)), Repository: "library/app",
			URL: "http://registry.example.org/hub/v2/library/app/manifests/" + imageDigest.String(), Tag: tag,
		})
	}
	blob := func(repository, content string) notifications.Target {
		d := digest.FromString(content)
		return notifications.Target{
			Type: "blob", MediaType: octets, Digest: d, Size: int64(len(content)), Repository: repository,
			URL: "http://registry.example.org/hub/v2/" + repository + "/blobs/" + d.String(),
		}
	}
	from := func(target notifications.Target, repository string) notifications.Target {
		target.FromRepository = repository
		return target
	}
	const base = "/hub/v2/library/app/"
	one := digest.FromString("layer one").String()
	fresh, started := digest.FromString("fresh"), ""
	upload := func() string { return with(started, digest.FromString("a chunked one")) }

	for _, row := range []struct {
		name    string
		status  int
		method  string
		path    string
		body    any
		headers []string
		action  string // empty: no event
		target  notifications.Target
	}{
		{"push by tag", 201, "PUT", base + "manifests/latest", image, []string{"Content-Type", manifestType}, "push", manifest("latest")},
		{"push by digest", 201, "PUT", base + "manifests/" + imageDigest.String(), image, []string{"Content-Type", manifestType}, "push", manifest("")},
		{"push with a parameter in its type", 201, "PUT", base + "manifests/latest", image, []string{"Content-Type", manifestType + "; charset=utf-8"}, "push", manifest("latest")},
		{"push without a type", 201, "PUT", base + "manifests/latest", image, nil, "push", manifest("latest")},
		{"push of unknown length", 201, "PUT", base + "manifests/latest", strings.NewReader(image), []string{"Content-Type", manifestType}, "push", manifest("latest")},
		{"push of an index", 201, "PUT", base + "manifests/multi", index, []string{"Content-Type", indexType}, "push", notifications.Target{
			Type: "manifest", MediaType: indexType, Digest: digest.FromString(index), Size: int64(len(index)), Repository: "library/app", Tag: "multi",
			URL:        "http://registry.example.org/hub/v2/library/app/manifests/" + digest.FromString(index).String(),
			References: []distribution.Descriptor{{MediaType: manifestType, Digest: imageDigest, Size: int64(len(image))}},
			TotalSize:  int64(len(index) + len(image)),
		}},
		{"pull by tag", 200, "GET", base + "manifests/latest", nil, nil, "pull", manifest("latest")},
		{"pull by digest", 200, "GET", base + "manifests/" + imageDigest.String(), nil, nil, "pull", manifest("")},
		{"pull of a blob", 200, "GET", base + "blobs/" + one, nil, nil, "pull", blob("library/app", "layer one")},
		{"pull by an encoded path", 200, "GET", base + "blobs/" + strings.Replace(one, ":", "%3A", 1), nil, nil, "pull", blob("library/app", "layer one")},
		{"push at once", 201, "POST", base + "blobs/uploads/?digest=" + fresh.String(), "fresh", nil, "push", blob("library/app", "fresh")},
		{"push at once, of unknown length", 201, "POST", base + "blobs/uploads/?digest=" + fresh.String(), strings.NewReader("fresh"), nil, "push", blob("library/app", "fresh")},
		{"push at once of nothing", 201, "POST", base + "blobs/uploads/?digest=" + digest.FromString("").String(), nil, nil, "push", blob("library/app", "")},
		{"mount", 201, "POST", "/hub/v2/other/blobs/uploads/?mount=" + one + "&from=library/app", nil, nil, "mount", from(blob("other", "layer one"), "library/app")},
		{"mount without the slash", 201, "POST", "/hub/v2/other/blobs/uploads?from=library%2Fapp&mount=" + one, nil, nil, "mount", from(blob("other", "layer one"), "library/app")},
		{"mount from where it is not", 202, "POST", "/hub/v2/other/blobs/uploads/?mount=" + one + "&from=nowhere", nil, nil, "", notifications.Target{}},
		{"an upload begins", 202, "POST", base + "blobs/uploads/", nil, nil, "", notifications.Target{}},
		{"goes on", 202, "PATCH", "session", "a chunked", []string{"Content-Range", "0-8"}, "", notifications.Target{}},
		{"says how far it is", 204, "GET", "session", nil, nil, "", notifications.Target{}},
		{"goes on, streamed", 202, "PATCH", "session", strings.NewReader(" on"), nil, "", notifications.Target{}},
		{"and ends", 201, "PUT", "upload", "e", []string{"Content-Range", "12-12"}, "push", blob("library/app", "a chunked one")},
		{"delete of a tag", 202, "DELETE", base + "manifests/latest", nil, nil, "delete", notifications.Target{Type: "tag", Repository: "library/app", Tag: "latest"}},
		{"delete of a manifest", 202, "DELETE", base + "manifests/" + imageDigest.String(), nil, nil, "delete", notifications.Target{Type: "manifest", Repository: "library/app", Digest: imageDigest}},
		{"delete of a blob", 202, "DELETE", base + "blobs/" + fresh.String(), nil, nil, "delete", notifications.Target{Type: "blob", Repository: "library/app", Digest: fresh}},

		{"base", 200, "GET", "/hub/v2/", nil, nil, "", notifications.Target{}},
		{"catalog", 200, "GET", "/hub/v2/_catalog", nil, nil, "", notifications.Target{}},
		{"tags", 200, "GET", base + "tags/list", nil, nil, "", notifications.Target{}},
		{"referrers", 200, "GET", base + "referrers/" + imageDigest.String(), nil, nil, "", notifications.Target{}},
		{"without the prefix", 404, "GET", "/v2/library/app/blobs/" + one, nil, nil, "", notifications.Target{}},
		{"method not allowed", 405, "POST", base + "blobs/" + one, nil, nil, "", notifications.Target{}},
		{"not there", 404, "GET", base + "manifests/gone", nil, nil, "", notifications.Target{}},
		{"delete of what is not there", 404, "DELETE", base + "manifests/gone", nil, nil, "", notifications.Target{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r.t = t
			path := row.path
			switch path {
			case "session":
				path = started
			case "upload":
				path = upload()
			}
			req := request(row.method, path, row.body, row.headers...)
			req.Host, req.RemoteAddr = "registry.example.org", "203.0.113.7:4711"
			req.Header.Set("User-Agent", "a client/1.0")
			req = req.WithContext(notifications.ContextWithActor(req.Context(), notifications.ActorRecord{Name: "alice"}))
			before := time.Now()
			w := r.send(row.status, req)
			if w.Code == http.StatusAccepted && row.method != "DELETE" {
				started = w.Header().Get("Location")
			}
			events := r.events()
			if row.action == "" {
				assert.Empty(t, events)
				return
			}
			require.Len(t, events, 1)
			e := events[0]
			assert.Equal(t, row.action, e.Action)
			assert.Equal(t, row.target, e.Target)
			assert.Equal(t, source, e.Source)
			assert.Equal(t, notifications.ActorRecord{Name: "alice"}, e.Actor)
			assert.Regexp(t, uuidV7, e.ID)
			assert.Regexp(t, uuidV7, e.Request.ID)
			assert.NotEqual(t, e.ID, e.Request.ID)
			e.Request.ID = ""
			assert.Equal(t, notifications.RequestRecord{
				Addr: "203.0.113.7:4711", Host: "registry.example.org", Method: row.method, UserAgent: "a client/1.0",
			}, e.Request)
			assert.WithinRange(t, e.Timestamp, before.Add(-time.Second), time.Now().Add(time.Second))
		})
	}
}

// TestEventsWithoutWhatOnlySomeRegistriesSay: a registry need not say the digest.
func TestEventsWithoutWhatOnlySomeRegistriesSay(t *testing.T) {
	r := newRig(t, options{noDigest: true, noRange: true}, Config{})
	image := r.image("a", "config", "layer")
	r.do(201, "PUT", "/v2/a/manifests/v1", image, "Content-Type", manifestType)
	r.do(200, "GET", "/v2/a/manifests/v1", nil)
	r.do(200, "GET", "/v2/a/blobs/"+digest.FromString("layer").String(), nil)
	r.do(201, "POST", "/v2/b/blobs/uploads/?from=a&mount="+digest.FromString("layer").String(), nil)
	started := r.start("a")
	r.do(202, "PATCH", started, "12345")
	r.do(202, "PATCH", started, strings.NewReader("678"))
	r.do(201, "PUT", with(started, digest.FromString("1234567890")), "90")
	mount := moved("mount", "b", "layer")
	mount.From = "a"
	assert.Equal(t, []fact{
		manifestFact("push", "a", "v1", image, manifestType),
		manifestFact("pull", "a", "v1", image, manifestType),
		pulled("a", "layer"),
		mount,
		pushed("a", "1234567890"),
	}, r.told())
	for _, e := range r.sink.Events() {
		assert.Empty(t, e.Target.References, "IncludeReferences is off")
		assert.Zero(t, e.Target.TotalSize)
	}
}

// TestUploads has each way to push a blob, with each place where an upload may be.
func TestUploads(t *testing.T) {
	const all = "0123456789"
	d := digest.FromString(all)
	for _, o := range []options{
		{}, {location: "absolute"}, {location: "/elsewhere"}, {location: "/elsewhere?session="}, {prefix: "/hub"},
		{location: "/v2/some/app/blobs/uploads/?session="}, {noDigest: true, noRange: true},
		{location: "/elsewhere", noRange: true}, {location: "/elsewhere?session=", noRange: true},
	} {
		for name, push := range map[string]func(*rig) string{
			"POST and PUT": func(r *rig) string {
				at := r.start("some/app")
				r.do(201, "PUT", with(at, d), all)
				return at
			},
			"POST and streamed PUT": func(r *rig) string {
				at := r.start("some/app")
				r.do(201, "PUT", with(at, d), strings.NewReader(all))
				return at
			},
			"one streamed PATCH": func(r *rig) string {
				at := r.do(202, "PATCH", r.start("some/app"), strings.NewReader(all)).Header().Get("Location")
				r.do(201, "PUT", with(at, d), nil)
				return at
			},
			"chunks": func(r *rig) string {
				at := r.start("some/app")
				for i := 0; i < 9; i += 3 {
					at = r.do(202, "PATCH", at, all[i:i+3], "Content-Range", contentRange(i, 3)).Header().Get("Location")
				}
				r.do(201, "PUT", with(at, d), all[9:], "Content-Range", contentRange(9, 1))
				return at
			},
			"one byte at a time": func(r *rig) string {
				at := r.start("some/app")
				for i := range all {
					at = r.do(202, "PATCH", at, all[i:i+1]).Header().Get("Location")
				}
				r.do(201, "PUT", with(at, d), nil)
				return at
			},
			"resumed by what GET says": func(r *rig) string {
				at := r.do(202, "PATCH", r.start("some/app"), all[:4]).Header().Get("Location")
				at = r.do(204, "GET", at, nil).Header().Get("Location")
				at = r.do(202, "PATCH", at, all[4:]).Header().Get("Location")
				at = r.do(204, "GET", at, nil).Header().Get("Location")
				r.do(201, "PUT", with(at, d), nil)
				return at
			},
		} {
			t.Run(name+" "+o.location+" noRange="+strconv.FormatBool(o.noRange), func(t *testing.T) {
				r := newRig(t, o, Config{})
				ended := push(r)
				want := []fact{pushed("some/app", all)}
				assert.Equal(t, want, r.told())
				assert.Equal(t, want, r.history(), "what has really happened")

				// The upload is over.
				r.do(404, "PUT", with(ended, d), all)
				assert.Empty(t, r.told())
			})
		}
	}
}

// TestUploadsCancelled: what was cancelled is not there any more.
func TestUploadsCancelled(t *testing.T) {
	for _, location := range []string{"", "absolute", "/elsewhere", "/elsewhere?session="} {
		r := newRig(t, options{location: location}, Config{})
		at := r.do(202, "PATCH", r.start("a"), "some").Header().Get("Location")
		r.do(204, "DELETE", at, nil)
		r.do(404, "PUT", with(at, digest.FromString("some")), nil)
		r.do(404, "DELETE", at, nil)
		assert.Empty(t, r.told(), "location %q", location)
	}
}

// TestUploadThroughSeveralInstances: the size is what the last request says of it, as this
// one has not seen the others.
func TestUploadThroughSeveralInstances(t *testing.T) {
	for _, withRange := range []bool{true, false} {
		r := newRig(t, options{}, Config{})
		instance := func() { r.handler = Handler(r.registry, r.sink, Config{}) }
		at := r.start("a")
		instance()
		at = r.do(202, "PATCH", at, "12345").Header().Get("Location")
		want := pushed("a", "1234567")
		instance()
		if withRange {
			r.do(201, "PUT", with(at, want.Digest), "67", "Content-Range", "5-6")
		} else {
			r.do(201, "PUT", with(at, want.Digest), "67")
			want.Size = 0
		}
		assert.Equal(t, []fact{want}, r.told(), "Content-Range: %v", withRange)
	}

	// What has passed by before has a size.
	known := newRig(t, options{}, Config{})
	d := known.push("a", "1234567")
	outside := known.registry
	started := httptest.NewRecorder()
	outside.ServeHTTP(started, request("POST", "/v2/b/blobs/uploads/", nil))
	known.do(201, "PUT", with(started.Header().Get("Location"), d), "1234567")
	assert.Equal(t, []fact{pushed("b", "1234567")}, known.told())

	// What a registry says of the parts counts more than what was seen of them.
	r := newRig(t, options{}, Config{})
	at := r.do(202, "PATCH", r.start("a"), "12345").Header().Get("Location")
	r.handler = Handler(r.registry, r.sink, Config{})
	at = r.do(202, "PATCH", at, "67").Header().Get("Location")
	r.do(201, "PUT", with(at, digest.FromString("123456789")), "89")
	assert.Equal(t, []fact{pushed("a", "123456789")}, r.told())
}

// TestSizeThatOnlyTheClientSays: it has to fit with what came, and is good for that event
// alone.
func TestSizeThatOnlyTheClientSays(t *testing.T) {
	sink := new(sinktest.Fake)
	r := &rig{t: t, sink: sink, handler: Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.WriteHeader(http.StatusCreated)
	}), sink, Config{})}
	want := pushed("a", "1234567")
	mount := moved("mount", "b", "1234567")
	mount.From, mount.Size = "a", 0
	for ranges, size := range map[string]int64{
		"5-6": 7, "bytes 5-6/7": 7, "0-1": 2,
		"5-999999": 0, "0-6": 0, "6-6": 0, "5-": 0, "-6": 0, "7-6": 0, "x-6": 0, "5": 0,
		"9223372036854775805-9223372036854775806": math.MaxInt64, "9223372036854775806-9223372036854775807": 0, "-9223372036854775808-1": 0,
	} {
		want.Size = size
		r.do(201, "PUT", with("/v2/a/blobs/uploads/1", want.Digest), "67", "Content-Range", ranges)
		r.do(201, "POST", "/v2/b/blobs/uploads/?from=a&mount="+want.Digest.String(), nil)
		assert.Equal(t, []fact{want, mount}, r.told(), "Content-Range: %s", ranges)
	}

	// Of a part whose end nobody has seen, no announcement is proof.
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusCreated)
	}), sink, Config{})
	want.Size = 0
	r.do(201, "PUT", with("/v2/a/blobs/uploads/1", want.Digest), "67", "Content-Range", "5-6")
	assert.Equal(t, []fact{want}, r.told())

	// What is known for certain counts more.
	want.Size = 7
	r.handler = Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.WriteHeader(http.StatusCreated)
	}), sink, Config{})
	r.do(201, "POST", "/v2/a/blobs/uploads/?digest="+want.Digest.String(), "1234567")
	r.do(201, "PUT", with("/v2/a/blobs/uploads/1", want.Digest), "67", "Content-Range", "0-1")
	assert.Equal(t, []fact{want, want}, r.told())
}

// TestMountIsNot: an answer of 201 is not one to a mount if the registry has taken a body.
func TestMountIsNot(t *testing.T) {
	r := newRig(t, options{}, Config{})
	secret := digest.FromString("secret").String()
	d := digest.FromString("mine")
	r.do(201, "POST", "/v2/a/blobs/uploads/?mount="+secret+"&from=b&digest="+d.String(), "mine")
	want := []fact{pushed("a", "mine")}
	assert.Equal(t, want, r.told())
	assert.Equal(t, want, r.history())

	// A mount of a blob that has never passed by has no size, nor one from a registry that
	// finds out by itself where the blob is.
	other := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }), r.sink, Config{})
	other.ServeHTTP(new(discard), request("POST", "/v2/a/blobs/uploads/?mount="+secret, nil))
	mount := moved("mount", "a", "secret")
	mount.Size = 0
	assert.Equal(t, []fact{mount}, r.told())

	// Nor is one of the other answers a mount: the specification has 201.
	for _, status := range []int{200, 202, 204, 400, 401, 404, 405, 500} {
		h := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }), r.sink, Config{})
		h.ServeHTTP(new(discard), request("POST", "/v2/a/blobs/uploads/?from=b&mount="+secret, nil))
		h.ServeHTTP(new(discard), request("POST", "/v2/a/blobs/uploads/?digest="+secret, "secret"))
		assert.Empty(t, r.told(), "status %d", status)
	}
}

// discard is a writer with nothing beside.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = make(http.Header)
	}
	return d.header
}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// TestFromElsewhere has where the fields of an event come from when there is more: an ID of
// the request, proxies, URLs.
func TestFromElsewhere(t *testing.T) {
	urls, err := notifications.NewURLBuilder("https://public.example.org/hub")
	require.NoError(t, err)
	r := newRig(t, options{}, Config{BridgeConfig: notifications.BridgeConfig{URLs: urls, TrustedProxies: 1, TrustBasicUser: true}})
	d := r.push("a", "x")
	req := request("GET", "/v2/a/blobs/"+d.String(), nil, "X-Forwarded-For", "203.0.113.9", "X-Forwarded-Host", "seen.example.org")
	req.SetBasicAuth("bob", "secret")
	r.send(200, req.WithContext(notifications.ContextWithRequest(req.Context(), "the ID", req)))
	e := r.events()[0]
	assert.Equal(t, "https://public.example.org/hub/v2/a/blobs/"+d.String(), e.Target.URL)
	assert.Equal(t, notifications.RequestRecord{ID: "the ID", Addr: "203.0.113.9", Host: "seen.example.org", Method: "GET"}, e.Request)
	assert.Equal(t, "bob", e.Actor.Name)
}

func TestHandlerRefuses(t *testing.T) {
	for _, row := range []struct {
		config Config
		field  string
	}{
		{Config{Prefix: "hub"}, `prefix: "hub": allowed is a path`},
		{Config{Prefix: "/hub/"}, `prefix: "/hub/": allowed is a path`},
		{Config{Prefix: "/"}, `prefix: "/": allowed is a path`},
		{Config{MaxManifest: -1}, "maxmanifest: -1: allowed are zero"},
		{Config{BridgeConfig: notifications.BridgeConfig{TrustedProxies: -1}}, "trustedproxies: -1"},
		{Config{BridgeConfig: notifications.BridgeConfig{DispatchTimeout: -1}}, "dispatchtimeout: -1ns"},
	} {
		err := row.config.Validate()
		require.ErrorContains(t, err, row.field)
		var wrong *notifications.ConfigError
		require.ErrorAs(t, err, &wrong)
		assert.PanicsWithValue(t, err.Error(), func() { Handler(http.NotFoundHandler(), new(sinktest.Fake), row.config) })
	}
	assert.Panics(t, func() { Handler(nil, new(sinktest.Fake), Config{}) })
	assert.Panics(t, func() { Handler(http.NotFoundHandler(), nil, Config{}) })
	good := Config{Prefix: "/hub/a"}
	assert.NoError(t, good.Validate())
}
