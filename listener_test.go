package notifications_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

var errRegistry = errors.New("the registry's own error")

// fakeRegistry is a Repository, with all its services, and a RepositoryRemover. It
// returns err from everything.
type fakeRegistry struct {
	err     error
	stats   int
	tagging func() // nil: nothing
}

var someName, _ = reference.WithName("library/app")

var someBlob = distribution.Descriptor{MediaType: "application/octet-stream", Digest: someDigest, Size: 233}

func (r *fakeRegistry) Named() reference.Named { return someName }
func (r *fakeRegistry) Manifests(context.Context, ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	return &fakeManifests{r}, nil
}
func (r *fakeRegistry) Blobs(context.Context) distribution.BlobStore               { return &fakeBlobs{r} }
func (r *fakeRegistry) Tags(context.Context) distribution.TagService               { return &fakeTags{r} }
func (r *fakeRegistry) Remove(context.Context, reference.Named) error              { return r.err }
func (r *fakeRegistry) Enumerate(context.Context, func(digest.Digest) error) error { return r.err }

type fakeManifest struct{ err error }

func (m fakeManifest) References() []distribution.Descriptor {
	return []distribution.Descriptor{someBlob}
}
func (m fakeManifest) Payload() (string, []byte, error) {
	return "application/vnd.oci.image.manifest.v1+json", []byte("{...}"), m.err
}

type fakeManifests struct{ r *fakeRegistry }

func (s *fakeManifests) Exists(context.Context, digest.Digest) (bool, error) { return true, s.r.err }
func (s *fakeManifests) Get(context.Context, digest.Digest, ...distribution.ManifestServiceOption) (distribution.Manifest, error) {
	return fakeManifest{}, s.r.err
}
func (s *fakeManifests) Put(context.Context, distribution.Manifest, ...distribution.ManifestServiceOption) (digest.Digest, error) {
	return someDigest, s.r.err
}
func (s *fakeManifests) Delete(context.Context, digest.Digest) error { return s.r.err }

type enumerableManifests struct{ fakeManifests }

func (s *enumerableManifests) Enumerate(context.Context, func(digest.Digest) error) error {
	return s.r.err
}

type fakeBlobs struct{ r *fakeRegistry }

func (s *fakeBlobs) Stat(context.Context, digest.Digest) (distribution.Descriptor, error) {
	s.r.stats++
	return someBlob, s.r.err
}
func (s *fakeBlobs) Get(context.Context, digest.Digest) ([]byte, error) {
	return []byte("blob"), s.r.err
}
func (s *fakeBlobs) Open(context.Context, digest.Digest) (io.ReadSeekCloser, error) {
	return nopCloser{bytes.NewReader(nil)}, s.r.err
}
func (s *fakeBlobs) ServeBlob(context.Context, http.ResponseWriter, *http.Request, digest.Digest) error {
	return s.r.err
}
func (s *fakeBlobs) Put(context.Context, string, []byte) (distribution.Descriptor, error) {
	return someBlob, s.r.err
}
func (s *fakeBlobs) Create(_ context.Context, options ...distribution.BlobCreateOption) (distribution.BlobWriter, error) {
	if s.r.err != nil {
		return nil, s.r.err
	}
	if len(options) > 0 {
		from, _ := reference.WithName("library/base")
		canonical, _ := reference.WithDigest(from, someDigest)
		return nil, distribution.ErrBlobMounted{From: canonical, Descriptor: someBlob}
	}
	return &fakeWriter{r: s.r}, nil
}
func (s *fakeBlobs) Resume(context.Context, string) (distribution.BlobWriter, error) {
	if s.r.err != nil {
		return nil, s.r.err
	}
	return &fakeWriter{r: s.r}, nil
}
func (s *fakeBlobs) Delete(context.Context, digest.Digest) error { return s.r.err }

type enumerableBlobs struct{ fakeBlobs }

func (s *enumerableBlobs) Enumerate(context.Context, func(digest.Digest) error) error { return s.r.err }

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

type fakeWriter struct {
	distribution.BlobWriter
	r *fakeRegistry
}

func (w *fakeWriter) Commit(context.Context, distribution.Descriptor) (distribution.Descriptor, error) {
	return someBlob, w.r.err
}

type fakeTags struct{ r *fakeRegistry }

func (s *fakeTags) Get(context.Context, string) (distribution.Descriptor, error) {
	return someBlob, s.r.err
}
func (s *fakeTags) Tag(context.Context, string, distribution.Descriptor) error {
	if s.r.tagging != nil {
		s.r.tagging()
	}
	return s.r.err
}
func (s *fakeTags) Untag(context.Context, string) error   { return s.r.err }
func (s *fakeTags) All(context.Context) ([]string, error) { return nil, s.r.err }
func (s *fakeTags) Lookup(context.Context, distribution.Descriptor) ([]string, error) {
	return nil, s.r.err
}
func (s *fakeTags) List(context.Context, int, string) ([]string, error) { return nil, s.r.err }

type manifestTags struct{ fakeTags }

func (s *manifestTags) ManifestDigests(context.Context, string) ([]digest.Digest, error) {
	return []digest.Digest{someDigest}, s.r.err
}

// richRegistry's services have the optional interfaces.
type richRegistry struct{ fakeRegistry }

func (r *richRegistry) Manifests(context.Context, ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	return &enumerableManifests{fakeManifests{&r.fakeRegistry}}, nil
}
func (r *richRegistry) Blobs(context.Context) distribution.BlobStore {
	return &enumerableBlobs{fakeBlobs{&r.fakeRegistry}}
}
func (r *richRegistry) Tags(context.Context) distribution.TagService {
	return &manifestTags{fakeTags{&r.fakeRegistry}}
}

// nilRegistry has nothing.
type nilRegistry struct{ fakeRegistry }

func (r *nilRegistry) Manifests(context.Context, ...distribution.ManifestServiceOption) (distribution.ManifestService, error) {
	return nil, errRegistry
}
func (r *nilRegistry) Blobs(context.Context) distribution.BlobStore { return nil }
func (r *nilRegistry) Tags(context.Context) distribution.TagService { return nil }

// call is one call of the registry, and the event that it makes.
type call struct {
	name string
	do   func(context.Context, distribution.Repository, distribution.RepositoryRemover) error
	want string // "": no event
}

type mountOption struct{}

func (mountOption) Apply(any) error { return nil }

func registryCalls() []call {
	type (
		ctx     = context.Context
		repo    = distribution.Repository
		remover = distribution.RepositoryRemover
	)
	manifests := func(do func(ctx, distribution.ManifestService) error) func(ctx, repo, remover) error {
		return func(c ctx, r repo, _ remover) error {
			s, err := r.Manifests(c)
			if err != nil {
				return err
			}
			return do(c, s)
		}
	}
	blobs := func(do func(ctx, distribution.BlobStore) error) func(ctx, repo, remover) error {
		return func(c ctx, r repo, _ remover) error { return do(c, r.Blobs(c)) }
	}
	tags := func(do func(ctx, distribution.TagService) error) func(ctx, repo, remover) error {
		return func(c ctx, r repo, _ remover) error { return do(c, r.Tags(c)) }
	}
	return []call{
		{"manifest Exists", manifests(func(c ctx, s distribution.ManifestService) error {
			_, err := s.Exists(c, someDigest)
			return err
		}), ""},
		{"manifest Get", manifests(func(c ctx, s distribution.ManifestService) error {
			_, err := s.Get(c, someDigest)
			return err
		}), "pull manifest"},
		{"manifest Get by tag", manifests(func(c ctx, s distribution.ManifestService) error {
			_, err := s.Get(c, someDigest, distribution.WithTag("v1"))
			return err
		}), "pull manifest v1"},
		{"manifest Put", manifests(func(c ctx, s distribution.ManifestService) error {
			_, err := s.Put(c, fakeManifest{})
			return err
		}), "push manifest"},
		{"manifest Put by tag", func(c ctx, r repo, _ remover) error {
			s, err := r.Manifests(c)
			if err != nil {
				return err
			}
			dgst, err := s.Put(c, fakeManifest{}, distribution.WithManifestMediaTypes(nil), distribution.WithTag("v1"))
			if err != nil {
				return err
			}
			return r.Tags(c).Tag(c, "v1", distribution.Descriptor{Digest: dgst})
		}, "push manifest v1"},
		{"manifest Put by tag of no request", manifests(func(c ctx, s distribution.ManifestService) error {
			_, err := s.Put(context.WithoutCancel(c), fakeManifest{}, distribution.WithTag("v1"))
			return err
		}), "push manifest v1"},
		{"manifest Delete", manifests(func(c ctx, s distribution.ManifestService) error { return s.Delete(c, someDigest) }), "delete manifest"},
		{"blob Stat", blobs(func(c ctx, s distribution.BlobStore) error {
			_, err := s.Stat(c, someDigest)
			return err
		}), ""},
		{"blob Get", blobs(func(c ctx, s distribution.BlobStore) error {
			_, err := s.Get(c, someDigest)
			return err
		}), "pull blob"},
		{"blob Open", blobs(func(c ctx, s distribution.BlobStore) error {
			_, err := s.Open(c, someDigest)
			return err
		}), "pull blob"},
		{"blob ServeBlob", blobs(func(c ctx, s distribution.BlobStore) error {
			return s.ServeBlob(c, nil, nil, someDigest)
		}), "pull blob"},
		{"blob Put", blobs(func(c ctx, s distribution.BlobStore) error {
			_, err := s.Put(c, "", nil)
			return err
		}), "push blob"},
		{"blob Create", blobs(func(c ctx, s distribution.BlobStore) error {
			_, err := s.Create(c)
			return err
		}), ""},
		{"blob Create and Commit", blobs(func(c ctx, s distribution.BlobStore) error {
			w, err := s.Create(c)
			if err != nil {
				return err
			}
			_, err = w.Commit(c, distribution.Descriptor{})
			return err
		}), "push blob"},
		{"blob Resume and Commit", blobs(func(c ctx, s distribution.BlobStore) error {
			w, err := s.Resume(c, "id")
			if err != nil {
				return err
			}
			_, err = w.Commit(c, distribution.Descriptor{})
			return err
		}), "push blob"},
		{"blob mount", blobs(func(c ctx, s distribution.BlobStore) error {
			w, err := s.Create(c, mountOption{})
			if w != nil {
				return errors.New("a nil writer became something")
			}
			if errors.As(err, new(distribution.ErrBlobMounted)) {
				return nil
			}
			return err
		}), "mount blob from library/base"},
		{"blob Delete", blobs(func(c ctx, s distribution.BlobStore) error { return s.Delete(c, someDigest) }), "delete blob"},
		{"tag Get", tags(func(c ctx, s distribution.TagService) error {
			_, err := s.Get(c, "v1")
			return err
		}), ""},
		{"Tag", tags(func(c ctx, s distribution.TagService) error { return s.Tag(c, "v1", someBlob) }), ""},
		{"Untag", tags(func(c ctx, s distribution.TagService) error { return s.Untag(c, "v1") }), "delete tag v1"},
		{"Remove", func(c ctx, _ repo, r remover) error { return r.Remove(c, someName) }, "delete repository"},
	}
}

func short(e *Event) string {
	s := e.Action + " " + e.Target.Type
	if e.Target.Tag != "" {
		s += " " + e.Target.Tag
	}
	if e.Target.FromRepository != "" {
		s += " from " + e.Target.FromRepository
	}
	return s
}

func newBridge(t testing.TB, s Sink, c BridgeConfig) *Bridge {
	b, err := NewBridge(s, c)
	require.NoError(t, err)
	return b
}

// TestPushAfterTag: a push by tag is told of when the tag is there, or when it is known
// that it will not be.
func TestPushAfterTag(t *testing.T) {
	f, registry := new(sinktest.Fake), &fakeRegistry{}
	repo, _ := Listen(registry, nil, newBridge(t, f, BridgeConfig{}))
	put := func(ctx context.Context, tag string) distribution.Descriptor {
		s, err := repo.Manifests(ctx)
		require.NoError(t, err)
		dgst, err := s.Put(ctx, fakeManifest{}, distribution.WithTag(tag))
		require.NoError(t, err)
		return distribution.Descriptor{Digest: dgst}
	}
	told := func() (all []string) {
		for _, e := range f.Events() {
			all = append(all, short(e))
		}
		return all
	}

	ctx, end := context.WithCancel(t.Context())
	one, two := put(ctx, "one"), put(ctx, "two")
	put(ctx, "three")
	assert.Empty(t, told())
	require.NoError(t, repo.Tags(ctx).Tag(ctx, "other", one))
	require.NoError(t, repo.Tags(ctx).Tag(ctx, "one", distribution.Descriptor{Digest: digest.FromString("other")}))
	assert.Empty(t, told(), "it is not what was put")
	require.NoError(t, repo.Tags(ctx).Tag(ctx, "one", one))
	assert.Equal(t, []string{"push manifest one"}, told())
	registry.err = errRegistry
	require.Error(t, repo.Tags(ctx).Tag(ctx, "two", two))
	assert.Equal(t, []string{"push manifest one", "push manifest"}, told())
	registry.err = nil
	// A request that ends while the tag is written.
	going, leave := context.WithCancel(t.Context())
	four := put(going, "four")
	registry.tagging = leave
	require.NoError(t, repo.Tags(going).Tag(going, "four", four))
	registry.tagging = nil
	assert.Equal(t, "push manifest four", told()[2])
	end()
	f.Wait(t, 4)
	assert.Equal(t, []string{"push manifest one", "push manifest", "push manifest four", "push manifest"}, told())
	require.NoError(t, repo.Tags(ctx).Tag(ctx, "two", two))
	assert.Len(t, told(), 4, "each once")
}

func TestListen(t *testing.T) {
	for _, c := range registryCalls() {
		t.Run(c.name, func(t *testing.T) {
			f, registry := new(sinktest.Fake), &fakeRegistry{}
			repo, remover := Listen(registry, registry, newBridge(t, f, BridgeConfig{}))
			require.NoError(t, c.do(t.Context(), repo, remover))
			if c.want == "" {
				assert.Empty(t, f.Events())
				return
			}
			require.Len(t, f.Events(), 1)
			e := f.Events()[0]
			assert.Equal(t, c.want, short(e))
			assert.Equal(t, "library/app", e.Target.Repository)
			if e.Target.Type == TypeManifest || e.Target.Type == TypeBlob {
				assert.Equal(t, someDigest, e.Target.Digest)
			}
		})
		t.Run(c.name+" that fails", func(t *testing.T) {
			f, registry := new(sinktest.Fake), &fakeRegistry{err: errRegistry}
			repo, remover := Listen(registry, registry, newBridge(t, f, BridgeConfig{}))
			assert.Same(t, errRegistry, c.do(t.Context(), repo, remover), "errors pass through unchanged")
			assert.Empty(t, f.Events(), "what failed did not happen")
		})
		t.Run(c.name+" is safe from its listener", func(t *testing.T) {
			for name, spoil := range map[string]func(*sinktest.Fake){
				"error": func(f *sinktest.Fake) { f.Fail(-1, errors.New("boom")) },
				"panic": func(f *sinktest.Fake) { f.Panic(100) },
				"hangs": func(f *sinktest.Fake) { f.Hold() },
			} {
				f, registry := new(sinktest.Fake), &fakeRegistry{}
				spoil(f)
				log, hook := quietLogger()
				b := newBridge(t, f, BridgeConfig{DispatchTimeout: 5 * time.Millisecond, Logger: log})
				repo, remover := Listen(registry, registry, b)
				require.NoError(t, c.do(t.Context(), repo, remover), name)
				if c.want == "" {
					continue
				}
				assert.EqualValues(t, 1, b.Rejected(), name)
				entry := hook.LastEntry()
				require.NotNil(t, entry, name)
				assert.Equal(t, logrus.ErrorLevel, entry.Level)
				assert.Equal(t, "library/app", entry.Data["repository"])
				assert.NotEmpty(t, entry.Data["event.id"])
				if name == "hangs" {
					assert.ErrorIs(t, entry.Data["error"].(error), ErrDispatchTimeout)
				}
			}
		})
		t.Run(c.name+" after the client left", func(t *testing.T) {
			f, registry := new(sinktest.Fake), &fakeRegistry{}
			repo, remover := Listen(registry, registry, newBridge(t, contextual{f}, BridgeConfig{}))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.NoError(t, c.do(ctx, repo, remover))
			assert.Len(t, f.Events(), map[bool]int{true: 1}[c.want != ""])
		})
	}
}

// contextual is a sink that takes nothing under a context that has ended.
type contextual struct{ Sink }

func (s contextual) Write(ctx context.Context, events ...*Event) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.Sink.Write(ctx, events...)
}

func TestListenHidesNothing(t *testing.T) {
	ctx, l := t.Context(), newBridge(t, new(sinktest.Fake), BridgeConfig{})
	for _, c := range []struct {
		registry distribution.Repository
		rich     bool
	}{{&fakeRegistry{}, false}, {&richRegistry{}, true}} {
		repo, _ := Listen(c.registry, nil, l)
		ms, err := repo.Manifests(ctx)
		require.NoError(t, err)
		_, ok := ms.(distribution.ManifestEnumerator)
		assert.Equal(t, c.rich, ok, "ManifestEnumerator")
		_, ok = repo.Blobs(ctx).(distribution.BlobEnumerator)
		assert.Equal(t, c.rich, ok, "BlobEnumerator")
		_, ok = repo.Tags(ctx).(distribution.TagManifestsProvider)
		assert.Equal(t, c.rich, ok, "TagManifestsProvider")

		assert.Same(t, c.registry, repo.(interface {
			Unwrap() distribution.Repository
		}).Unwrap())
		_, ok = ms.(interface {
			Unwrap() distribution.ManifestService
		})
		assert.True(t, ok)
		_, ok = repo.Blobs(ctx).(interface{ Unwrap() distribution.BlobStore })
		assert.True(t, ok)
		_, ok = repo.Tags(ctx).(interface {
			Unwrap() distribution.TagService
		})
		assert.True(t, ok)
		w, err := repo.Blobs(ctx).Create(ctx)
		require.NoError(t, err)
		assert.IsType(t, &fakeWriter{}, w.(interface {
			Unwrap() distribution.BlobWriter
		}).Unwrap())
	}

	// What is nil stays nil.
	repo, remover := Listen(&nilRegistry{}, nil, l)
	assert.Nil(t, remover)
	assert.Nil(t, repo.Blobs(ctx))
	assert.Nil(t, repo.Tags(ctx))
	ms, err := repo.Manifests(ctx)
	assert.Nil(t, ms)
	assert.Same(t, errRegistry, err)
	repo, remover = Listen(nil, &fakeRegistry{}, l)
	assert.Nil(t, repo)
	assert.IsType(t, &fakeRegistry{}, remover.(interface {
		Unwrap() distribution.RepositoryRemover
	}).Unwrap())

	// Nobody to tell: nothing to do.
	registry := &fakeRegistry{}
	repo, remover = Listen(registry, registry, nil)
	assert.Same(t, registry, repo)
	assert.Same(t, registry, remover)
}

// TestListenAsksForNothingTwice: the server has just asked for the descriptor.
func TestListenAsksForNothingTwice(t *testing.T) {
	f, registry := new(sinktest.Fake), &fakeRegistry{}
	repo, _ := Listen(registry, nil, newBridge(t, f, BridgeConfig{}))
	blobs := repo.Blobs(t.Context())
	_, err := blobs.Stat(t.Context(), someDigest)
	require.NoError(t, err)
	require.NoError(t, blobs.ServeBlob(t.Context(), nil, nil, someDigest))
	assert.Equal(t, 1, registry.stats)
	assert.EqualValues(t, 233, f.Events()[0].Target.Size)

	other := digest.FromString("other")
	require.NoError(t, blobs.ServeBlob(t.Context(), nil, nil, other))
	assert.Equal(t, 2, registry.stats)

	// A blob that nobody can describe was served all the same.
	registry = &fakeRegistry{}
	repo, _ = Listen(&unstattable{registry}, nil, newBridge(t, f, BridgeConfig{}))
	_, err = repo.Blobs(t.Context()).Get(t.Context(), other)
	require.NoError(t, err)
	assert.Equal(t, other, f.Events()[2].Target.Digest)
}

// TestListenDescribesWhatAClientLeftWith: the client has its blob and is gone.
func TestListenDescribesWhatAClientLeftWith(t *testing.T) {
	f, registry := new(sinktest.Fake), &fakeRegistry{}
	repo, _ := Listen(&attentive{registry}, nil, newBridge(t, f, BridgeConfig{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, repo.Blobs(ctx).ServeBlob(ctx, nil, nil, someDigest))
	assert.EqualValues(t, 233, f.Events()[0].Target.Size)
}

type attentive struct{ *fakeRegistry }

func (r *attentive) Blobs(context.Context) distribution.BlobStore {
	return &attentiveBlobs{fakeBlobs{r.fakeRegistry}}
}

// attentiveBlobs listen to their context.
type attentiveBlobs struct{ fakeBlobs }

func (s *attentiveBlobs) Stat(ctx context.Context, _ digest.Digest) (distribution.Descriptor, error) {
	return someBlob, ctx.Err()
}

type unstattable struct{ *fakeRegistry }

func (r *unstattable) Blobs(context.Context) distribution.BlobStore {
	return &unstattableBlobs{fakeBlobs{r.fakeRegistry}}
}

type unstattableBlobs struct{ fakeBlobs }

func (*unstattableBlobs) Stat(context.Context, digest.Digest) (distribution.Descriptor, error) {
	return distribution.Descriptor{}, errRegistry
}

// panicky is a listener of somebody else's, that panics.
type panicky struct{ Listener }

func TestListenSurvivesAnotherListener(t *testing.T) {
	log, hook := quietLogger()
	ctx := ContextWithLogger(t.Context(), log)
	registry := &fakeRegistry{}
	repo, _ := Listen(registry, nil, panicky{})
	require.NoError(t, repo.Tags(ctx).Untag(ctx, "v1"))
	require.NotNil(t, hook.LastEntry())
	assert.ErrorContains(t, hook.LastEntry().Data["error"].(error), "panicked")
}

func bridged(t *testing.T, ctx context.Context, c BridgeConfig) *Event {
	t.Helper()
	f := new(sinktest.Fake)
	require.NoError(t, newBridge(t, f, c).ManifestPulled(ctx, someName, someDigest, fakeManifest{}, "v1"))
	require.Len(t, f.Events(), 1)
	return f.Events()[0]
}

func clientRequest(header map[string]string) *http.Request {
	r := httptest.NewRequest("GET", "http://registry.example.org/v2/library/app/manifests/v1", nil)
	r.RemoteAddr = "192.0.2.7:4711"
	r.Header.Set("User-Agent", "client/1.0")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return r
}

func TestBridgeMakesEvents(t *testing.T) {
	source, err := NewSource(":5000")
	require.NoError(t, err)
	ctx := ContextWithActor(ContextWithRequest(t.Context(), "id-1", clientRequest(nil)), ActorRecord{Name: "alice"})
	e := bridged(t, ctx, BridgeConfig{Source: source, IncludeReferences: true})
	assert.NotEmpty(t, e.ID)
	assert.WithinDuration(t, time.Now(), e.Timestamp, time.Minute)
	assert.Equal(t, RequestRecord{ID: "id-1", Addr: "192.0.2.7:4711", Host: "registry.example.org", Method: "GET", UserAgent: "client/1.0"}, e.Request)
	assert.Equal(t, "alice", e.Actor.Name)
	assert.Equal(t, source, e.Source)
	assert.Equal(t, Target{
		Type: TypeManifest, MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: someDigest, Size: 5,
		Repository: "library/app", Tag: "v1", References: []distribution.Descriptor{someBlob}, TotalSize: 5 + someBlob.Size,
		URL: "http://registry.example.org/v2/library/app/manifests/" + someDigest.String(),
	}, e.Target)

	assert.Empty(t, bridged(t, ctx, BridgeConfig{}).Target.References, "only when asked for")
	assert.Equal(t, RequestRecord{}, bridged(t, t.Context(), BridgeConfig{}).Request, "nobody asked")
}

func TestBridgeReadsAStockServersContext(t *testing.T) {
	ctx := stockContext{t.Context(), map[string]any{
		"http.request": clientRequest(nil), "http.request.id": "stock-1", "auth.user.name": "bob",
	}}
	e := bridged(t, ctx, BridgeConfig{})
	assert.Equal(t, "stock-1", e.Request.ID)
	assert.Equal(t, "client/1.0", e.Request.UserAgent)
	assert.Equal(t, "bob", e.Actor.Name)

	// Our own come first.
	own := ContextWithActor(ContextWithRequest(ctx, "own-1", clientRequest(nil)), ActorRecord{Name: "carol"})
	e = bridged(t, own, BridgeConfig{})
	assert.Equal(t, "own-1 carol", e.Request.ID+" "+e.Actor.Name)
}

// stockContext has values under plain strings, as a stock distribution server's has.
type stockContext struct {
	context.Context
	values map[string]any
}

func (c stockContext) Value(key any) any {
	if s, ok := key.(string); ok {
		return c.values[s]
	}
	return c.Context.Value(key)
}

func TestBridgeTrustsNobodyUnlessTold(t *testing.T) {
	forged := clientRequest(map[string]string{
		"X-Forwarded-For": "6.6.6.6, 203.0.113.9", "X-Forwarded-Host": "evil.example.org, front.example.org",
		"X-Forwarded-Proto": "gopher, https", "Authorization": "Basic " + "bWFsbG9yeTpodW50ZXIy",
	})
	ctx := ContextWithRequest(t.Context(), "id", forged)
	e := bridged(t, ctx, BridgeConfig{})
	assert.Equal(t, "192.0.2.7:4711", e.Request.Addr)
	assert.Equal(t, "registry.example.org", e.Request.Host)
	assert.Empty(t, e.Actor.Name)
	assert.Regexp(t, "^http://registry.example.org/", e.Target.URL)

	e = bridged(t, ctx, BridgeConfig{TrustedProxies: 1, TrustBasicUser: true})
	assert.Equal(t, "203.0.113.9", e.Request.Addr, "what the proxy saw, not what the client claims")
	assert.Equal(t, "front.example.org", e.Request.Host)
	assert.Equal(t, "mallory", e.Actor.Name)
	assert.Regexp(t, "^https://front.example.org/v2/", e.Target.URL)

	e = bridged(t, ctx, BridgeConfig{TrustedProxies: 5})
	assert.Equal(t, "6.6.6.6", e.Request.Addr)
	assert.Regexp(t, "^http://", e.Target.URL, "no scheme that is none")

	for value, want := range map[string]string{
		"":                  "192.0.2.7:4711",
		"nonsense":          "192.0.2.7:4711",
		"203.0.113.9:1234":  "203.0.113.9",
		"[2001:db8::1]:443": "2001:db8::1",
		"2001:db8::1":       "2001:db8::1",
	} {
		r := clientRequest(map[string]string{"X-Forwarded-For": value})
		assert.Equal(t, want, bridged(t, ContextWithRequest(t.Context(), "id", r), BridgeConfig{TrustedProxies: 1}).Request.Addr, value)
	}
}

func TestBridgeURLs(t *testing.T) {
	r := clientRequest(nil)
	ctx := ContextWithRequest(t.Context(), "id", r)
	root, err := NewURLBuilder("https://public.example.org/hub/")
	require.NoError(t, err)
	assert.Equal(t, "https://public.example.org/hub/v2/library/app/manifests/"+someDigest.String(), bridged(t, ctx, BridgeConfig{URLs: root}).Target.URL)

	r.URL = &url.URL{Path: "/prefix/v2/library/app/manifests/v1"}
	r.TLS = &tls.ConnectionState{}
	assert.Equal(t, "https://registry.example.org/prefix/v2/library/app/manifests/"+someDigest.String(), bridged(t, ctx, BridgeConfig{}).Target.URL)
	r.URL = &url.URL{Path: "/elsewhere"}
	assert.Equal(t, "https://registry.example.org/v2/library/app/manifests/"+someDigest.String(), bridged(t, ctx, BridgeConfig{}).Target.URL)
	assert.Empty(t, bridged(t, t.Context(), BridgeConfig{}).Target.URL)

	tagged, _ := reference.WithTag(someName, "v1")
	got, err := root.BuildManifestURL(tagged)
	require.NoError(t, err)
	assert.Equal(t, "https://public.example.org/hub/v2/library/app/manifests/v1", got)
	_, err = root.BuildManifestURL(someName)
	assert.ErrorContains(t, err, "allowed")
	for _, bad := range []string{"", "example.org", "ftp://example.org", "http://", "http://u:hunter2@example.org", "http://example.org?x=hunter2"} {
		_, err := NewURLBuilder(bad)
		if assert.ErrorContains(t, err, "allowed", bad) {
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}

	// A builder that fails costs the URL and not the event.
	log, hook := quietLogger()
	e := bridged(t, ctx, BridgeConfig{URLs: brokenURLs{}, Logger: log})
	assert.Empty(t, e.Target.URL)
	assert.Equal(t, e.ID, hook.LastEntry().Data["event.id"])
}

type brokenURLs struct{}

func (brokenURLs) BuildManifestURL(reference.Named) (string, error) { return "", errors.New("broken") }
func (brokenURLs) BuildBlobURL(reference.Canonical) (string, error) { return "", errors.New("broken") }

func TestBridgeIncompleteEvents(t *testing.T) {
	f := new(sinktest.Fake)
	log, hook := quietLogger()
	b := newBridge(t, f, BridgeConfig{Logger: log, IncludeReferences: true})
	require.NoError(t, b.ManifestPushed(t.Context(), someName, someDigest, nil, "v1"))
	require.NoError(t, b.ManifestPushed(t.Context(), someName, someDigest, fakeManifest{err: errors.New("boom")}, "v1"))
	assert.Len(t, f.Events(), 2, "written all the same")
	var warnings int
	for _, e := range hook.AllEntries() {
		if e.Level == logrus.WarnLevel {
			warnings++
		}
	}
	assert.Equal(t, 2, warnings)
}

func TestBridgeRename(t *testing.T) {
	f := new(sinktest.Fake)
	to, _ := reference.WithName("library/new")
	require.NoError(t, newBridge(t, f, BridgeConfig{}).RepositoryRenamed(t.Context(), someName, to))
	e := f.Events()[0]
	assert.Equal(t, ActionRename, e.Action)
	assert.Equal(t, Target{Type: TypeRepository, Repository: "library/new", FromRepository: "library/app"}, e.Target)
}

func TestBridgeReturnsWhatWasLost(t *testing.T) {
	f := new(sinktest.Fake)
	boom := errors.New("boom")
	f.Fail(-1, boom)
	b := newBridge(t, f, BridgeConfig{})
	err := b.TagDeleted(t.Context(), someName, "v1")
	var lost *RejectedError
	require.ErrorAs(t, err, &lost)
	assert.ErrorIs(t, err, boom)
	assert.Equal(t, "v1", lost.Event.Target.Tag)
	f.Panic(1)
	assert.ErrorAs(t, b.TagDeleted(t.Context(), someName, "v1"), &lost)
	assert.EqualValues(t, 2, b.Rejected())
}

func TestBridgeBadInput(t *testing.T) {
	_, err := NewBridge(nil, BridgeConfig{})
	assert.ErrorContains(t, err, "sink: nil")
	_, err = NewBridge(new(sinktest.Fake), BridgeConfig{DispatchTimeout: -1})
	assert.ErrorContains(t, err, "dispatchtimeout: -1ns")
	_, err = NewBridge(new(sinktest.Fake), BridgeConfig{TrustedProxies: -1})
	assert.ErrorContains(t, err, "trustedproxies: -1")
}

func TestRecordRequests(t *testing.T) {
	f := new(sinktest.Fake)
	b := newBridge(t, f, BridgeConfig{})
	h := RecordRequests(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		assert.NoError(t, b.TagDeleted(r.Context(), someName, "v1"))
	}))
	for range 2 {
		h.ServeHTTP(httptest.NewRecorder(), clientRequest(nil))
	}
	events := f.Events()
	require.Len(t, events, 2)
	assert.Equal(t, "client/1.0", events[0].Request.UserAgent)
	assert.NotEmpty(t, events[0].Request.ID)
	assert.NotEqual(t, events[0].Request.ID, events[1].Request.ID)
}

func TestNewSource(t *testing.T) {
	a, err := NewSource("0.0.0.0:5000")
	require.NoError(t, err)
	b, err := NewSource("[::]:5000")
	require.NoError(t, err)
	assert.Regexp(t, `^[^:]+:5000$`, a.Addr)
	assert.Equal(t, a.Addr, b.Addr)
	assert.NotEqual(t, a.InstanceID, b.InstanceID)
	for _, bad := range []string{"", "5000", "host:"} {
		_, err := NewSource(bad)
		assert.ErrorContains(t, err, fmt.Sprintf("%q: allowed", bad))
	}
}

func TestLogsHaveTheRequestsFields(t *testing.T) {
	log, hook := quietLogger()
	f := new(sinktest.Fake)
	f.Fail(-1, errors.New("boom"))
	registry := &fakeRegistry{}
	repo, _ := Listen(registry, nil, newBridge(t, f, BridgeConfig{}))
	ctx := ContextWithLogger(ContextWithRequest(t.Context(), "id-1", clientRequest(nil)), log.WithField("instance.id", "i-1"))
	require.NoError(t, repo.Tags(ctx).Untag(ctx, "v1"))
	data := hook.LastEntry().Data
	assert.Equal(t, "id-1", data["http.request.id"])
	assert.Equal(t, "GET", data["http.request.method"])
	assert.Equal(t, "client/1.0", data["http.request.useragent"])
	assert.Equal(t, "i-1", data["instance.id"])
	var debugLines int
	for _, e := range hook.AllEntries() {
		if e.Level == logrus.DebugLevel {
			debugLines++
		}
	}
	assert.Positive(t, debugLines)
}
