package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/observer"
)

// pair is two registries, and a mirror of one in the other.
type pair struct {
	*testing.T
	*mirror
	store    *observer.FileStore
	requests atomic.Int64
	away     atomic.Bool // the source
}

func newPair(t *testing.T) *pair {
	p := &pair{T: t}
	dir := t.TempDir()
	store, err := observer.OpenFile(filepath.Join(dir, "copied"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.store.Close()) })
	p.store = store
	copied, err := openLedger(t.Context(), store)
	require.NoError(t, err)
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	p.mirror, err = newMirror(p.registry(filepath.Join(dir, "source"), &p.away), p.registry(filepath.Join(dir, "target"), new(atomic.Bool)), transport, copied)
	require.NoError(t, err)
	return p
}

func (p *pair) registry(dir string, away *atomic.Bool) name.Registry {
	r, err := newRegistry(dir)
	require.NoError(p, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p.requests.Add(1)
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		r.ServeHTTP(w, req)
	}))
	p.Cleanup(func() {
		server.Close()
		require.NoError(p, r.close(context.Background()))
	})
	registry, err := name.NewRegistry(server.Listener.Addr().String(), name.Insecure)
	require.NoError(p, err)
	return registry
}

// state is one of which nothing is known.
func state(manifests ...manifest) *observer.State {
	s := &observer.State{Repository: observer.Repository{Feed: "source", Name: "library/app"}}
	s.Manifests = make(map[digest.Digest]observer.Manifest)
	for _, m := range manifests {
		s.Manifests[digest.Digest(hash(m))] = observer.Manifest{}
	}
	return s
}

func hash(m manifest) string {
	dgst, err := m.Digest()
	if err != nil {
		panic(err) // it was made in memory
	}
	return dgst.String()
}

func (p *pair) push(tag string, m manifest) {
	p.Helper()
	require.NoError(p, remote.Push(p.source.Repo("library/app").Tag(tag), m, options(p.Context(), p.transport)...))
}

func (p *pair) delete(reference string) {
	p.Helper()
	require.NoError(p, remote.Delete(refer(p.source, "library/app", reference), options(p.Context(), p.transport)...))
}

// event has the mirror be told of one.
func (p *pair) event(action, kind, tag, dgst string) error {
	e := notifications.NewEvent(action)
	e.Target = notifications.Target{Type: kind, Repository: "library/app", Tag: tag, Digest: digest.Digest(dgst)}
	return p.Event(p.Context(), state(), notifications.Record{Event: e})
}

// has returns what the target has of some references.
func (p *pair) has(references ...string) (there []string) {
	p.Helper()
	for _, ref := range references {
		switch _, err := remote.Head(refer(p.target, "library/app", ref), options(p.Context(), p.transport)...); {
		case err == nil:
			there = append(there, ref)
		default:
			require.True(p, isGone(err), err)
		}
	}
	return there
}

func image(t *testing.T) v1.Image {
	t.Helper()
	m, err := random.Image(100, 2)
	require.NoError(t, err)
	return m
}

// TestMirrorEvents: each event alone leads to what is true, and once more does no harm.
func TestMirrorEvents(t *testing.T) {
	p := newPair(t)
	one, two := image(t), image(t)
	all := []string{"v1", "latest", hash(one), hash(two)}
	p.push("v1", one)
	p.push("latest", one)
	for range 2 {
		require.NoError(t, p.event("push", "manifest", "v1", hash(one)))
		assert.Equal(t, []string{"v1", hash(one)}, p.has(all...))
	}
	require.NoError(t, p.event("push", "manifest", "latest", hash(one)))
	p.push("latest", two)
	require.NoError(t, p.event("push", "manifest", "latest", hash(one)), "which is late: the tag has moved")
	got, err := remote.Head(p.target.Repo("library/app").Tag("latest"), options(t.Context(), p.transport)...)
	require.NoError(t, err)
	assert.Equal(t, hash(two), got.Digest.String())

	p.delete("v1")
	for range 2 {
		require.NoError(t, p.event("delete", "tag", "v1", ""))
		assert.Equal(t, []string{"latest", hash(one), hash(two)}, p.has(all...))
	}
	p.delete(hash(two))
	for range 2 {
		require.NoError(t, p.event("delete", "manifest", "", hash(two)))
		assert.Equal(t, []string{hash(one)}, p.has(all...), "with its tag")
	}
	require.NoError(t, p.event("push", "manifest", "latest", hash(two)), "which is gone again")
	assert.Equal(t, []string{hash(one)}, p.has(all...))

	before := p.requests.Load()
	require.NoError(t, p.event("pull", "manifest", "v1", hash(one)))
	require.NoError(t, p.event("push", "blob", "", hash(one)))
	require.NoError(t, p.event("audit", "repository", "", ""))
	assert.Equal(t, before, p.requests.Load(), "nothing is to be done")
}

// TestMirrorAll: what was done while nobody watched is done, and undone, though nobody is
// told of it any more.
func TestMirrorAll(t *testing.T) {
	p := newPair(t)
	before, tagged, untagged := image(t), image(t), image(t)
	index, err := random.Index(100, 2, 2)
	require.NoError(t, err)
	parts, err := index.IndexManifest()
	require.NoError(t, err)
	all := []string{"v0", "v1", "v2", hash(before), hash(tagged), hash(untagged), hash(index)}
	for _, m := range parts.Manifests {
		all = append(all, m.Digest.String())
	}
	p.push("v0", before) // by whom no event was ever written
	p.push("v1", untagged)
	p.push("v1", tagged)
	p.push("v2", index)
	require.NoError(t, p.Enable(t.Context(), state(tagged, untagged)))
	assert.Equal(t, all, p.has(all...))

	for _, ref := range all[3:] {
		p.delete(ref)
	}
	// The process was killed, and the events were folded away by the next one.
	copied, err := openLedger(t.Context(), p.store)
	require.NoError(t, err)
	p.copied = copied
	require.NoError(t, p.Enable(t.Context(), state()))
	assert.Empty(t, p.has(all...))
	assert.Empty(t, p.copied.list("library/app"))

	p.push("v1", tagged)
	require.NoError(t, p.event(actionCheck, "repository", "", ""))
	assert.Equal(t, []string{"v1", hash(tagged)}, p.has(all...))
	p.delete(hash(tagged))
	require.NoError(t, p.Disable(t.Context(), state()))
	assert.Empty(t, p.has(all...))
}

// TestPull: content of which a part is missing is not whole.
func TestPull(t *testing.T) {
	p := newPair(t)
	one := image(t)
	p.push("v1", one)
	index, err := random.Index(100, 1, 2)
	require.NoError(t, err)
	p.push("v2", index)
	c := catalogue{"library/app": {"v1": hash(one), "v2": hash(index)}}
	require.NoError(t, c.readContent(t.Context(), p.source, p.transport))
	parts, err := index.IndexManifest()
	require.NoError(t, err)
	p.delete(parts.Manifests[1].Digest.String())
	require.True(t, isGone(c.readContent(t.Context(), p.source, p.transport)))

	layers, err := one.Layers()
	require.NoError(t, err)
	layer, err := layers[1].Digest()
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+p.source.String()+"/v2/library/app/blobs/"+layer.String(), nil)
	require.NoError(t, err)
	resp, err := p.transport.RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.True(t, isGone(catalogue{"library/app": {"v1": hash(one)}}.readContent(t.Context(), p.source, p.transport)))
}

// TestMirrorAway: nothing is deleted because the source does not answer.
func TestMirrorAway(t *testing.T) {
	p := newPair(t)
	one := image(t)
	p.push("v1", one)
	require.NoError(t, p.Enable(t.Context(), state()))
	p.away.Store(true)
	require.Error(t, p.Enable(t.Context(), state()))
	require.Error(t, p.Disable(t.Context(), state()))
	require.Error(t, p.event("delete", "tag", "v1", ""))
	assert.Equal(t, []string{"v1", hash(one)}, p.has("v1", hash(one)))
	p.away.Store(false)
	require.NoError(t, p.Enable(t.Context(), state()))
}
