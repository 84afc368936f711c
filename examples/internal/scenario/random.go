package scenario

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Random is a client that does one thing after another, of which many fail. What it does
// depends on its seed and on the answers.
type Random struct {
	scenario *Scenario
	rnd      *rand.Rand
	name     string
	uploads  []*begun
}

// begun is an upload of the client's, as far as it is.
type begun struct {
	location string
	content  string
}

// Random returns a client with a seed.
func (s *Scenario) Random(seed uint64) *Random {
	return &Random{scenario: s, rnd: rand.New(rand.NewPCG(seed, 0)), name: fmt.Sprintf("random-%d", seed)}
}

// contents are the blobs, repositories and tags that all random clients have in common.
var (
	contents     = []string{"", "a", "some", "of several bytes", configContent, layerContent}
	repositories = []string{"random/one", "random/two/blobs", "manifests/uploads"}
	tags         = []string{"v1", "v2", "latest"}
)

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// sometimes is true one time in n.
func (r *Random) sometimes(n int) bool { return r.rnd.IntN(n) == 0 }

// Next does the next thing. The error is of the network, or of an answer that is none.
func (r *Random) Next(ctx context.Context) error {
	base := "/v2/" + pick(r.rnd, repositories)
	switch r.rnd.IntN(12) {
	case 0, 1:
		return r.begin(ctx, base)
	case 2, 3, 4:
		return r.goOn(ctx)
	case 5:
		return r.wholeUpload(ctx, base)
	case 6, 7:
		return r.putManifest(ctx, base)
	case 8:
		return r.getManifest(ctx, base)
	case 9, 10:
		return r.getBlob(ctx, base)
	}
	what := pick(r.rnd, []string{
		"/blobs/" + r.blob(), "/manifests/" + digestOf(r.manifest()), "/manifests/" + pick(r.rnd, tags),
	})
	_, err := r.send(ctx, "DELETE", base+what, "")
	return err
}

func (r *Random) blob() string { return digestOf(pick(r.rnd, contents)) }

// begin begins an upload, or mounts a blob.
func (r *Random) begin(ctx context.Context, base string) error {
	query := pick(r.rnd, []string{"", "", "?digest=" + r.blob(), "?mount=" + r.blob() + "&from=" + pick(r.rnd, repositories), "?mount=" + r.blob()})
	resp, err := r.send(ctx, "POST", base+"/blobs/uploads/"+query, "")
	if err == nil && resp.StatusCode == http.StatusAccepted {
		r.uploads = append(r.uploads, &begun{location: resp.Header.Get("Location")})
	}
	return err
}

// goOn does something with an upload that has begun, perhaps one that is over.
func (r *Random) goOn(ctx context.Context) error {
	if len(r.uploads) == 0 {
		return nil
	}
	u := pick(r.rnd, r.uploads)
	var resp *http.Response
	var err error
	switch r.rnd.IntN(8) {
	case 0:
		resp, err = r.send(ctx, "GET", u.location, "")
	case 1:
		resp, err = r.send(ctx, "DELETE", u.location, "")
	case 2, 3, 4:
		piece := pick(r.rnd, contents)
		var headers []string
		if from := len(u.content); r.sometimes(2) {
			if r.sometimes(5) {
				from = r.rnd.IntN(10)
			}
			headers = append(headers, fmt.Sprintf("Content-Range: %d-%d", from, from+max(len(piece), 1)-1))
		}
		if resp, err = r.send(ctx, "PATCH", u.location, piece, headers...); err == nil && resp.StatusCode == http.StatusAccepted {
			u.content += piece
		}
	default:
		piece := pick(r.rnd, contents)
		dgst := digestOf(u.content + piece)
		if r.sometimes(5) {
			dgst = r.blob()
		}
		resp, err = r.send(ctx, "PUT", End(u.location, dgst), piece)
	}
	if err == nil && resp.Header.Get("Location") != "" && resp.StatusCode != http.StatusCreated {
		u.location = resp.Header.Get("Location")
	}
	return err
}

// wholeUpload uploads one of the blobs, so that there is something to refer to.
func (r *Random) wholeUpload(ctx context.Context, base string) error {
	content := pick(r.rnd, contents)
	resp, err := r.send(ctx, "POST", base+"/blobs/uploads/", "")
	if err != nil {
		return err
	}
	_, err = r.send(ctx, "PUT", End(resp.Header.Get("Location"), digestOf(content)), content)
	return err
}

// manifest is an image of some blobs, or an index of some images.
func (r *Random) manifest() string {
	descriptor := func(mediaType types.MediaType, content string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, digestOf(content), len(content))
	}
	image := func(of string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s,%[3]s]}`,
			types.OCIManifestSchema1, descriptor(types.OCIConfigJSON, configContent), descriptor(types.OCILayer, of))
	}
	if r.sometimes(3) {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`,
			types.OCIImageIndex, descriptor(types.OCIManifestSchema1, image(pick(r.rnd, contents[:2]))))
	}
	return image(pick(r.rnd, contents[:4]))
}

func (r *Random) putManifest(ctx context.Context, base string) error {
	content := r.manifest()
	mediaType := types.OCIManifestSchema1
	if strings.Contains(content, string(types.OCIImageIndex)) != r.sometimes(10) {
		mediaType = types.OCIImageIndex
	}
	ref := pick(r.rnd, append([]string{digestOf(content), digestOf(content), r.blob()}, tags...))
	_, err := r.send(ctx, "PUT", base+"/manifests/"+ref, content, "Content-Type: "+string(mediaType))
	return err
}

func (r *Random) getManifest(ctx context.Context, base string) error {
	ref := pick(r.rnd, append([]string{digestOf(r.manifest())}, tags...))
	headers := []string{"Accept: " + string(types.OCIManifestSchema1) + ", " + string(types.OCIImageIndex)}
	if r.sometimes(3) {
		headers = append(headers, `If-None-Match: "`+digestOf(r.manifest())+`"`)
	}
	_, err := r.send(ctx, r.getOrHead(), base+"/manifests/"+ref, "", headers...)
	return err
}

func (r *Random) getBlob(ctx context.Context, base string) error {
	var headers []string
	from := r.rnd.IntN(20)
	if r.sometimes(2) {
		headers = append(headers, "Range: "+pick(r.rnd, []string{
			"bytes=0-", fmt.Sprintf("bytes=0-%d", from), fmt.Sprintf("bytes=%d-", from), fmt.Sprintf("bytes=-%d", from+1),
			fmt.Sprintf("bytes=%d-%d,0-1", from, from+3), fmt.Sprintf("bytes=%d-%d,2-3", from, from+3),
		}))
	}
	if r.sometimes(4) {
		headers = append(headers, pick(r.rnd, []string{"If-None-Match", "If-Range"})+`: "`+r.blob()+`"`)
	}
	_, err := r.send(ctx, r.getOrHead(), base+"/blobs/"+r.blob(), "", headers...)
	return err
}

func (r *Random) getOrHead() string {
	if r.sometimes(3) {
		return "HEAD"
	}
	return "GET"
}

// send sends a request, whatever the answer, and returns this without its body.
func (r *Random) send(ctx context.Context, method, path, content string, headers ...string) (*http.Response, error) {
	if strings.HasPrefix(path, "/") {
		path = "http://" + r.scenario.host + path
	}
	var body io.Reader = bytes.NewReader([]byte(content))
	if content != "" && r.sometimes(3) {
		body = struct{ io.Reader }{body} // whose length nobody can see
	}
	req, err := http.NewRequestWithContext(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", r.name)
	if content != "" {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := r.scenario.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	if _, err = io.Copy(io.Discard, resp.Body); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return resp, nil
}
