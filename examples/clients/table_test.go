package clients

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a client does, in this order.
const (
	push           = "push an image by tag"
	pushAgain      = "push it again"
	look           = "look whether it is there"
	pull           = "pull it"
	mount          = "copy it into another repository"
	index          = "push an index of two images"
	pullIndex      = "pull one of them by the index"
	artifact       = "push an artifact with a subject"
	referrers      = "list the referrers"
	chunked        = "upload in chunks"
	brokenUpload   = "upload over a network that breaks down"
	brokenDownload = "download over a network that breaks down"
	deleteTag      = "delete a tag"
	deleteManifest = "delete a manifest"
	deleteBlob     = "delete a blob"
)

var steps = []string{
	push, pushAgain, pull, look, mount, index, pullIndex, artifact, referrers, chunked, brokenUpload, brokenDownload,
	deleteTag, deleteManifest, deleteBlob,
}

// Where the clients put what they push.
const (
	appRepository    = "team/app"
	copyRepository   = "team/copy"
	multiRepository  = "team/multi"
	bigRepository    = "team/big"
	brokenRepository = "team/broken"
)

const octets = "application/octet-stream"

// table is what comes of each step, whoever does it.
func table(s *server, c *content) map[string]func() []group {
	return map[string]func() []group{
		push:      pushed(c.app, appRepository, "v1"),
		pushAgain: only(pushOf(c.app, appRepository, "v1")),
		look:      nothing, // it is no pull
		pull:      pulled(c.app, appRepository, "v1"),
		mount: func() []group {
			copied := group{pushOf(c.app, copyRepository, "v1")}
			if !s.mounts {
				return []group{{pullOf(c.app, appRepository, "v1")}, copied}
			}
			return []group{{pullOf(c.app, appRepository, "v1")}, blobs("mount", c.app, copyRepository, appRepository), copied}
		},
		index: pushedIndex(c.multi, multiRepository, "v1"),
		pullIndex: func() []group {
			one := c.multi.manifests[0]
			return []group{{pullOf(c.multi, multiRepository, "v1")}, {pullOf(one, multiRepository, "")}, blobs("pull", one, multiRepository, "")}
		},
		artifact: func() []group {
			if s.refers {
				return pushed(c.artifact, appRepository, "notes")()
			}
			return pushedAndListed(s, c)
		},
		referrers: func() []group {
			if s.refers {
				return nil
			}
			return []group{{pullOf(s.referrers(c), appRepository, referrersTag(c))}}
		},
		chunked:        pushed(c.big, bigRepository, "v1"),
		brokenUpload:   pushed(c.broken, brokenRepository, "v1"),
		brokenDownload: pulled(c.broken, brokenRepository, "v1"),
		deleteTag:      only(event{action: "delete", kind: "tag", repository: multiRepository, tag: "v1"}),
		deleteManifest: func() []group {
			deleted := group{{action: "delete", kind: "manifest", repository: appRepository, digest: c.app.digest}}
			if !s.untags {
				return []group{deleted}
			}
			return []group{deleted, {{action: "delete", kind: "tag", repository: appRepository, tag: "v1"}}}
		},
		deleteBlob: only(event{action: "delete", kind: "blob", repository: bigRepository, digest: c.big.blobs[1].digest}),
	}
}

// referrersTag is where clients list what refers to the app, if the registry does not.
func referrersTag(c *content) string { return strings.Replace(c.app.digest.String(), ":", "-", 1) }

// referrers returns that list.
func (s *server) referrers(c *content) image { return s.read(appRepository, referrersTag(c)) }

func nothing() []group { return nil }

func only(e event) func() []group { return func() []group { return []group{{e}} } }

func pushOf(i image, repository, tag string) event {
	return event{action: "push", kind: "manifest", repository: repository, tag: tag, digest: i.digest, mediaType: i.mediaType, size: i.size}
}

func pullOf(i image, repository, tag string) event {
	e := pushOf(i, repository, tag)
	e.action = "pull"
	return e
}

func blobs(action string, i image, repository, from string) (g group) {
	for _, b := range i.blobs {
		g = append(g, event{action: action, kind: "blob", repository: repository, from: from, digest: b.digest, mediaType: octets, size: b.size})
	}
	return g
}

// pushed is an image that comes whole: a registry takes a manifest when it has all that
// it refers to.
func pushed(i image, repository, tag string) func() []group {
	return func() []group {
		return []group{blobs("push", i, repository, ""), {pushOf(i, repository, tag)}}
	}
}

// pushedAndListed is an artifact whose client lists what refers to the app by itself.
func pushedAndListed(s *server, c *content) []group {
	return append(pushed(c.artifact, appRepository, "notes")(), group{pushOf(s.referrers(c), appRepository, referrersTag(c))})
}

// pushedIndex is an index: the images in it come in any order, each behind its blobs,
// which is more than a group can say.
func pushedIndex(i image, repository, tag string) func() []group {
	var parts group
	for _, m := range i.manifests {
		parts = append(parts, blobs("push", m, repository, "")...)
		parts = append(parts, pushOf(m, repository, ""))
	}
	return func() []group { return []group{parts, {pushOf(i, repository, tag)}} }
}

func pulled(i image, repository, tag string) func() []group {
	return func() []group {
		return []group{{pullOf(i, repository, tag)}, blobs("pull", i, repository, "")}
	}
}

// client is a client at work on one server.
type client struct {
	// do is how it does the steps that it can.
	do map[string]func(ctx context.Context) error
	// cannot says why it cannot do the others.
	cannot map[string]string
	// differs is what comes of a step if it is not what the table says.
	differs map[string]func() []group
	// special is how many requests of a step are of the kind that it is about: see isSpecial.
	special map[string]int
}

// isSpecial says for some of the steps which requests it is that they are about.
var isSpecial = map[string]func(*http.Request) bool{
	chunked: func(r *http.Request) bool { return r.Method == http.MethodPatch },
	// Somebody wants to know how far an upload has come.
	brokenUpload: func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/uploads/")
	},
	// Somebody wants the rest of a download.
	brokenDownload: func(r *http.Request) bool { return r.Header.Get("Range") != "" },
}

// run has a client do all it can on each kind of server.
func run(t *testing.T, newClient func(t *testing.T, s *server, c *content) client) {
	t.Parallel()
	shared := newContent(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			mine := *shared // a client may change what it pushes
			c, s := &mine, newServer(t, k)
			cl := newClient(t, s, c)
			for _, step := range steps {
				do := cl.do[step]
				if do == nil {
					require.NotEmpty(t, cl.cannot[step], "%s: is neither done nor explained", step)
					continue
				}
				require.Empty(t, cl.cannot[step], "%s: is done and explained", step)
				s.net.next(step)
				require.NoError(t, do(t.Context()), step)
				assert.True(t, s.net.brokeDown(), "%s: the network did not break down", step)
				assert.Equal(t, cl.special[step], s.net.counted(), "%s: special requests", step)

				want := table(s, c)[step]
				if differs, ok := cl.differs[step]; ok {
					want = differs
				}
				if err := compare(want(), s.events()); err != nil {
					t.Errorf("%s:\n%v", step, err)
				}
			}
		})
	}
}

// inTurn returns what does one thing after the other.
func inTurn(dos ...func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		for _, do := range dos {
			if err := do(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// fails returns what does something that has to fail.
func fails(do func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		if do(ctx) == nil {
			return errors.New("has not failed")
		}
		return nil
	}
}

// again returns what does something once more if it fails, as somebody would. It must do one
// thing at a time when the network breaks down: a request that is given up half-way may
// still be served later, and then what is done again is done twice. Skopeo, podman and buildah
// have one layer to transfer here, and the configuration before or behind it.
func again(do func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		if do(ctx) == nil {
			return nil
		}
		return do(ctx)
	}
}
