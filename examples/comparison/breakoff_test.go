package comparison

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// breakOff counts the pulls of clients that leave before they have had all of an answer.
// Where the decorators and the handler do not agree, it is said why.
func breakOff(t *testing.T) {
	const (
		all      = 1 << 20
		blob     = "a blob"
		manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	)
	type answer struct {
		ranges string
		most   int // bytes of it that come through
	}
	blobs, manifests := "/blobs/"+digest.FromString(blob).String(), "/manifests/v1"
	p := startPair(t, setup{})
	rows := []struct {
		name    string
		path    string
		answers []answer
		pulls   count
		why     string
	}{
		{name: "all at once", path: blobs, answers: []answer{{"", all}}, pulls: each(1)},
		{name: "nothing of it", path: blobs, answers: []answer{{"", 0}}, pulls: each(0)},
		{name: "a half", path: blobs, answers: []answer{{"", 3}}, pulls: each(0)},
		{name: "a half, and then all", path: blobs, answers: []answer{{"", 3}, {"", all}}, pulls: each(1)},
		{name: "the second half alone", path: blobs, answers: []answer{{"bytes=3-", all}}, pulls: each(0)},
		{name: "the first half, and no more of the second", path: blobs, answers: []answer{{"bytes=0-2", all}, {"bytes=3-", 1}}, pulls: each(1)},
		{name: "a half, and then the other", path: blobs, answers: []answer{{"", 3}, {"bytes=3-", all}}, pulls: each(1)},
		{name: "in three pieces, as far as each went", path: blobs, answers: []answer{{"", 2}, {"bytes=2-", 2}, {"bytes=4-", all}}, pulls: each(1)},
		{name: "a half of the first part", path: blobs, answers: []answer{{"bytes=0-3", 2}}, pulls: each(0)},
		{name: "a manifest", path: manifests, answers: []answer{{"", all}}, pulls: each(1)},
		{
			name: "a half of a manifest", path: manifests, answers: []answer{{"", 3}}, pulls: count{1, 0},
			why: "decorators see a manifest leave the repository, before there is an answer",
		},
	}
	repository := func(row int) string { return fmt.Sprintf("broken/off-%d", row) }
	for i, row := range rows {
		base := "/v2/" + repository(i)
		begun := p.ask(t, "POST", base+"/blobs/uploads/", "", all, http.StatusAccepted)
		p.ask(t, "PUT", begun.Get("Location")+"&digest="+digest.FromString(blob).String(), blob, all, http.StatusCreated)
		p.ask(t, "PUT", base+"/manifests/v1", manifest, all, http.StatusCreated, "Content-Type: "+imagespec.MediaTypeImageIndex)
		for _, a := range row.answers {
			if a.ranges == "" {
				p.ask(t, "GET", base+row.path, "", a.most, http.StatusOK)
			} else {
				p.ask(t, "GET", base+row.path, "", a.most, http.StatusPartialContent, "Range: "+a.ranges)
			}
		}
	}
	require.NoError(t, p.last.Do(t.Context()))
	inner, outer := p.inner.until(t, "sentinel/repo"), p.outer.until(t, "sentinel/repo")
	pulls := func(events []values, row int) (n int) {
		for _, e := range events {
			if text(e, "action") == "pull" && text(e, "target", "repository") == repository(row) {
				n++
			}
		}
		return n
	}
	for i, row := range rows {
		require.Equal(t, row.pulls, count{pulls(inner, i), pulls(outer, i)}, row.name)
		require.Equal(t, row.pulls.theirs == row.pulls.ours, row.why == "", row.name)
	}
}

// ask asks the server without a network, so that the answer is over when it returns. No
// more of it than most comes through.
func (p *pair) ask(t *testing.T, method, path, body string, most, want int, headers ...string) http.Header {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Accept", imagespec.MediaTypeImageIndex)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer := httptest.NewRecorder()
	p.server.ServeHTTP(&cut{answer, most}, r)
	require.Equal(t, want, answer.Code, "%s %s: %s", method, path, answer.Body)
	return answer.Header()
}

// cut is a writer for an answer of which only so many bytes come through.
type cut struct {
	*httptest.ResponseRecorder
	most int
}

var errCut = errors.New("the client is gone")

func (c *cut) Write(b []byte) (int, error) {
	n := min(len(b), c.most)
	c.most -= n
	if _, err := c.ResponseRecorder.Write(b[:n]); err != nil {
		return 0, err
	}
	if n < len(b) {
		return n, errCut
	}
	return n, nil
}
