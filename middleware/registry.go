package middleware

import (
	"context"
	"errors"

	"github.com/distribution/distribution/v3"
	registrymiddleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/reference"

	"github.com/registry-notifications/notifications"
)

// name is what both middlewares are called in the YAML.
const name = "notifications"

func init() {
	if err := registrymiddleware.Register(name, newRegistry); err != nil {
		panic(err) // two of one name: the program was put together wrong
	}
}

// newRegistry is called once, when the application is set up, with the application
// for its context.
func newRegistry(ctx context.Context, inner distribution.Namespace, _ storagedriver.StorageDriver, values map[string]any) (distribution.Namespace, error) {
	var d document
	p, o, err := newPipeline(ctx, &d, values)
	if err != nil {
		return nil, d.hide(err)
	}

	if !o.PullThrough {
		return decorate(&namespace{inner, p.bridge, p.Close}), nil
	}
	closePipeline, err := caches.add(ctx, p)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	// The repository middleware listens; here everything goes by unheard.
	return decorate(&namespace{inner, nil, closePipeline}), nil
}

// namespace is a registry whose repositories are listened to.
type namespace struct {
	distribution.Namespace
	listener      notifications.Listener // nil listens to nothing
	closePipeline func() error
}

// decorate gives n those optional interfaces that what it wraps has: a server asks
// for them by type assertion.
func decorate(n *namespace) distribution.Namespace {
	remover, removes := n.Namespace.(distribution.RepositoryRemover)
	_, remover = notifications.Listen(nil, remover, n.listener)
	enumerator, enumerates := n.Namespace.(distribution.RepositoryEnumerator)
	switch {
	case removes && enumerates:
		return struct {
			*namespace
			distribution.RepositoryRemover
			distribution.RepositoryEnumerator
		}{n, remover, enumerator}
	case removes:
		return struct {
			*namespace
			distribution.RepositoryRemover
		}{n, remover}
	case enumerates:
		return struct {
			*namespace
			distribution.RepositoryEnumerator
		}{n, enumerator}
	}
	return n
}

// Repository is called for each request, with the request's context.
func (n *namespace) Repository(ctx context.Context, name reference.Named) (distribution.Repository, error) {
	repo, err := n.Namespace.Repository(ctx, name)
	repo, _ = notifications.Listen(repo, nil, n.listener)
	return repo, err
}

// Unwrap returns the registry behind this one.
func (n *namespace) Unwrap() distribution.Namespace { return n.Namespace }

// Close is called by the application's Shutdown, when no request is under way any
// more.
func (n *namespace) Close() error {
	err := n.closePipeline()
	if c, ok := n.Namespace.(interface{ Close() error }); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}
