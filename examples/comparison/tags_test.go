package comparison

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	registrymiddleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/reference"
	"github.com/stretchr/testify/require"
)

// Who hears of a push by tag finds the manifest there. Of theirs nobody would: a tag is
// written here when their receiver has asked for it.
func pushedByTag(t *testing.T) {
	const times = 50
	theirs, ours := newCurious(t), newCurious(t)
	config := serverConfig(theirs.url, configuration.Parameters{
		"endpoints": []any{map[any]any{"name": "ours", "url": ours.url}},
	})
	early := make(chan found, times)
	inside(config, hold, configuration.Parameters{"until": func() { early <- theirs.next() }})
	client := startServer(t, config)

	for _, step := range client.Tagged(times) {
		require.NoError(t, step.Do(t.Context()), step.Name)
	}
	for range times {
		f := <-early
		require.Equal(t, http.StatusNotFound, f.status, "no such difference any more: %s", afterTag.name)
		seen.difference(afterTag)

		f = ours.next()
		require.Equal(t, http.StatusOK, f.status, f.tag)
		require.Equal(t, f.want, f.digest, f.tag)
	}
}

// found is what a receiver has found under the tag of a push.
type found struct {
	tag, want, digest string
	status            int // zero if nobody has answered
}

// curious is a webhook that asks the registry for each tag that it hears of, before it
// answers.
type curious struct {
	url   string
	finds chan found
}

func newCurious(t *testing.T) *curious {
	c := &curious{finds: make(chan found, 100)}
	server := httptest.NewServer(c)
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		server.Close()
	})
	c.url = server.URL
	return c
}

func (c *curious) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var envelope struct{ Events []values }
	if err := decode(r, &envelope); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, e := range envelope.Events {
		if text(e, "action") == "push" && text(e, "target", "tag") != "" {
			c.finds <- find(r.Context(), e)
		}
	}
}

// find asks for what an event says was pushed, by its tag.
func find(ctx context.Context, e values) found {
	f := found{tag: text(e, "target", "tag"), want: text(e, "target", "digest")}
	url := strings.TrimSuffix(text(e, "target", "url"), f.want) + f.tag
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return f
	}
	r.Header.Set("Accept", text(e, "target", "mediaType"))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return f
	}
	resp.Body.Close()
	f.status, f.digest = resp.StatusCode, resp.Header.Get("Docker-Content-Digest")
	return f
}

// next waits for what the receiver finds next.
func (c *curious) next() found {
	select {
	case f := <-c.finds:
		return f
	case <-time.After(time.Minute):
		return found{}
	}
}

// hold is a middleware of the server's that writes a tag only when something else has
// been done.
const hold = "hold"

func init() {
	err := registrymiddleware.Register(hold, func(_ context.Context, inner distribution.Namespace, _ storagedriver.StorageDriver, options map[string]any) (distribution.Namespace, error) {
		return held{inner, options["until"].(func())}, nil
	})
	if err != nil {
		panic(err)
	}
}

type held struct {
	distribution.Namespace
	until func()
}

func (h held) Repository(ctx context.Context, name reference.Named) (distribution.Repository, error) {
	repo, err := h.Namespace.Repository(ctx, name)
	return heldRepository{repo, h.until}, err
}

type heldRepository struct {
	distribution.Repository
	until func()
}

func (r heldRepository) Tags(ctx context.Context) distribution.TagService {
	return heldTags{r.Repository.Tags(ctx), r.until}
}

type heldTags struct {
	distribution.TagService
	until func()
}

func (s heldTags) Tag(ctx context.Context, tag string, desc distribution.Descriptor) error {
	s.until()
	return s.TagService.Tag(ctx, tag, desc)
}
