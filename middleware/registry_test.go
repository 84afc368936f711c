package middleware

import (
	"context"
	"errors"
	"testing"

	"github.com/distribution/distribution/v3"
	registrymiddleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	repositorymiddleware "github.com/distribution/distribution/v3/registry/middleware/repository"
	"github.com/distribution/reference"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

// fakeRegistry is a registry without the optional interfaces.
type fakeRegistry struct {
	distribution.Namespace
	err    error
	closed int
}

func (r *fakeRegistry) Repository(context.Context, reference.Named) (distribution.Repository, error) {
	return nil, r.err
}

type fakeRemover struct{ err error }

func (r *fakeRemover) Remove(context.Context, reference.Named) error { return r.err }

// removable is a registry whose repositories can be removed: the shortest way to an event.
func removable() distribution.Namespace {
	return struct {
		*fakeRegistry
		*fakeRemover
	}{&fakeRegistry{}, &fakeRemover{}}
}

type fakeEnumerator struct{}

func (*fakeEnumerator) Enumerate(context.Context, func(string) error) error { return nil }

type fakeCloser struct {
	*fakeRegistry
	err error
}

func (c *fakeCloser) Close() error { c.closed++; return c.err }

func build(t *testing.T, inner distribution.Namespace, yaml string) distribution.Namespace {
	t.Helper()
	n, err := registrymiddleware.Get(t.Context(), "notifications", optionsOf(t, yaml), inner, nil)
	require.NoError(t, err)
	return n
}

func closeNamespace(t *testing.T, n distribution.Namespace) {
	t.Helper()
	require.NoError(t, n.(interface{ Close() error }).Close())
}

func TestOptionalInterfacesAreKept(t *testing.T) {
	for _, c := range []struct {
		name                string
		inner               distribution.Namespace
		removes, enumerates bool
	}{
		{"neither", &fakeRegistry{}, false, false},
		{"remover", struct {
			*fakeRegistry
			*fakeRemover
		}{}, true, false},
		{"enumerator", struct {
			*fakeRegistry
			*fakeEnumerator
		}{}, false, true},
		{"both", struct {
			*fakeRegistry
			*fakeRemover
			*fakeEnumerator
		}{}, true, true},
	} {
		for _, yaml := range []string{"{}", "pullthrough: true"} {
			t.Run(c.name+" "+yaml, func(t *testing.T) {
				n := build(t, c.inner, yaml)
				defer closeNamespace(t, n)

				_, removes := n.(distribution.RepositoryRemover)
				_, enumerates := n.(distribution.RepositoryEnumerator)
				assert.Equal(t, c.removes, removes)
				assert.Equal(t, c.enumerates, enumerates)
				assert.Equal(t, c.inner, n.(interface{ Unwrap() distribution.Namespace }).Unwrap())
			})
		}
	}
}

func TestRemoverIsListenedTo(t *testing.T) {
	rc := newReceiver(t)
	inner := struct {
		*fakeRegistry
		*fakeRemover
	}{&fakeRegistry{}, &fakeRemover{}}
	n := build(t, inner, "endpoints: [{name: a, url: '"+rc.URL+"'}]")
	name, err := reference.WithName("library/app")
	require.NoError(t, err)

	remover := n.(distribution.RepositoryRemover)
	require.NoError(t, remover.Remove(t.Context(), name))
	inner.fakeRemover.err = errors.New("in use")
	require.ErrorIs(t, remover.Remove(t.Context(), name), inner.fakeRemover.err)

	closeNamespace(t, n)
	require.Equal(t, []string{"delete repository"}, rc.kinds())
}

func TestRepositoryErrorsPassThrough(t *testing.T) {
	unknown := distribution.ErrRepositoryUnknown{Name: "x"}
	n := build(t, &fakeRegistry{err: unknown}, "{}")
	defer closeNamespace(t, n)
	name, err := reference.WithName("x")
	require.NoError(t, err)

	repo, err := n.Repository(t.Context(), name)
	require.Nil(t, repo)
	require.Equal(t, unknown, err) // the server looks at its very type
}

func TestCloseClosesWhatIsBehind(t *testing.T) {
	for _, yaml := range []string{"{}", "pullthrough: true"} {
		inner := &fakeCloser{&fakeRegistry{}, errors.New("busy")}
		n := build(t, inner, yaml)
		require.ErrorIs(t, n.(interface{ Close() error }).Close(), inner.err)
		require.Equal(t, 1, inner.closed)
	}
}

// What is in memory goes out before Close returns, and what a dead receiver did not
// take by then is told.
func TestCloseDrains(t *testing.T) {
	ctx := context.Background()
	name, err := reference.WithName("library/app")
	require.NoError(t, err)

	slow := newReceiver(t)
	slow.hold = make(chan struct{})
	n := build(t, removable(), "endpoints: [{name: slow, url: '"+slow.URL+"'}]")
	for range 5 {
		require.NoError(t, n.(distribution.RepositoryRemover).Remove(ctx, name))
	}
	require.Empty(t, slow.kinds())
	close(slow.hold)
	closeNamespace(t, n)
	require.Len(t, slow.kinds(), 5)

	dead := build(t, removable(), "draintimeout: 1ms\nendpoints: [{name: dead, url: 'http://127.0.0.1:1/'}]")
	require.NoError(t, dead.(distribution.RepositoryRemover).Remove(ctx, name))
	err = dead.(interface{ Close() error }).Close()
	var lost *notifications.UndeliveredError
	require.ErrorAs(t, err, &lost)
	require.Equal(t, map[string]uint64{"dead": 1}, lost.Sinks)
	require.Equal(t, err, dead.(interface{ Close() error }).Close())
}

func TestRepositoryMiddlewareAlone(t *testing.T) {
	_, err := repositorymiddleware.Get(t.Context(), "notifications", nil, nil)
	require.ErrorIs(t, err, errNoPipeline)

	// A registry middleware that listens itself is not the one it needs: every event
	// would come twice.
	n := build(t, &fakeRegistry{}, "{}")
	defer closeNamespace(t, n)
	_, err = repositorymiddleware.Get(t.Context(), "notifications", nil, nil)
	require.ErrorIs(t, err, errNoPipeline)

	_, err = repositorymiddleware.Get(t.Context(), "notifications", map[string]any{"url": "x"}, nil)
	require.ErrorIs(t, err, errHasOptions)
}

// The pipeline of an application is kept for as long as the application lives.
func TestPullThroughPipelines(t *testing.T) {
	pullThrough := map[string]any{"pullthrough": true}
	a, endA := context.WithCancel(context.Background())
	defer endA()
	b, endB := context.WithCancel(context.Background())
	defer endB()

	_, err := newRegistry(a, &fakeRegistry{}, nil, pullThrough)
	require.NoError(t, err)
	n, err := newRegistry(b, &fakeRegistry{}, nil, pullThrough)
	require.NoError(t, err)
	require.NotNil(t, caches.get(a))
	require.NotNil(t, caches.get(b))
	require.NotSame(t, caches.get(a), caches.get(b))

	_, err = newRegistry(a, &fakeRegistry{}, nil, pullThrough)
	require.ErrorIs(t, err, errTwice)

	endA()
	require.Eventually(t, func() bool { return caches.get(a) == nil }, soon, 1e6)
	// Clients that are still served must not notice.
	_, err = newRepository(a, nil, nil)
	require.NoError(t, err)

	closeNamespace(t, n)
	require.Nil(t, caches.get(b))
	_, err = newRepository(b, nil, nil)
	require.ErrorIs(t, err, errNoPipeline)

	// An application that has ended already leaves nothing behind.
	_, err = newRegistry(a, &fakeRegistry{}, nil, pullThrough)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return caches.get(a) == nil }, soon, 1e6)
}
